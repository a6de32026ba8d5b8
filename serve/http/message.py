"""What a handler is given and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from greenserve.record import record

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]
AtOnce = Callable[[int, Pairs, bytes], bool]
JSON = b"application/json"
PROBLEM = b"application/problem+json"


@record(frozen=True, slots=True)
class Request:
    """One request: its path, the arguments in it, headers in lower case, and when it was received [monotonic ns]."""

    path: str
    arguments: Mapping[str, str]
    headers: Mapping[str, str]
    receive: Receive
    received_ns: int


class Response(NamedTuple):
    """One answer; `headers` are all but content-length, content-type and those of the connection.

    Only what is `compressible` is ever compressed: the answers of a model. Some clients ask for compression by habit
    and unpack nothing else.
    """

    status: int
    body: bytes
    headers: Pairs
    content_type: bytes = JSON
    compressible: bool = False


Handler = Callable[[Request], Awaitable[Response]]
