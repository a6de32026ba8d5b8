"""The batching policies of other servers, as far as they decide what runs when; for the simulator.

Each is our own reading of its documented rule, on the same tickets: first come, first served, no objective, no costs
known beforehand, at most `max_queued` rows.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from greenserve.serve.batching.policy import Run
from greenserve.serve.batching.queue import Ticket
from greenserve.units import NS_PER_S

CORK_WINDOW = 50
CORK_TICK_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a rival does with a free engine: run `tickets`, or ask again at `at_ns` [ns] (None: when one arrives)."""

    tickets: tuple[Ticket, ...] = ()
    at_ns: int | None = None
    dropped: tuple[Ticket, ...] = ()


class Rival(Protocol):
    """A batching policy under the simulator."""

    def arrive(self, ticket: Ticket, now_ns: int) -> bool:
        """Queue the row; False where it is refused."""

    def cut(self, now_ns: int) -> Step:
        """The engine is free."""

    def finished(self, run: Run, end_ns: int) -> None:
        """The batch is done at `end_ns` [ns]."""


class ServeBatch:
    """Ray Serve's `@serve.batch`: a batch is closed by size or by time since its first row, free engine or not."""

    def __init__(self, *, size: int, timeout_s: float, max_queued: int) -> None:
        self._size = size
        self._timeout_ns = int(timeout_s * NS_PER_S)
        self._max_queued = max_queued
        self._open: list[Ticket] = []
        self._opened_ns = 0
        self._closed: deque[tuple[Ticket, ...]] = deque()
        self._queued = 0

    def arrive(self, ticket: Ticket, now_ns: int) -> bool:
        """The open batch takes it."""
        self._close_old(now_ns)
        if self._queued >= self._max_queued:
            return False
        if not self._open:
            self._opened_ns = now_ns
        self._open.append(ticket)
        self._queued += 1
        if len(self._open) >= self._size:
            self._close()
        return True

    def cut(self, now_ns: int) -> Step:
        """The oldest closed batch."""
        self._close_old(now_ns)
        if self._closed:
            tickets = self._closed.popleft()
            self._queued -= len(tickets)
            return Step(tickets)
        return Step(at_ns=self._opened_ns + self._timeout_ns if self._open else None)

    def finished(self, run: Run, end_ns: int) -> None:
        """It learns nothing."""

    def _close_old(self, now_ns: int) -> None:
        if self._open and now_ns >= self._opened_ns + self._timeout_ns:
            self._close()

    def _close(self) -> None:
        self._closed.append(tuple(self._open))
        self._open = []


class Greedy:
    """Triton's dynamic batcher without delay: a free engine takes whatever waits, up to the size."""

    def __init__(self, *, size: int, max_queued: int) -> None:
        self._size = size
        self._max_queued = max_queued
        self._queue: deque[Ticket] = deque()

    def arrive(self, ticket: Ticket, now_ns: int) -> bool:
        """Last in the line."""
        if len(self._queue) >= self._max_queued:
            return False
        self._queue.append(ticket)
        return True

    def cut(self, now_ns: int) -> Step:
        """The first in the line."""
        return Step(_take(self._queue, self._size))

    def finished(self, run: Run, end_ns: int) -> None:
        """It learns nothing."""


class Timer:
    """MLServer's adaptive batching: a free worker collects from the first row on until size or time is reached."""

    def __init__(self, *, size: int, timeout_s: float, max_queued: int) -> None:
        self._size = size
        self._timeout_ns = int(timeout_s * NS_PER_S)
        self._max_queued = max_queued
        self._queue: deque[Ticket] = deque()
        self._since_ns: int | None = None

    def arrive(self, ticket: Ticket, now_ns: int) -> bool:
        """Last in the line."""
        if len(self._queue) >= self._max_queued:
            return False
        self._queue.append(ticket)
        return True

    def cut(self, now_ns: int) -> Step:
        """What was collected."""
        if not self._queue:
            return Step()
        if self._since_ns is None:
            self._since_ns = now_ns
        due_ns = self._since_ns + self._timeout_ns
        if len(self._queue) < self._size and now_ns < due_ns:
            return Step(at_ns=due_ns)
        self._since_ns = None
        return Step(_take(self._queue, self._size))

    def finished(self, run: Run, end_ns: int) -> None:
        """It learns nothing."""


class Cork:
    """BentoML's dispatcher: a line through the last 50 batches says whether one more row is worth the wait of all.

    It drops rows whose age and predicted run pass the latency limit.
    """

    def __init__(self, *, size: int, limit_s: float, max_queued: int) -> None:
        self._size = size
        self._limit_s = limit_s
        self._max_queued = max_queued
        self._queue: deque[Ticket] = deque()
        self._seen: deque[tuple[int, float]] = deque(maxlen=CORK_WINDOW)
        self._fixed_s, self._row_s = 0.0, 0.0
        self._mean_wait_s = 0.001

    def arrive(self, ticket: Ticket, now_ns: int) -> bool:
        """Last in the line."""
        if len(self._queue) >= self._max_queued:
            return False
        self._queue.append(ticket)
        return True

    def cut(self, now_ns: int) -> Step:
        """As many as fit the limit, unless one more is worth waiting for."""
        dropped: list[Ticket] = []
        while self._queue:
            rows = min(len(self._queue), self._size)
            age_s = (now_ns - self._queue[0].arrival_ns) / NS_PER_S
            if rows > 1 and age_s + self._fixed_s + rows * self._row_s >= self._limit_s:
                dropped.append(self._queue.popleft())
                continue
            last_age_s = (now_ns - self._queue[-1].arrival_ns) / NS_PER_S
            tick_s = CORK_TICK_NS / NS_PER_S
            if len(self._queue) < self._size and rows * (last_age_s + tick_s + self._row_s) <= self._mean_wait_s * 0.95:
                return Step(at_ns=now_ns + CORK_TICK_NS, dropped=tuple(dropped))
            self._mean_wait_s = 0.95 * self._mean_wait_s + 0.05 * age_s
            return Step(_take(self._queue, self._size), dropped=tuple(dropped))
        return Step(dropped=tuple(dropped))

    def finished(self, run: Run, end_ns: int) -> None:
        """The line through the last batches, by least squares."""
        self._seen.append((run.rows, run.seconds))
        count = len(self._seen)
        mean_rows = sum(rows for rows, _ in self._seen) / count
        mean_s = sum(took for _, took in self._seen) / count
        spread = sum((rows - mean_rows) ** 2 for rows, _ in self._seen)
        together = sum((rows - mean_rows) * (took - mean_s) for rows, took in self._seen)
        self._row_s = max(0.0, together / spread) if spread else mean_s / mean_rows
        self._fixed_s = max(0.0, mean_s - self._row_s * mean_rows)


def _take(queue: deque[Ticket], rows: int) -> tuple[Ticket, ...]:
    return tuple(queue.popleft() for _ in range(min(rows, len(queue))))
