"""An item on its way through a variant, and every request that waits for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.shares import SpanShare
from greenserve.errors import GreenServeError, InferenceFailed
from greenserve.ports import Arrays
from greenserve.record import record
from greenserve.records import Decision, Item, Span
from greenserve.serve.models import ServedVariant


@record(frozen=True, slots=True, kw_only=True, eq=False)
class Landed:
    """An item's outputs [1, ...] by name, the span that it ran in, and one waiter's part of its CPU and held time [ns].

    `held_ns` is span time x the share of the device that this process holds; `decision` is the leader's. A cached
    item has no span and cost nothing. `share` is its part of a span on a board; its CPU time is then the host's.
    """

    outputs: Arrays
    decision: Decision
    span: Span | None = None
    cpu_ns: int = 0
    held_ns: int = 0
    share: SpanShare | None = None


class Waiter:
    """One request that waits for its items.

    `future` holds None once all of them have landed, or the error of the first that failed. `settled` is called where
    the request left before that, or failed, once the last of its items has landed or failed: what ran is still owed.
    State: the items' results, by place; changed by their flights, on the event loop.
    """

    __slots__ = ("_open", "future", "landed", "settled")

    def __init__(self, items: int, settled: "Callable[[Waiter], None]") -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.landed: list[Landed | None] = [None] * items
        self.settled = settled
        self._open = items

    @property
    def waits(self) -> bool:
        """Whether anybody still wants the answer."""
        return not self.future.done()

    def take(self, place: int, landed: Landed) -> None:
        """The item at `place` has landed."""
        self.landed[place] = landed
        self._close_one()

    def fail(self, error: Exception) -> None:
        """One item failed (or was not taken in), and with it the request; the others may still land."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # seen: where the client left nobody else looks
        self._close_one()

    def _close_one(self) -> None:
        self._open -= 1
        if self._open:
            return
        if not self.future.done():
            self.future.set_result(None)
        elif any(self.landed):
            self.settled(self)


@dataclass(slots=True, eq=False)
class Flight:
    """One item; `deadline_ns` and `arrived_ns` are monotonic. Several requests may wait for it."""

    served: ServedVariant
    decision: Decision
    item: Item
    arrived_ns: int
    deadline_ns: int
    priority: int = 2
    waiters: list[tuple[Waiter, int]] = field(default_factory=list)
    on_landed: Callable[[Landed | None], None] | None = None
    over: bool = False

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits."""
        return not self.over and any(waiter.waits for waiter, _ in self.waiters)

    def join(self, waiter: Waiter, place: int, *, deadline_ns: int) -> None:
        """One more that waits; the flight may now take as long as the most patient one."""
        self.waiters.append((waiter, place))
        self.deadline_ns = max(self.deadline_ns, deadline_ns)

    def land(self, outputs: Arrays, span: Span, *, cpu_ns: int, held_ns: int, share: SpanShare | None = None) -> None:
        """Give everybody the outputs; what they cost is shared equally, also with those who left meanwhile."""
        self.over = True
        if len(self.waiters) == 1:
            cpu, held = [cpu_ns], [held_ns]
        else:
            equal = [1] * len(self.waiters)
            cpu, held = apportion_list(cpu_ns, equal), apportion_list(held_ns, equal)
        shares: list[SpanShare | None] = [share] * len(self.waiters)
        if share is not None and len(self.waiters) > 1:
            parts = apportion_list(share.weight_ppb, [1] * len(self.waiters))
            shares = [replace(share, weight_ppb=part) for part in parts]
        landed = None
        for (waiter, place), own_cpu_ns, own_held_ns, own in zip(self.waiters, cpu, held, shares, strict=True):
            landed = Landed(
                outputs=outputs,
                decision=self.decision,
                span=span,
                cpu_ns=own_cpu_ns,
                held_ns=own_held_ns,
                share=own,
            )
            waiter.take(place, landed)
        self._tell(landed)

    def drop(self) -> None:
        """Nobody waits any more: an item that did not start never will."""
        self._end(None)

    def fail(self, error: GreenServeError) -> None:
        """Give everybody who still waits the error."""
        self._end(error)

    def poison(self, reason: str) -> None:
        """The model cannot run this item: everybody who waits is told which of its items that is."""
        self._end(None, reason)

    def _tell(self, landed: Landed | None) -> None:
        """Tell whoever asked, and forget it: it holds this flight, and rings are left to the garbage collector."""
        told, self.on_landed = self.on_landed, None
        if told is not None:
            told(landed)

    def _end(self, error: GreenServeError | None, reason: str = "nobody waits for it") -> None:
        self.over = True
        self._tell(None)
        for waiter, place in self.waiters:
            waiter.fail(error or InferenceFailed(f"the model could not run input [{place}] ({reason})"))
