"""Requests that may wait for a cleaner grid, held while their clients wait for the answer.

A request with `GreenServe-Defer-Until` is admitted at once, with its budget reserved, and runs when the grid of the
regions that it may use is at its cleanest before its time, few at once, behind those that do not wait. It is started in
time whatever the load: what was accepted is answered by then.

State: the requests that are held, and how many of them run; changed on the event loop alone.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from greenserve.errors import Overloaded
from greenserve.ports import Clock
from greenserve.records import Admitted
from greenserve.routing.defer import Slot, greenest_start
from greenserve.units import NS_PER_S, US_PER_S

MOST_HELD = 256
AT_ONCE = 4
LOOK_AGAIN_S = 60.0
"""How often the outlook is asked again: forecasts change."""

CROWDED_S = 0.05
"""How often a request looks whether those that do not wait are served."""

SLACK_SHARE, LEAST_SLACK_S, MOST_SLACK_S = 0.1, 1.0, 30.0
"""What of its time is kept free for the run itself."""

NS_PER_US = 1_000
Outlook = Callable[[Admitted, int], Sequence[Slot]]


class Deferral:
    """Holds requests. `outlook` tells the grid that a request may use from now until a time [us UTC]; `busy` whether
    others wait for the engines now."""

    def __init__(
        self,
        *,
        outlook: Outlook,
        busy: Callable[[], bool],
        clock: Clock,
        most_held: int = MOST_HELD,
        at_once: int = AT_ONCE,
    ) -> None:
        self._outlook = outlook
        self._busy = busy
        self._clock = clock
        self._most_held = most_held
        self._free = at_once
        self._held = 0
        self._sequence = 0
        self._turns: list[tuple[int, int, asyncio.Future[None]]] = []
        self._hurry = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Deferral {self._held} held{', in a hurry' if self._hurry.is_set() else ''}>"

    @property
    def held(self) -> int:
        """How many requests wait for a cleaner grid, or for their turn."""
        return self._held

    def hurry(self) -> None:
        """Run all of them now, and hold no more: this replica goes away."""
        self._hurry.set()
        self._next()

    @asynccontextmanager
    async def turn(self, admitted: Admitted) -> AsyncIterator[None]:
        """Entered when the request should run; raises Overloaded where too many are held already."""
        if self._held >= self._most_held:
            raise Overloaded(
                f"{self._held} requests wait for a cleaner grid already, as many as may; send it without "
                "GreenServe-Defer-Until, or later",
                retry_after_s=60,
            )
        latest_ns = self._latest_ns(admitted)
        self._held += 1
        try:
            await self._cleanest(admitted, latest_ns)
            has_place = await self._place(admitted, latest_ns)
        finally:
            self._held -= 1
        try:
            yield
        finally:
            if has_place:
                self._free += 1
                self._next()

    async def again(self, admitted: Admitted, after_s: float) -> bool:
        """Wait before a request that was refused for the load is tried again, `after_s` [s] or until it has to be
        started at the latest; False at once where that is over."""
        left_s = (self._latest_ns(admitted) - self._clock.monotonic_ns()) / NS_PER_S
        if left_s <= 0.0:
            return False
        await asyncio.sleep(min(after_s, left_s))
        return True

    def _latest_ns(self, admitted: Admitted) -> int:
        """When the request has to be started at the latest [monotonic ns]."""
        request = admitted.request
        whole_s = (request.deadline_ns - request.received_ns) / NS_PER_S
        slack_s = min(MOST_SLACK_S, max(LEAST_SLACK_S, SLACK_SHARE * whole_s))
        return request.deadline_ns - int(slack_s * NS_PER_S)

    async def _cleanest(self, admitted: Admitted, latest_ns: int) -> None:
        while not self._hurry.is_set():
            now_us = self._clock.unix_us()
            left_us = (latest_ns - self._clock.monotonic_ns()) // NS_PER_US
            if left_us <= 0:
                return
            latest_us = now_us + left_us
            start_us = greenest_start(self._outlook(admitted, latest_us), now_us=now_us, latest_us=latest_us)
            if start_us <= now_us:
                return
            await self._sleep(min(LOOK_AGAIN_S, (start_us - now_us) / US_PER_S))

    async def _place(self, admitted: Admitted, latest_ns: int) -> bool:
        """Wait for one of the few places, by due time, and until nobody else waits; whether it has one."""
        self._sequence += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._turns, (admitted.request.deadline_ns, self._sequence, turn))
        self._next()
        try:
            left_s = max(0.0, (latest_ns - self._clock.monotonic_ns()) / NS_PER_S)
            await asyncio.wait([turn], timeout=left_s)
            if not turn.done():
                turn.cancel()  # it has to start now, place or not
                return False
            while self._busy() and not self._hurry.is_set() and self._clock.monotonic_ns() < latest_ns:
                await self._sleep(CROWDED_S)
        except asyncio.CancelledError:
            if not turn.cancel():
                self._free += 1
                self._next()
            raise
        return True

    def _next(self) -> None:
        while self._turns and (self._free > 0 or self._hurry.is_set() or self._turns[0][2].cancelled()):
            _, _, turn = heapq.heappop(self._turns)
            if not turn.cancelled():
                self._free -= 1
                turn.set_result(None)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
