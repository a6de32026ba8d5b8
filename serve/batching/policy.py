"""What to do when a row arrives and when the engine is free: admit or refuse, launch, wait or idle.

Pure in time: `now_ns` [monotonic ns] is an argument, and what comes back says what to do. State: one lane per variant,
the predicted end of the running batches, the latches of overload; changed only by whoever owns the policy.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Literal

from greenserve.record import record
from greenserve.serve.batching.dispatch import Dropped, Launch, launch, wait_ns, wasteful
from greenserve.serve.batching.lane import Lane
from greenserve.serve.batching.overload import brownout_latch, goodput_latch, over_share
from greenserve.serve.batching.queue import LEVELS, Ticket
from greenserve.serve.batching.room import AT_ONCE, FULL, SHARED, horizon_of_s, horizon_s, last_s
from greenserve.serve.batching.tail import FIRST_NS, Tail
from greenserve.units import NS_PER_S

EVERYBODY = LEVELS - 1
LOAD_EVERY_NS = NS_PER_S // 20
PRESSURE_EVERY_NS = NS_PER_S // 100
"""How often brownout looks at the pressure [ns]: it is on after half a second, and every request asks."""
BUSY = 0.8
"""Share of the engine's time above which it is never left idle for company: batches then fill by themselves."""
ACTIVE_NS = NS_PER_S
"""A tenant that sent so lately has its part of the queue, also while nothing of it waits."""
NOTHING = (0, 0.0)


