"""What the connections of one HTTP listener share: bounds, whose word counts, and errors that leave before the app."""

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus

import httptools

from greenserve.errors import BodyTooLarge, GreenServeError, HeadersTooLarge, InvalidRequest
from greenserve.ids import new_request_id
from greenserve.serve.door import Door, turned_away
from greenserve.serve.http.app import shape_of
from greenserve.serve.http.errors import Shape, error_response
from greenserve.serve.trust import TrustedPeers

log = logging.getLogger("greenserve.http")
REPORT_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one connection may take: times in seconds, sizes in bytes."""

    header_s: float = 10.0
    body_s: float = 15.0
    answer_s: float = 30.0
    idle_s: float = 75.0
    linger_s: float = 2.0
    max_header_bytes: int = 32 * 1024
    max_url_bytes: int = 8 * 1024
    max_body_bytes: int = 8 * 1024 * 1024


class Guard:
    """What the connections of one listener share.

    State: `closing`, how many of the next answers close their connection; `refused`, answers given here by code;
    `left`, set whenever a connection has ended.
    """

    def __init__(
        self, *, limits: HttpLimits, trusted: TrustedPeers, door: Door | None = None, only_trusted: bool = False
    ) -> None:
        self.limits = limits
        self.door = door or Door()
        self.trusted = trusted
        self.only_trusted = only_trusted
        self.closing = 0
        self.refused: dict[str, int] = {}
        self.left = asyncio.Event()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._reported_s = -REPORT_EVERY_S

    def __repr__(self) -> str:
        return f"<Guard {self.closing} to close, {sum(self.refused.values())} refused, {len(self._abandoned)} ending>"

    def abandon(self, task: asyncio.Task[None] | None) -> None:
        """Cancel the handling of a request whose client left, if it goes on; it is held until it has cleaned up."""
        if task is None or task.done():
            return
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.cancel()

    async def settled(self) -> None:
        """Wait until cancelled handlings have cleaned up."""
        if self._abandoned:
            await asyncio.wait(self._abandoned)

    def count(self, error: GreenServeError) -> None:
        """An error was answered here, before the application."""
        self.refused[error.code] = self.refused.get(error.code, 0) + 1

    def report_stranger(self, peer: str, now_s: float) -> None:
        """Log a peer outside `server.trusted`, at most once a minute."""
        if now_s - self._reported_s >= REPORT_EVERY_S:
            self._reported_s = now_s
            log.warning("%s is outside server.trusted: with server.tls external only those may connect; closed", peer)


def cause_of(error: httptools.HttpParserError) -> GreenServeError:
    """Our own error from within the parser, or what the parser says; a fault of ours is logged and not shown."""
    own = error.__context__
    if isinstance(own, GreenServeError):
        return own
    if own is None or isinstance(own, httptools.HttpParserError | UnicodeError):
        what = "its path is not readable" if own else str(error)
        return InvalidRequest(f"this is not an HTTP/1.1 request: {what}")
    log.error("a request could not be taken", exc_info=own)
    return failed()


def head_too_large(size: int, limits: HttpLimits) -> GreenServeError:
    """A head of at least `size` bytes."""
    return HeadersTooLarge(
        f"the head of the request has {size:,} bytes or more, {limits.max_header_bytes:,} are allowed"
    )


def body_too_large(limits: HttpLimits, *, declared: int | None = None) -> GreenServeError:
    """A body whose `declared` length [bytes] is over the limit, or that grew over it."""
    given = "grew over" if declared is None else f"has {declared:,} bytes, over"
    return BodyTooLarge(f"the body {given} {limits.max_body_bytes:,} bytes, the limit of this gateway")


def failed() -> GreenServeError:
    """The application raised, or ended without an answer."""
    return GreenServeError("the gateway failed on this request; its log says why")


def error_answer(error: GreenServeError, path: str) -> bytes:
    """A whole HTTP/1.1 answer in the shape of the path's errors; it ends the connection.

    What is not HTTP is 400 on every path: 422 speaks of a document that was read.
    """
    shape = shape_of(path)
    response = error_response(error, "oip" if shape == "problem" and isinstance(error, InvalidRequest) else shape)
    head = [b"HTTP/1.1 %d %s" % (response.status, HTTPStatus(response.status).phrase.encode())]
    head += [b"%s: %s" % pair for pair in response.headers]
    head += [b"content-type: " + response.content_type, b"content-length: %d" % len(response.body)]
    return b"\r\n".join((*head, b"connection: close", b"", response.body))


def _away_answer(shape: Shape) -> tuple[bytes, ...]:
    """The pieces of a whole answer around the request id: made once, since it has to cost next to nothing."""
    mark = "00000000-0000-7000-8000-000000000000"
    error = turned_away()
    error.details = {"request_id": mark}
    response = error_response(error, shape)
    head = [b"HTTP/1.1 %d %s" % (response.status, HTTPStatus(response.status).phrase.encode())]
    head += [b"%s: %s" % pair for pair in response.headers]
    head += [b"content-type: " + response.content_type, b"content-length: %d" % len(response.body), b""]
    return tuple(b"\r\n".join((*head, response.body)).split(mark.encode()))


_AWAY: dict[Shape, tuple[bytes, ...]] = {"oip": _away_answer("oip"), "openai": _away_answer("openai")}


def away_answer(template: str) -> bytes:
    """The whole HTTP/1.1 answer of a request to a path of `template` that was turned away; the connection stays."""
    pieces = _AWAY["openai" if template.startswith("/v1/") else "oip"]
    return new_request_id().encode().join(pieces)
