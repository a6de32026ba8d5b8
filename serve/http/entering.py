"""The listener's connection: guarded, and behind the door, which turns requests away before they cost anything."""

import time
from functools import partial
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from greenserve.errors import GreenServeError
from greenserve.serve.http.app import AT_ONCE, RECEIVED_NS
from greenserve.serve.http.guard import Guard, away_answer
from greenserve.serve.http.guarded import GuardedHttp, Stage
from greenserve.serve.http.whole import send_whole

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application

INFER, EMBEDDINGS = b"/infer", b"/v1/embeddings"


class EnteringHttp(GuardedHttp):
    """One connection. State: whether its newest message is turned away, or waits for the loop to look at it."""

    def __init__(
        self, guard: Guard, *, config: Config, server_state: ServerState, loop: "asyncio.AbstractEventLoop"
    ) -> None:
        super().__init__(guard, config=config, server_state=server_state, loop=loop)
        self._door = guard.door
        self._away = self._waits = False

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
        self.transport.write(away_answer(self.url))
        self.answered_s = self.loop.time()
        if not self.parser.should_keep_alive():
            self.leave()

    def _enter(self) -> None:
        now_ns = time.monotonic_ns()
        self._away = self._infers() and not self._door.lets_in(self._credential(), self.url, now_ns)
        if not self._away:
            self.scope["state"][RECEIVED_NS] = now_ns
            super()._enter()
            self.scope["state"][AT_ONCE] = partial(send_whole, self.cycle)

    def _infers(self) -> bool:
        """Whether the door is for this request: one to a path that infers, whose answer would go out at once."""
        if self.busy or self._declared.waits or self.parser.should_upgrade():
            return False
        return self.url.endswith(INFER) or self.url.startswith(EMBEDDINGS)

    def _credential(self) -> str | None:
        """The key in `authorization`, not looked at closer."""
        for name, value in self.headers:
            if name == b"authorization":
                return value.decode("latin-1").partition(" ")[2].strip() or None
        return None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if not self._waits:
            self._waits = True
            self._door.waiting += 1
        super()._start_asgi_task(cycle, app)

    async def _answer(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._looked_at()
        await super()._answer(cycle, app)

    def _looked_at(self) -> None:
        if self._waits:
            self._waits = False
            self._door.waiting -= 1
