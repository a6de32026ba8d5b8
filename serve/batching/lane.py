"""One variant in the batcher's eyes: its queue, what its batches cost, how large they may get, how fast rows come."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from greenserve.serve.batching.arrivals import ArrivalRates, Company, Gaps
from greenserve.serve.batching.cost import AdaptiveCap, CostModel, Rates
from greenserve.serve.batching.queue import Patience as Class
from greenserve.serve.batching.queue import Ticket, TicketQueue
from greenserve.serve.batching.waiting import Patience
from greenserve.units import NS_PER_S

WASTE_LIMIT = 0.25
STRETCH_STEP, MOST_STRETCH = 0.1, 4.0
LATE_STEP, LATE_SHARE, MOST_MARGIN = 0.01, 0.005, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """How a variant is batched: bucket edges, most rows, objective [s] (None: the deadline alone), waiting.

    `max_wait_s` bounds the wait for company [s]; None leaves it to joules and latency. `patience` is the class of rows
    that ask for none.
    """

    buckets: tuple[int, ...]
    max_batch: int
    slo_s: float | None = 0.2
    max_wait_s: float | None = None
    patience: Class = "balanced"

    def __post_init__(self) -> None:
        if self.max_batch < 1 or (self.slo_s is not None and self.slo_s <= 0.0):
            raise ValueError(f"a lane takes at least one row per batch and an objective > 0 s, got {self!r}")


class Lane:
    """State: the queue, costs, cap, rates and price of waiting of one variant; changed by the policy that owns it."""

    __slots__ = (
        "_limit",
        "_rates",
        "_row_s",
        "_version",
        "arrivals",
        "cap",
        "company",
        "cost",
        "gaps",
        "idle_since_ns",
        "joinable",
        "key",
        "margin",
        "patience",
        "priced",
        "queue",
        "running",
        "settings",
        "slo_ns",
        "stretch",
    )

    def __init__(self, key: str, settings: LaneSettings, cost: CostModel) -> None:
        self.key = key
        self.settings = settings
        self.cost = cost
        self.queue = TicketQueue(settings.buckets)
        self.cap = AdaptiveCap(most=settings.max_batch)
        self.arrivals = ArrivalRates(len(settings.buckets))
        self.patience = Patience(slo_s=settings.slo_s or 0.2)
        self.slo_ns = round(settings.slo_s * NS_PER_S) if settings.slo_s is not None else None
        self.company = Company()
        self.gaps = Gaps()
        self.joinable = _joinable(settings.buckets)
        self.running = 0
        self.stretch = 1.0
        self.margin = 1.0
        self.idle_since_ns: int | None = None
        self.priced = False
        self._rates: list[Rates | None] = [None] * len(settings.buckets)
        self._row_s = [0.0] * len(settings.buckets)
        self._version = self._limit = -1

    def __repr__(self) -> str:
        return f"<Lane {self.key} {self.queue!r} cap {self.cap.limit}>"

    def rates(self, bucket: int) -> Rates | None:
        """What batches of that bucket cost as of now; None before anything is known."""
        if self._version != self.cost.version or self._limit != self.cap.limit:
            self._version, self._limit = self.cost.version, self.cap.limit
            self._rates = [None] * len(self._rates)
        rates = self._rates[bucket]
        if rates is None:
            rates = self._rates[bucket] = self.cost.at(self.settings.buckets[bucket])
            self._row_s[bucket] = rates.row_s + rates.fixed_s / self.most(rates) if rates is not None else 0.0
        return rates

    def most(self, rates: Rates | None) -> int:
        """Bcap: the largest batch of that length, by memory, by what was kept lately and by the energy saved."""
        most = min(self.settings.max_batch, self.cap.limit)
        if rates is not None and rates.worth is not None and rates.worth < most:
            most = rates.worth
        return max(1, most)

    def row_s(self, bucket: int) -> float:
        """tau: the time [s] that one row adds to a backlog; 0 before anything is known."""
        self.rates(bucket)
        return self._row_s[bucket]

    def work_s(self, level: int) -> float:
        """Predicted time [s] of the rows that wait on that level of the counters or above it.

        Stretched by what recent backlogs took over the time of full batches of the buckets' lengths.
        """
        if not len(self.queue):
            return 0.0
        work = 0.0
        counts, sizes = self.queue.counts, self.queue.sizes
        for bucket, size in enumerate(sizes):
            if size:
                rows = size if level >= len(counts) - 1 else sum([row[bucket] for row in counts[: level + 1]])
                if rows:
                    work += rows * self.row_s(bucket)
        return self.stretch * self.margin * work

    def drained(self, tickets: Sequence[Ticket], seconds: float) -> None:
        """A batch of a backlog took `seconds` [s]."""
        work_s = sum([ticket.work_s for ticket in tickets])
        if work_s > 0.0:
            ratio = min(MOST_STRETCH, max(1.0, seconds / work_s))
            self.stretch += STRETCH_STEP * (ratio - self.stretch)

    def load(self, now_ns: int) -> float:
        """lambda tau: the share of the engine's time that arrivals at the present rate need."""
        return sum(
            rate * self.row_s(bucket)
            for bucket in range(len(self.settings.buckets))
            if (rate := self.arrivals.of(bucket, now_ns)) > 0.0
        )

    def joining_per_s(self, first: int, last: int, now_ns: int) -> float:
        """The rate [1/s] at which rows of the buckets `first`..`last` join one that waits."""
        everybody = self.arrivals.between(0, len(self.settings.buckets) - 1, now_ns)
        if everybody <= 0.0:
            return 0.0
        return self.company.per_s(now_ns) * self.arrivals.between(first, last, now_ns) / everybody

    def due_ns(self, ticket: Ticket, now_ns: int) -> int:
        """x: the row's objective while it can be met, else its deadline [ns]."""
        rates = self.rates(ticket.bucket)
        if rates is None or now_ns + rates.one_high_ns > ticket.objective_ns:
            return ticket.deadline_ns
        return ticket.objective_ns

    def too_late(self, ticket: Ticket, now_ns: int) -> bool:
        """Whether even alone and at once the row would miss its deadline."""
        rates = self.rates(ticket.bucket)
        return now_ns + (rates.one_high_ns if rates is not None else 0) > ticket.deadline_ns

    def needed(self, bucket: int, executors: float, now_ns: int) -> int:
        """b_need: the least batch of that length with which `executors` engines keep up with what arrives."""
        rates = self.rates(bucket)
        most = self.most(rates)
        if rates is None:
            return most
        rate = self.arrivals.between(0, len(self.settings.buckets) - 1, now_ns) / executors
        left = 1.0 - rate * rates.row_s
        return most if left <= 0.0 else max(1, min(most, ceil(rate * rates.fixed_s / left)))

    def answered(self, tickets: Sequence[Ticket], end_ns: int) -> None:
        """Rows were answered at `end_ns`: widen the forecast of work for each that was late, so that 0.5 % are."""
        late = sum([ticket.objective_ns < end_ns for ticket in tickets])
        change = LATE_STEP * (late - LATE_SHARE * len(tickets))
        self.margin = min(MOST_MARGIN, max(1.0, self.margin + change))

    def launched(self, tickets: Sequence[Ticket], now_ns: int) -> None:
        """Note what a batch's rows paid for waiting while the engine was free.

        Only where the price of waiting had a say: over a night of lone requests it would fall to nothing.
        """
        since_ns, self.idle_since_ns = self.idle_since_ns, None
        waited_ns = 0
        if since_ns is not None:
            waited_ns = sum([now_ns - max(since_ns, ticket.arrival_ns) for ticket in tickets])
        if self.priced:
            self.priced = False
            self.patience.paid(rows=len(tickets), waited_s=waited_ns / NS_PER_S)


def _joinable(buckets: Sequence[int]) -> tuple[int, ...]:
    """For each bucket the first of the shorter ones whose rows waste at most a quarter when padded to it."""
    return tuple(
        next(first for first, shorter in enumerate(buckets) if shorter >= (1.0 - WASTE_LIMIT) * edge)
        for edge in buckets
    )
