"""`python -m benchmarks.batching_overload`: a replica past its capacity, simulated: door, admission, batches.

The door and the policy are those that serve. The loop's work goes before the engine's on the core that they share, as
the kernel does for a thread that sleeps often; a machine with other work is noisier, in both directions, than any
change that is worth making here.
"""

import random
import statistics
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from greenserve.serve.batching.cost import CostModel
from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.lane import Lane, LaneSettings
from greenserve.serve.batching.policy import Policy, Run
from greenserve.serve.batching.queue import Ticket
from greenserve.serve.door import Door
from greenserve.units import NS_PER_S

TURN_AWAY_S, DECODE_S, REFUSE_S, ENCODE_S = 45e-6, 0.30e-3, 0.10e-3, 0.15e-3
"""CPU time of the loop [s] per request: parsed and turned away at the door; decoded, routed and admitted; refused after
that; answered. As profiled on 2 cores of an AMD EPYC."""
FIXED_S, ROW_S = 4.0e-3, 0.65e-3
"""t(b) of the demo's INT8 variant in the gateway, beside its loop [s]."""
SPREAD, SLOW_SHARE, SLOW = 0.25, 0.01, 3.0
"""Batches spread by a log-normal factor, and one in a hundred takes three times as long."""
SLO_S, MAX_BATCH, MAX_QUEUED, TOKENS = 0.2, 32, 512, 12
DEADLINE_NS, OVERHEAD_NS = 30 * NS_PER_S, 20_000_000
BEGIN_NS = 1_000 * NS_PER_S
CALM_S, CALM_PER_S = 1.0, 500.0
SEEDS = (1, 2, 3, 4, 5, 6)
MODEL = "m"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a key's holder that is sent `at_s` [s] after the start."""

    at_s: float
    key: str


@dataclass(slots=True)
class Found:
    """What came of the requests after the calm second: counts by key, times of refusals [s], sizes of batches."""

    good: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    away: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refusals_s: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def refusal_p99_s(self) -> float | None:
        """99 of 100 refusals came within it [s]; None without any."""
        ascending = sorted(self.refusals_s)
        return ascending[int(0.99 * len(ascending))] if ascending else None

    @property
    def rows_per_batch(self) -> float | None:
        """Mean size of a batch, None without any."""
        return statistics.mean(self.sizes) if self.sizes else None


def capacity_per_s() -> float:
    """Requests/s that one core answers in full batches, when nobody is refused."""
    return 1.0 / (FIXED_S / MAX_BATCH + ROW_S + TURN_AWAY_S + DECODE_S + ENCODE_S)


def asking(seed: int, seconds: float, rates: dict[str, float]) -> list[Asked]:
    """A calm second of the first key, then Poisson arrivals of each key at its rate [1/s] for `seconds`."""
    chance = random.Random(seed)

    def poisson(key: str, per_s: float, from_s: float, until_s: float) -> Iterator[Asked]:
        while (from_s := from_s + chance.expovariate(per_s)) < until_s:
            yield Asked(from_s, key)

    asked = list(poisson(next(iter(rates)), CALM_PER_S, 0.0, CALM_S))
    for key, per_s in rates.items():
        asked += poisson(key, per_s, CALM_S, CALM_S + seconds)
    return sorted(asked, key=lambda one: one.at_s)


@dataclass(frozen=True, slots=True)
class OneQueue:
    """The queue of the only model, as the door sees it."""

    policy: Policy

    def queue_of(self, _model: str) -> str | None:
        """There is one queue."""
        return ""

    def room(self, now_ns: int, _queue: str | None) -> float:
        """Its room for more rows now [monotonic ns]."""
        return self.policy.room(now_ns)


