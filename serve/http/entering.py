"""The listener's connection: guarded, and behind the door, which turns requests away before they cost anything."""

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from greenserve.errors import GreenServeError
from greenserve.serve.door import turned_away
from greenserve.serve.http.app import AT_ONCE, RECEIVED_NS, shape_of
from greenserve.serve.http.errors import error_response
from greenserve.serve.http.guard import Guard, away_answer
from greenserve.serve.http.guarded import GuardedHttp, Stage
from greenserve.serve.http.routes import Found, Routes
from greenserve.serve.http.whole import send_whole

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application

POST = b"POST"
INFERRING = Routes(("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer", "/v1/embeddings"))
"""The paths that infer; found as the application finds them, so that no spelling of one goes around the door."""


class EnteringHttp(GuardedHttp):
    """One connection. State: whether its newest message is turned away, from which path, or waits for the loop; whether
    what is started was judged, as it is unless it waited behind another request; and whether the door was open then."""

    def __init__(
        self, guard: Guard, *, config: Config, server_state: ServerState, loop: "asyncio.AbstractEventLoop"
    ) -> None:
        super().__init__(guard, config=config, server_state=server_state, loop=loop)
        self._door = guard.door
        self._waits = self._judged = self._was_open = False
        self._template = ""

    def __repr__(self) -> str:
        return f"<EnteringHttp {self.client} {'away' if self._away else 'in'}>"

    def connection_lost(self, exc: Exception | None) -> None:
        """What waited on it is gone."""
        self._looked_at()
        super().connection_lost(exc)

    def give_up(self, error: GreenServeError) -> None:
        """What waited on it is answered."""
        self._looked_at()
        super().give_up(error)

    def on_body(self, body: bytes) -> None:
        """A piece of the body; of a request that is turned away only its size counts."""
        if self._away:
            self._declared.grew(len(body))
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: only now can it be turned away, or the connection would lose its step."""
        if not self._away:
            super().on_message_complete()
            return
        self._stage = Stage.WHOLE
        self.transport.write(away_answer(self._template))
        self.answered_s = self.loop.time()
        if not self.parser.should_keep_alive():
            self.leave()

    def _enter(self) -> None:
        now_ns = time.monotonic_ns()
        # Behind another request it is judged in its turn, when it is started.
        found = None if self.busy else self._inferring()
        self._away = found is not None and not self._lets_in(found, self.headers, now_ns)
        self._template = found[0] if found is not None else ""
        self._judged = not self.busy
        if not self._away:
            self.scope["state"][RECEIVED_NS] = now_ns
            super()._enter()
            self.scope["state"][AT_ONCE] = partial(send_whole, self.cycle)
        elif self._declared.waits or self.parser.should_upgrade():
            # Its body may never come, or not as a message: it is answered now, and the connection ends.
            self._stage = Stage.HEAD
            raise turned_away()

    def _inferring(self) -> Found | None:
        """What the application would find at this path, if it infers: the door is for those.

        All other methods than POST cost next to nothing there, and have answers of their own.
        """
        if self.parser.get_method() != POST:
            return None
        try:
            path = httptools.parse_url(self.url).path
        except httptools.HttpParserError:
            return None  # the application's side says what is wrong with it
        return INFERRING.find(unquote(path.decode("latin-1")) if path else "")

    def _lets_in(self, found: Found, headers: Iterable[tuple[bytes, bytes]], now_ns: int) -> bool:
        return self._door.lets_in(_credential(headers), found[1].get("model"), now_ns)

    def _lets_begin(self, cycle: RequestResponseCycle) -> bool:
        """What the door says of a whole head, just before its request is handed on."""
        found = INFERRING.find(cycle.scope["path"]) if cycle.scope["method"] == "POST" else None
        return found is None or self._lets_in(found, cycle.scope["headers"], time.monotonic_ns())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if not self._judged and not self._lets_begin(cycle):
            app = _turn_away
        self._judged, self._was_open = False, not self._door.shut
        if not self._waits:
            self._waits = True
            self._door.waiting += 1
        super()._start_asgi_task(cycle, app)

    async def _answer(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._looked_at()
        if self._was_open and self._door.full and not self._lets_begin(cycle):
            app = _turn_away  # the door was found to be full while this one waited for the loop
        await super()._answer(cycle, app)

    def _looked_at(self) -> None:
        if self._waits:
            self._waits = False
            self._door.waiting -= 1


def _credential(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in `authorization`, not looked at closer."""
    for name, value in headers:
        if name == b"authorization":
            return value.decode("latin-1").partition(" ")[2].strip() or None
    return None


async def _turn_away(scope: Any, receive: Any, send: Any) -> None:
    """The application of a request that was turned away after it had waited for others on its connection."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
    response = error_response(turned_away(), shape_of(scope["path"]))
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
