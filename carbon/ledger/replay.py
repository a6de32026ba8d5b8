"""A statement again from the ledger's entries: the same bytes, or what differs."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from greenserve.canonical import canonical_json
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.verify import old_chain_at
from greenserve.carbon.periods import moment_us
from greenserve.carbon.statement import Scope, build_statement
from greenserve.errors import InvalidRequest

MOST_DIFFERENCES = 10


def replay(ledger: SqlLedger, given: bytes) -> list[str]:
    """Differences between a statement's JSON and what its entries give now, empty where not a byte differs.

    InvalidRequest for a file that is no statement, or one of a longer ledger than this.
    """
    try:
        document: Mapping[str, Any] = orjson.loads(given)
        proof = document["proof"]
        scope = Scope(
            tenant=document["tenant"],
            start_us=moment_us(document["start"]),
            end_us=moment_us(document["end"]),
            issuer=document["issuer"],
            software=document["software"],
            size=proof["size"],
            chain=proof["chain"],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"this is no statement ({type(error).__name__} {error}): give the JSON that `greenserve report` wrote"
        ) from None
    root = ledger.root_at(scope.size)
    if root is None:
        raise InvalidRequest(f"the statement covers {scope.size} entries, the ledger has {ledger.head().size}")
    findings = []
    # Statements of formats 1 and 2 carry the chain hash that stood there then.
    if root != scope.chain and old_chain_at(ledger.rows(), scope.size) != scope.chain:
        findings.append(f"proof.chain: the statement says {scope.chain}, the ledger's root at {scope.size} is {root}")
    again = canonical_json(build_statement(ledger.entries(), scope).document)
    if again != given.strip():
        findings += list(_differences("", document, orjson.loads(again))) or ["the same figures in another form"]
    return findings[:MOST_DIFFERENCES]


def _differences(path: str, given: Any, again: Any) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(again, dict):
        for name in sorted(given.keys() | again.keys()):
            yield from _differences(f"{path}.{name}" if path else name, given.get(name), again.get(name))
    elif isinstance(given, list) and isinstance(again, list) and len(given) == len(again):
        for index, pair in enumerate(zip(given, again, strict=True)):
            yield from _differences(f"{path}[{index}]", *pair)
    elif given != again:
        yield f"{path}: the statement says {given!r:.80}, the entries give {again!r:.80}"