class Replica:
    """State: the time [s], what the loop has to do, the batch that runs and what is left of it [s of the core]."""

    def __init__(self, asked: Sequence[Asked], seed: int) -> None:
        cost = CostModel(
            seconds=(FIXED_S, ROW_S, 0.0, 0.0),
            joules=None,
            q=2.0,
            buckets=(16,),
            explored=[(MAX_BATCH, 16)],
        )
        self.policy = Policy(
            [Lane("v", LaneSettings(buckets=(16,), max_batch=MAX_BATCH, slo_s=SLO_S), cost)], max_queued=MAX_QUEUED
        )
        self.policy.overhead_ns = OVERHEAD_NS
        self.door = Door()
        self.door.queues = OneQueue(self.policy)
        for key in {one.key for one in asked}:
            self.door.proven(key)
        self.found = Found()
        self._chance = random.Random(seed)
        self._asked = deque(asked)
        self._now_s = 0.0
        self._decode: deque[Asked] = deque()
        self._landed: deque[tuple[Launch, float]] = deque()
        self._running: tuple[Launch, float, float] | None = None

    def run(self) -> Found:
        """Until everybody is answered or refused."""
        while True:
            self._enter()
            if self._decode or self._landed:
                for one in [self._decode.popleft() for _ in range(len(self._decode))]:
                    self._admit(one)
                for launch, seconds in [self._landed.popleft() for _ in range(len(self._landed))]:
                    self._land(launch, seconds)
            elif self._running is not None:
                self._engine()
            elif self._asked:
                self._now_s = max(self._now_s, self._asked[0].at_s)
            else:
                return self.found

    @property
    def _now_ns(self) -> int:
        return BEGIN_NS + int(self._now_s * NS_PER_S)

    def _enter(self) -> None:
        while self._asked and self._asked[0].at_s <= self._now_s:
            one = self._asked.popleft()
            self._now_s += TURN_AWAY_S
            if self.door.lets_in(one.key, MODEL, self._now_ns):
                self.door.waiting += 1
                self._decode.append(one)
            else:
                self._refused(one, self.found.away)

    def _admit(self, one: Asked) -> None:
        received_ns = self._now_ns
        self.door.waiting -= 1
        self._now_s += DECODE_S
        ticket = Ticket(one, TOKENS, received_ns, received_ns + DEADLINE_NS, tenant=one.key)
        if self.policy.arrive("v", (ticket,), self._now_ns) is None:
            self.door.taken()
            self._cut()
        else:
            self._now_s += REFUSE_S
            self.door.refused()
            self._refused(one, self.found.refused)

    def _cut(self) -> None:
        if self._running is not None:
            return
        cut = self.policy.cut(self._now_ns)
        for dropped in cut.dropped:
            assert isinstance(dropped.ticket.row, Asked)
            self._refused(dropped.ticket.row, self.found.refused)
        if isinstance(cut, Launch):
            factor = self._chance.lognormvariate(0.0, SPREAD) * (SLOW if self._chance.random() < SLOW_SHARE else 1.0)
            if self._now_s >= CALM_S:
                self.found.sizes.append(len(cut.tickets))
            self._running = (cut, factor * (FIXED_S + ROW_S * len(cut.tickets)), self._now_s)

    def _engine(self) -> None:
        """The core is the engine's until its batch is done or somebody comes."""
        assert self._running is not None
        launch, left_s, began_s = self._running
        until_s = self._asked[0].at_s if self._asked else float("inf")
        if self._now_s + left_s <= until_s:
            self._now_s += left_s
            self._running = None
            self._landed.append((launch, self._now_s - began_s))
        else:
            self._running = (launch, left_s - (until_s - self._now_s), began_s)
            self._now_s = until_s

    def _land(self, launch: Launch, seconds: float) -> None:
        self.policy.freed(launch)
        run = Run(rows=len(launch.tickets), length=TOKENS, seconds=seconds, joules=None)
        self.policy.learn(launch, end_ns=self._now_ns, runs=(run,))
        self._cut()
        for ticket in launch.tickets:
            one = ticket.row
            assert isinstance(one, Asked)
            self._now_s += ENCODE_S
            self.door.done()
            if one.at_s >= CALM_S:
                (self.found.good if self._now_s - one.at_s <= SLO_S else self.found.late)[one.key] += 1

    def _refused(self, one: Asked, counted: Counter[str]) -> None:
        if one.at_s >= CALM_S:
            counted[one.key] += 1
            self.found.refusals_s.append(self._now_s - one.at_s)


def main() -> None:
    """One line per load, means over the seeds."""
    seconds, capacity = 4.0, capacity_per_s()
    print(f"one core answers {capacity:.0f}/s in full batches; {seconds:g} s after a calm one, {len(SEEDS)} seeds")
    for times, modest in ((1.1, 0.0), (1.3, 0.0), (2.0, 0.0), (3.0, 0.0), (5.0, 0.0), (3.0, 40.0), (3.0, 150.0)):
        rates = {"greedy": times * capacity} | ({"modest": modest} if modest else {})
        found = [Replica(asking(seed, seconds, rates), seed).run() for seed in SEEDS]
        good = statistics.mean(each.good.total() for each in found) / seconds
        kept = statistics.mean(each.good["modest"] for each in found) / seconds
        p99s = [each.refusal_p99_s for each in found if each.refusal_p99_s is not None]
        rows = [each.rows_per_batch for each in found if each.rows_per_batch is not None]
        print(
            f"{times:g}x  good {good:4.0f}/s = {good / capacity:.2f} of it  "
            f"late {statistics.mean(each.late.total() for each in found):3.0f}  "
            f"refused after decoding {statistics.mean(each.refused.total() for each in found):4.0f}  "
            f"p99 of refusals {1e3 * max(p99s):4.1f} ms  rows per batch {statistics.mean(rows):.1f}"
            + (f"  of {modest:g}/s within its part {kept:.0f}/s" if modest else "")
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
