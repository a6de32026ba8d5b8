"""`/metrics`: the series of all processes of this node, from whichever replica is asked."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from greenserve.serve.telemetry.hub import Telemetry

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
TEXT = b"text/plain; charset=utf-8"


class MetricsApp:
    """A raw ASGI application that answers GET and HEAD."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405, TEXT, b"metrics are read with GET\n", (b"allow", b"GET, HEAD"))
            return
        accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
        found = await self._telemetry.exposition(accept)
        if found is None:
            await _answer(send, 404, TEXT, b"metrics are off; set telemetry.prometheus to true\n")
            return
        content_type, body = found
        await _answer(send, 200, content_type.encode(), b"" if scope["method"] == "HEAD" else body)


async def _answer(send: Send, status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
