"""The rows that wait for one variant: a heap per length bucket, ordered by priority, objective and arrival.

State: the heaps and the counters, changed by whoever owns the queue. A row that leaves is counted out at once and found
later (lazy deletion).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

Patience = Literal["latency", "balanced", "green"]

PRIORITIES = (1, 2, 3)
LEVELS = 2 * len(PRIORITIES)
"""Two per priority: rows that have company from their own request yield to single ones in the forecast of work."""
FEW_GONE = 32


@dataclass(slots=True, eq=False)
class Ticket:
    """A row's place in a queue; times are monotonic [ns].

    It should be answered by `objective_ns` and is dropped unless it can be by `deadline_ns`, which may be extended
    while it waits. `patience` says how long it may wait for company, `bulk` that it is one of many rows of a request,
    `work_s` [s] what it was predicted to add to the backlog.
    """

    row: object
    length: int
    arrival_ns: int
    deadline_ns: int
    objective_ns: int = 0
    priority: int = 2
    patience: Patience = "balanced"
    tenant: str = ""
    bulk: bool = False
    bucket: int = -1
    sequence: int = 0
    work_s: float = 0.0
    waiting: bool = False

    @property
    def order(self) -> tuple[int, int, int]:
        """What the queue sorts by: (priority, objective, sequence)."""
        return (self.priority, self.objective_ns, self.sequence)

    @property
    def level(self) -> int:
        """Index into the counters: 2 per priority."""
        return 2 * self.priority - 2 + self.bulk


class TicketQueue:
    """Rows of one variant. What waits is counted by level and bucket, by bucket, by patience, priority and tenant.

    `by_tenant` holds [rows, predicted seconds] of each tenant that waits.
    """

    def __init__(self, buckets: Sequence[int]) -> None:
        if not buckets or list(buckets) != sorted(set(buckets)) or buckets[0] < 1:
            raise ValueError(f"buckets are distinct lengths >= 1 in ascending order, got {tuple(buckets)}")
        self.buckets = tuple(buckets)
        self.counts = [[0] * len(self.buckets) for _ in range(LEVELS)]
        self.sizes = [0] * len(self.buckets)
        self.by_patience: dict[str, int] = {"latency": 0, "balanced": 0, "green": 0}
        self.by_priority = [0] * (len(PRIORITIES) + 1)
        self.by_tenant: dict[str, list[float]] = {}
        self._heaps: list[list[tuple[int, int, int, Ticket]]] = [[] for _ in self.buckets]
        self.rows = 0

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[Ticket]:
        """All that wait, in no order; O(n)."""
        return (entry[3] for heap in self._heaps for entry in heap if entry[3].waiting)

    def __repr__(self) -> str:
        held = {edge: size for edge, size in zip(self.buckets, self.sizes, strict=True) if size}
        return f"<TicketQueue {self.rows} rows {held}>"

    def bucket_of(self, length: int) -> int:
        """Index of the least bucket that holds `length`, or of the last one."""
        return min(bisect_left(self.buckets, length), len(self.buckets) - 1)

    def push(self, ticket: Ticket) -> None:
        """Let a row wait; its bucket, objective and sequence are set."""
        ticket.waiting = True
        heappush(self._heaps[ticket.bucket], (ticket.priority, ticket.objective_ns, ticket.sequence, ticket))
        self._count_in(ticket, 1)

    def discard(self, ticket: Ticket) -> None:
        """Forget a row whose client left; one that no longer waits is left alone."""
        if not ticket.waiting:
            return
        ticket.waiting = False
        self._count_in(ticket, -1)
        heap, bucket = self._heaps[ticket.bucket], ticket.bucket
        if len(heap) > FEW_GONE + 2 * self.sizes[bucket]:
            heap[:] = [entry for entry in heap if entry[3].waiting]
            heapify(heap)

    def peek(self, bucket: int) -> Ticket | None:
        """The first row of a bucket."""
        heap = self._heaps[bucket]
        while heap:
            ticket = heap[0][3]
            if ticket.waiting:
                return ticket
            heappop(heap)
        return None

    def pop(self, bucket: int) -> Ticket:
        """Take the first row of a bucket, which `peek` has just shown."""
        ticket = heappop(self._heaps[bucket])[3]
        ticket.waiting = False
        self._count_in(ticket, -1)
        return ticket

    def take(self, first: int, last: int, rows: int) -> list[Ticket]:
        """Take the first `rows` rows of the buckets `first`..`last` (both included), or as many as there are."""
        taken: list[Ticket] = []
        if first != last:
            while len(taken) < rows and (ticket := self.head(first, last)) is not None:
                taken.append(self.pop(ticket.bucket))
            return taken
        heap = self._heaps[first]
        while heap and len(taken) < rows:
            ticket = heappop(heap)[3]
            if ticket.waiting:
                ticket.waiting = False
                self._count_in(ticket, -1)
                taken.append(ticket)
        return taken

    def head(self, first: int = 0, last: int | None = None) -> Ticket | None:
        """The first row of all, or of the buckets `first`..`last` (indices, both included)."""
        best: Ticket | None = None
        least: tuple[int, int, int, Ticket] | None = None
        for index in range(first, len(self.buckets) if last is None else last + 1):
            if self.sizes[index]:
                ticket = self.peek(index)
                entry = self._heaps[index][0]
                if least is None or entry < least:
                    least, best = entry, ticket
        return best

    def _count_in(self, ticket: Ticket, change: int) -> None:
        bucket, tenant, priority = ticket.bucket, ticket.tenant, ticket.priority
        self.rows += change
        self.counts[2 * priority - 2 + ticket.bulk][bucket] += change
        self.sizes[bucket] += change
        self.by_patience[ticket.patience] += change
        self.by_priority[priority] += change
        held = self.by_tenant.get(tenant)
        if held is None:
            self.by_tenant[tenant] = [change, change * ticket.work_s]
        elif held[0] + change:
            held[0] += change
            held[1] += change * ticket.work_s
        else:
            del self.by_tenant[tenant]
