"""The master: RFC 8785 canonical JSON, one line."""

from greenserve.canonical import canonical_json
from greenserve.records import Statement


def render(statement: Statement) -> bytes:
    """The statement's document, byte for byte the same wherever it is folded."""
    return canonical_json(statement.document) + b"\n"
