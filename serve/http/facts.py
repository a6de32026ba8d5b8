"""The facts of an answer as HTTP headers."""

from functools import cache

from greenserve.serve.call import Answer
from greenserve.serve.http.message import Pairs
from greenserve.serve.names import facts_of


def facts_as_headers(answer: Answer) -> Pairs:
    """Names in lower case, as ASGI wants them."""
    return [(_header(name), value.encode("latin-1", "replace")) for name, value in facts_of(answer)]


@cache
def _header(name: str) -> bytes:
    return name.lower().encode()