@record(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request was not queued. `ahead_s` [s] is the predicted time of what runs and waits before it."""

    code: Literal["overloaded", "deadline-exceeded", "queue-full", "over-share"]
    ahead_s: float
    needed_s: float

    @property
    def retry_after_s(self) -> int:
        """When to come again [s]: once what is ahead will be done."""
        return max(1, ceil(self.ahead_s))


@record(frozen=True, slots=True)
class WaitUntil:
    """Ask again at `at_ns` or when a row arrives: company is worth the wait."""

    at_ns: int
    dropped: tuple[Dropped, ...] = ()


@record(frozen=True, slots=True)
class Idle:
    """Nothing waits."""

    dropped: tuple[Dropped, ...] = ()


@record(frozen=True, slots=True)
class Run:
    """What one run of the engine took: rows, longest row, time [s], provisional dynamic energy [J] (None: unknown)."""

    rows: int
    length: int
    seconds: float
    joules: float | None


Cut = Launch | WaitUntil | Idle


class Policy:
    """GreenBatch over one replica's variants. To be set: `executors` (of an engine that others use too, a part of one),
    and `weights`, tenants' parts of a crowded queue (1 where not named)."""

    def __init__(self, lanes: Sequence[Lane], *, max_queued: int, executors: float = 1.0) -> None:
        self._lanes = {lane.key: lane for lane in lanes}
        self._all = tuple(lanes)
        self._max_queued = max_queued
        self.executors = executors
        self.weights: Mapping[str, float] = {}
        self._sequence = self._load_seen_ns = self._pressure_seen_ns = 0
        self._full_ns = -NS_PER_S
        self._seen_ns: dict[str, int] = {}
        self._ends_ns: dict[int, int] = {}
        self._brownout, self._goodput, self._load = brownout_latch(), goodput_latch(), 0.0
        self.hurry = False
        """Whether nobody waits for company any more, since the replica drains."""
        self.overhead_ns = FIRST_NS
        """What encoding, recording and sending take after a batch [ns], kept free before objectives and deadlines."""
        self.tail = Tail()

    def __repr__(self) -> str:
        return f"<Policy {list(self._lanes.values())!r} {'goodput' if self._goodput.on else 'calm'}>"

    def __len__(self) -> int:
        return sum([lane.queue.rows for lane in self._all])

    def lane(self, key: str) -> Lane:
        """The lane of a variant; KeyError for one that is not served."""
        return self._lanes[key]

    def add(self, lane: Lane) -> None:
        """Serve one more variant, or another artefact of one whose queue is empty."""
        held = self._lanes.get(lane.key)
        if held is not None and len(held.queue):
            raise ValueError(f"{len(held.queue)} rows wait for {lane.key}; its lane can't be replaced")
        self._lanes[lane.key] = lane
        self._all = tuple(self._lanes.values())

    # 1. A request arrives

    def arrive(self, key: str, tickets: Sequence[Ticket], now_ns: int) -> Refusal | None:
        """Queue a request's rows, all or none; None, or why it is refused. Rows share deadline, priority and tenant."""
        lane, first = self._lanes[key], tickets[0]
        queue = lane.queue
        longest, own_s = 0, 0.0
        lane.gaps.note(now_ns)
        lane.company.arrived(now_ns)
        self._seen_ns[first.tenant] = now_ns
        for ticket in tickets:
            bucket = ticket.bucket = queue.bucket_of(ticket.length)
            lane.arrivals.note(bucket, now_ns)
            ticket.work_s = lane.row_s(bucket)
            own_s += ticket.work_s
            longest = max(longest, bucket)
        queued = len(self)
        if queued + len(tickets) > self._max_queued:
            return Refusal(code="queue-full", ahead_s=self.residual_s(now_ns) + self._work_s(EVERYBODY), needed_s=own_s)
        deadline_ns = first.deadline_ns - self.overhead_ns
        objective_ns = self._objective_ns(lane, first, (longest, own_s - first.work_s), now_ns)
        bulk = len(tickets) > lane.settings.max_batch
        for ticket in tickets:
            ticket.deadline_ns, ticket.objective_ns, ticket.bulk = deadline_ns, objective_ns, bulk
        refusal = self._refusal(lane, first, longest, own_s, now_ns)
        if refusal is not None:
            return refusal
        for ticket in tickets:
            self._sequence += 1
            ticket.sequence = self._sequence
            queue.push(ticket)
        return None

    def _objective_ns(self, lane: Lane, first: Ticket, request: tuple[int, float], now_ns: int) -> int:
        """o [ns]: a request has the time that its further rows take on top of the objective.

        One that misses its objective even on a free engine is held to its deadline alone.
        """
        longest, further_s = request
        deadline_ns = first.deadline_ns - self.overhead_ns
        rates = lane.rates(longest)
        if lane.slo_ns is None:
            return deadline_ns
        objective_ns = first.arrival_ns + lane.slo_ns - self.overhead_ns
        if rates is not None and now_ns + rates.one_high_ns > objective_ns:
            return deadline_ns
        return min(deadline_ns, objective_ns + int(further_s * NS_PER_S))

    def requeue(self, key: str, ticket: Ticket, *, deadline_ns: int) -> None:
        """Let a dropped row wait again: somebody more patient has joined it, with that deadline [ns]."""
        self._sequence += 1
        ticket.deadline_ns = deadline_ns - self.overhead_ns
        ticket.sequence = self._sequence
        self._lanes[key].queue.push(ticket)

    def discard(self, key: str, ticket: Ticket) -> None:
        """A row's clients have left."""
        self._lanes[key].queue.discard(ticket)

    def _refusal(self, lane: Lane, first: Ticket, longest: int, own_s: float, now_ns: int) -> Refusal | None:
        rates = lane.rates(longest)
        if rates is None:
            return None
        if now_ns + rates.one_high_ns > first.deadline_ns:
            return Refusal(code="deadline-exceeded", ahead_s=0.0, needed_s=rates.one_high_s)
        ahead_s = self.residual_s(now_ns) + self._work_s(first.level)
        if ahead_s <= 0.0:
            return None
        needed_s = own_s - first.work_s + last_s(lane, longest)
        if now_ns + (ahead_s + needed_s) * NS_PER_S > first.objective_ns:
            return Refusal(code="overloaded", ahead_s=ahead_s, needed_s=needed_s)
        if self._over_share(lane, longest, first.tenant, own_s):
            return Refusal(code="over-share", ahead_s=ahead_s, needed_s=own_s)
        return None

    def _work_s(self, level: int) -> float:
        """Predicted time [s] of the rows of all variants that wait on that level or above it."""
        return sum([each.work_s(level) for each in self._all if each.queue.rows]) / self.executors

    def _over_share(self, lane: Lane, bucket: int, tenant: str, own_s: float) -> bool:
        # Who was refused a moment ago keeps its part of the queue.
        lately: Mapping[str, Sequence[float]] = dict.fromkeys(self._seen_ns, NOTHING)
        queued = [*(each.queue.by_tenant for each in self._all if each.queue.rows), lately]
        horizon_s = horizon_of_s(lane, bucket, self.overhead_ns) * self.executors / (lane.stretch * lane.margin)
        return over_share(tenant, own_s, queued=queued, weights=self.weights, horizon_s=horizon_s)

    # 2. How loaded it is

    def residual_s(self, now_ns: int) -> float:
        """Predicted time until an engine is free [s]."""
        return max(0.0, (self._free_ns(now_ns) - now_ns) / NS_PER_S)

    def _free_ns(self, now_ns: int) -> int:
        """When an engine can take one more batch, behind those that are out [ns]; `now_ns` where one can already."""
        engines = max(1, round(self.executors))
        if len(self._ends_ns) < engines:
            return now_ns
        return max(now_ns, sorted(self._ends_ns.values())[len(self._ends_ns) - engines])

    def pressure(self, now_ns: int) -> float:
        """Running and queued work over the work that can still be answered in time; 1 = nothing more fits."""
        work_s = self.residual_s(now_ns) + self._work_s(EVERYBODY)
        return work_s / horizon_s(self._all, self.overhead_ns) if len(self) else 0.0

    def room(self, now_ns: int) -> float:
        """How many more rows should come in for now; negative where the queue is longer than it should be."""
        queued, work_s = len(self), self._work_s(EVERYBODY)
        rows = min(AT_ONCE, self._max_queued - queued)
        if work_s > 0.0:
            full = FULL if len(self._seen_ns) < 2 else SHARED
            left_s = (full - self.pressure(now_ns)) * horizon_s(self._all, self.overhead_ns)
            rows = min(rows, left_s * queued / work_s)
        if rows < 1.0:
            self._full_ns = now_ns
        return rows

    def brownout(self, now_ns: int) -> bool:
        """Whether the pressure has been over 0.9, or no room left, for half a second: route to cheaper variants."""
        if now_ns - self._pressure_seen_ns >= PRESSURE_EVERY_NS:
            self._pressure_seen_ns = now_ns
            # Behind a shut door the queue is never longer than it should be, whatever is turned away.
            full = now_ns - self._full_ns < LOAD_EVERY_NS
            self._brownout.see(1.0 if full else self.pressure(now_ns), now_ns)
        return self._brownout.on

    def _see_load(self, now_ns: int) -> None:
        if now_ns - self._load_seen_ns >= LOAD_EVERY_NS:
            self._load_seen_ns = now_ns
            self._seen_ns = {name: at_ns for name, at_ns in self._seen_ns.items() if now_ns - at_ns < ACTIVE_NS}
            self._load = sum([lane.load(now_ns) for lane in self._all]) / self.executors
            self._goodput.see(self._load, now_ns)

    # 3. An engine is free

    def cut(self, now_ns: int) -> Cut:
        """What to do with a free engine: the variant with the earliest head goes, if it need not wait."""
        self._see_load(now_ns)
        dropped: list[Dropped] = []
        heads: list[tuple[int, int, int, Lane, Ticket]] = []
        for lane in self._all:
            if not lane.queue.rows:
                if lane.running == 0:
                    lane.company.emptied(now_ns)
            else:
                head = self._head(lane, now_ns, dropped)
                if head is not None:
                    heads.append((head.priority, head.objective_ns, head.sequence, lane, head))
        if len(heads) > 1:
            heads.sort()
        until_ns: int | None = None
        for *_, lane, head in heads:
            at_ns = None if self._load > BUSY or self.hurry else self._wait_ns(lane, head, now_ns)
            if at_ns is not None:
                if lane.idle_since_ns is None:
                    lane.idle_since_ns = now_ns
                until_ns = at_ns if until_ns is None else min(until_ns, at_ns)
            elif until_ns is None or _fits(lane, head, until_ns, now_ns):
                cut = launch(lane, head, now_ns, dropped)
                # One that is staged behind others begins when an engine is free.
                self._ends_ns[id(cut)] = cut.ends_ns - now_ns + self._free_ns(now_ns)
                lane.running += 1
                return cut
        return Idle(tuple(dropped)) if until_ns is None else WaitUntil(until_ns, tuple(dropped))

    def freed(self, cut: Launch) -> None:
        """A launched batch is back: its engine is free."""
        del self._ends_ns[id(cut)]
        cut.lane.running -= 1

    def learn(self, cut: Launch, *, end_ns: int, runs: Sequence[Run]) -> None:
        """Learn from a batch that was done at `end_ns`, by its runs (several where it was bisected)."""
        lane, longest = cut.lane, cut.lane.settings.buckets[-1]
        for run in runs:
            lane.cost.observe(batch=run.rows, length=min(run.length, longest), seconds=run.seconds, joules=run.joules)
        if cut.backlog:
            lane.drained(cut.tickets, sum([run.seconds for run in runs]))
        lane.answered(cut.tickets, end_ns)
        if cut.due_ns is not None:
            if end_ns > cut.due_ns:
                lane.cap.missed()
            else:
                lane.cap.kept(len(cut.tickets))

    def _wait_ns(self, lane: Lane, head: Ticket, now_ns: int) -> int | None:
        if lane.queue.by_patience["latency"]:
            return None
        return wait_ns(lane, head, self._work_s(EVERYBODY), now_ns)

    def _head(self, lane: Lane, now_ns: int, dropped: list[Dropped]) -> Ticket | None:
        queue = lane.queue
        while (head := queue.head()) is not None:
            if lane.too_late(head, now_ns):
                dropped.append(Dropped(lane, queue.pop(head.bucket), "deadline-exceeded"))
            elif self._goodput.on and self._gives_way(lane, head, now_ns):
                dropped.append(Dropped(lane, queue.pop(head.bucket), "overloaded"))
            else:
                return head
        return None

    def _gives_way(self, lane: Lane, head: Ticket, now_ns: int) -> bool:
        """Whether the head would cost others their answers; tenants over their share go first."""
        if not wasteful(lane, head, lane.needed(head.bucket, self.executors, now_ns), now_ns):
            return False
        tenants = {tenant for each in self._all for tenant in each.queue.by_tenant}
        greedy = {tenant for tenant in tenants if self._over_share(lane, head.bucket, tenant, 0.0)}
        return not greedy or head.tenant in greedy


def _fits(lane: Lane, head: Ticket, until_ns: int, now_ns: int) -> bool:
    """Whether a row of one variant can run while an earlier one of another waits for company."""
    rates = lane.rates(head.bucket)
    return rates is not None and now_ns + rates.one_high_ns <= until_ns
