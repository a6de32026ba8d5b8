"""uvicorn's HTTP/1.1 protocol with bounds: nobody keeps a connection by sending or reading slowly, or sends too much.

uvicorn itself limits neither the size nor the time of a head or a body, and it does not tell the application that a
client left while its request waits. State: `due` is when a connection has to have gone on, checked by the guard's
sweep for all connections at once, so that a request costs no timer; changed on the event loop alone.
"""

import asyncio
import logging
from enum import Enum
from typing import TYPE_CHECKING

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from greenserve.errors import GreenServeError, HeadersTooLarge, ReceiveTimeout
from greenserve.serve.http.declared import WATCHED, Declared
from greenserve.serve.http.guard import Guard, cause_of, error_answer, failed, head_too_large

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

log = logging.getLogger("greenserve.http")
NEVER = float("inf")
LINE_BYTES = len(b": \r\n")


class Stage(Enum):
    """How far the newest message on a connection has come."""

    FRESH = "nothing was sent yet"
    HEAD = "the head is being sent"
    BODY = "the body is being sent"
    WHOLE = "the message is complete"
    LEAVING = "what comes is thrown away until the client is gone"


class GuardedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, guard: Guard, *, config: Config, server_state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={}, _loop=loop)
        self.url = b""
        self.due = loop.time() + guard.limits.header_s
        self.answered_s = -NEVER
        self._guard = guard
        self._stage, self._away = Stage.FRESH, False
        self._armed: Stage | None = None
        self._chunk_bytes = self._head_bytes = self._unparsed_bytes = 0
        self._declared = Declared(guard.limits)
        self._running: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<GuardedHttp {self.client} {self._stage.value}, {'busy' if self.busy else 'idle'}>"

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None and not self._running.response_complete

    @property
    def fresh(self) -> bool:
        """Whether nothing was sent yet."""
        return self._stage is Stage.FRESH

    @property
    def idle(self) -> bool:
        """Whether everything that came was answered."""
        return self._stage is Stage.WHOLE and not self.busy

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look whose word counts."""
        super().connection_made(transport)
        peer = self.client[0] if self.client else None
        self._declared.believed = self._guard.trusted.holds(peer)
        if self._guard.only_trusted and not self._declared.believed:
            self._guard.report_stranger(str(peer), self.loop.time())
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: so is the reason to go on with its request."""
        super().connection_lost(exc)
        self.due = NEVER
        self._guard.left.set()
        if self.busy:
            self._guard.abandon(self._task)

    def data_received(self, data: bytes) -> None:
        """Parse, then decide by when the next part has to be here."""
        if self._stage is Stage.LEAVING:
            return
        self._chunk_bytes = len(data)
        if self._stage is Stage.HEAD:
            self._head_bytes += len(data)
        try:
            if self._unparsed_bytes:
                self._take_unparsed(data)
            else:
                self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self.cycle.keep_alive = False  # answered as plain HTTP; the parser takes nothing more
            self._take_unparsed(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(cause_of(error))
            return
        stage, limits = self._stage, self._guard.limits
        if stage is Stage.WHOLE:
            self.due = NEVER if self.busy else self.loop.time() + limits.idle_s
        elif stage is Stage.HEAD and self._head_bytes > limits.max_header_bytes:
            self._refuse(head_too_large(self._head_bytes, limits))
        elif stage is not self._armed:
            self._armed = stage
            self.due = self.loop.time() + (limits.header_s if stage is Stage.HEAD else limits.body_s)

    def on_message_begin(self) -> None:
        """A request begins; its head can be no longer than this chunk and those that follow."""
        super().on_message_begin()
        self._stage, self._armed = Stage.HEAD, None
        self._head_bytes = self._chunk_bytes
        self._declared.clear()

    def on_url(self, url: bytes) -> None:
        """A piece of the path."""
        self.url += url
        if len(self.url) > self._guard.limits.max_url_bytes:
            raise HeadersTooLarge(
                f"the path has {len(self.url):,} bytes or more, {self._guard.limits.max_url_bytes:,} are allowed; "
                "send long values in the body"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those of trailers, and those that have no power here, are left out."""
        name = name.lower()
        if self._stage is Stage.BODY or (name in WATCHED and not self._declared.takes(name, value)):
            return
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete and within its bounds: the application may begin."""
        if self._head_bytes > (limits := self._guard.limits).max_header_bytes:
            # That was an upper bound: the chunk may hold other messages and the body.
            exact = len(self.url) + sum(len(name) + len(value) + LINE_BYTES for name, value in self.headers)
            if exact > limits.max_header_bytes:
                raise head_too_large(exact, limits)
        self._stage = Stage.BODY
        declared = self._declared
        self.expect_100_continue = declared.waits
        if declared.forwarded_for and self.client is not None:
            self.scope["client"] = (self._guard.trusted.client_of(self.client[0], declared.forwarded_for), 0)
        if declared.forwarded_proto:
            self.scope["scheme"] = declared.forwarded_proto
        self._enter()

    def _enter(self) -> None:
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body: without a declared length, this is where it becomes too much."""
        self._declared.grew(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless it offers another protocol: then the parser leaves its body to us."""
        if self._declared.has_body and self.parser.should_upgrade():
            self._unparsed_bytes = self._declared.unparsed_bytes()
            return
        self._stage = Stage.WHOLE
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request of a pipeline, or wait for one."""
        self.server_state.total_requests += 1
        limits, now_s = self._guard.limits, self.loop.time()
        self.answered_s = now_s
        if self.transport.is_closing():
            self.due = now_s + limits.answer_s
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._stage is Stage.WHOLE and not self.flow.write_paused:
            self.due = now_s + limits.idle_s

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        super().pause_writing()
        self.due = self.loop.time() + self._guard.limits.answer_s

    def resume_writing(self) -> None:
        """It caught up."""
        super().resume_writing()
        if self._stage is Stage.WHOLE:
            self.due = NEVER if self.busy else self.loop.time() + self._guard.limits.idle_s

    def expire(self) -> None:
        """`due` has passed: answer where something is owed, and end the connection."""
        limits = self._guard.limits
        if self._stage is Stage.LEAVING or self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
        elif self._stage is Stage.HEAD:
            self._refuse(ReceiveTimeout(f"the head of the request did not arrive within {limits.header_s:g} s"))
        elif self._stage is Stage.BODY:
            self._refuse(ReceiveTimeout(f"the body did not arrive within {limits.body_s:g} s"))
        else:
            self.leave()

    def leave(self) -> None:
        """Close an idle connection."""
        self.due = self.loop.time() + self._guard.limits.linger_s
        self.transport.close()

    def close_after_answer(self) -> None:
        """The answer under way is the last one."""
        if self._running is not None:
            self._running.keep_alive = False

    def give_up(self, error: GreenServeError) -> None:
        """Answer `error` instead of what is under way, and end its handling; with nothing under way, close."""
        if self.fresh or self.idle:
            self.leave()
            return
        task = self._task
        self._refuse(error)
        self._guard.abandon(task)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        guard = self._guard
        if guard.closing:
            guard.closing -= 1
            cycle.keep_alive = False
        self._running = cycle
        self._task = self.loop.create_task(self._answer(cycle, app))

    async def _answer(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        try:
            await app(cycle.scope, cycle.receive, cycle.send)
            if not cycle.response_complete and not cycle.disconnected:
                log.error("%s %s was not answered", cycle.scope["method"], cycle.scope["path"])
                self._refuse(failed())
        except Exception:
            log.exception("%s %s failed", cycle.scope["method"], cycle.scope["path"])
            if not cycle.disconnected:
                self._refuse(failed())

    def _take_unparsed(self, data: bytes) -> None:
        """The body of a request that offered another protocol; what follows it is nobody's."""
        piece = data[: self._unparsed_bytes]
        if piece:
            self._unparsed_bytes -= len(piece)
            super().on_body(piece)
            if not self._unparsed_bytes:
                self._stage = Stage.WHOLE
                super().on_message_complete()

    def _refuse(self, error: GreenServeError) -> None:
        """Answer an error where no answer has begun, then throw away what still comes until the client is gone.

        The half-closed connection stays for a moment: closing it with unread data would reset it, and the client
        would lose the answer.
        """
        running = self._running
        earlier = self.busy and (running is not self.cycle or self._stage is Stage.HEAD)
        self._guard.count(error)
        self.pipeline.clear()
        if earlier and running is not None:
            running.keep_alive = False
            self._stage, self.due = Stage.LEAVING, self.loop.time() + self._guard.limits.answer_s
            return
        answered = self._stage is Stage.BODY and not (self.busy or self._away)  # before the whole body was here
        begun = self.busy and running is not None and running.response_started
        if self.busy and running is not None:
            running.disconnected = True
            running.message_event.set()
        self._stage, self.due = Stage.LEAVING, self.loop.time() + self._guard.limits.linger_s
        if self.transport.is_closing():
            return
        if begun or (answered and not self.transport.can_write_eof()):
            self.transport.abort()
            return
        if not answered:
            self.transport.write(error_answer(error, self.url.partition(b"?")[0].decode("latin-1")))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
