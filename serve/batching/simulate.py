"""Trace-driven simulation of batching on one engine: the policy that serves, or a rival, over the same arrivals.

Event-driven and pure: arrivals, batch times and noise are arguments; the same arguments give the same outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.policy import Policy, Run, WaitUntil
from greenserve.serve.batching.queue import Patience, Ticket
from greenserve.serve.batching.regression import Regression
from greenserve.serve.batching.rivals import Rival, Step
from greenserve.units import NS_PER_S

DEADLINE_NS = 30 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row that arrives at `at_ns` [ns] with `length` tokens."""

    at_ns: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What batches really take: t [s] and e [J] over (rows, longest), each time multiplied by the next of `noise`."""

    seconds: Regression
    joules: Regression
    noise: Sequence[float]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Counts of a run, energy [J], waits from arrival to launch [s], time from first arrival to last answer [s].

    `good` were answered within the objective, `late` after it; `padded` counts tokens that ran beside `tokens` of text.
    `misfit` is the median relative error of predicted times, `over_high` the share of batches over t+; None: none made.
    """

    offered: int = 0
    answered: int = 0
    good: int = 0
    late: int = 0
    refused: int = 0
    dropped: int = 0
    batches: int = 0
    tokens: int = 0
    padded: int = 0
    joules: float = 0.0
    duration_s: float = 0.0
    busy_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    misfit: float | None = None
    over_high: float | None = None

    @property
    def goodput_per_s(self) -> float:
        """Answers within the objective per second."""
        return self.good / self.duration_s

    @property
    def j_per_answer(self) -> float | None:
        """Dynamic energy per answer [J], None where nothing was answered."""
        return self.joules / self.answered if self.answered else None

    @property
    def j_per_good(self) -> float | None:
        """Dynamic energy per answer within the objective [J], None where there was none."""
        return self.joules / self.good if self.good else None

    @property
    def rows_per_batch(self) -> float | None:
        """Mean size of a batch."""
        return self.answered / self.batches if self.batches else None

    @property
    def padding(self) -> float | None:
        """Share of the tokens that ran which were padding."""
        return self.padded / (self.tokens + self.padded) if self.tokens else None

    def wait_s(self, share: float) -> float | None:
        """A quantile of the wait [s]."""
        ascending = sorted(self.waits_s)
        return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else None


class _Green:
    """The serving policy as a rival. State: the launch that runs, and how well its time was predicted."""

    def __init__(self, policy: Policy, key: str, patience: Patience) -> None:
        self._policy = policy
        self._key = key
        self._patience: Patience = patience
        self._running: Launch | None = None
        self.misfits: list[float] = []
        self.over_high = 0

    def arrive(self, ticket: Ticket, now_ns: int) -> bool:
        ticket.patience = self._patience
        return self._policy.arrive(self._key, (ticket,), now_ns) is None

    def cut(self, now_ns: int) -> Step:
        cut = self._policy.cut(now_ns)
        dropped = tuple([gone.ticket for gone in cut.dropped])
        if isinstance(cut, Launch):
            self._running = cut
            return Step(cut.tickets, dropped=dropped)
        return Step(at_ns=cut.at_ns if isinstance(cut, WaitUntil) else None, dropped=dropped)

    def finished(self, run: Run, end_ns: int) -> None:
        launch, self._running = self._running, None
        assert launch is not None
        if launch.expected_s is not None and launch.high_s is not None:
            self.misfits.append(abs(launch.expected_s / run.seconds - 1.0))
            self.over_high += run.seconds > launch.high_s
        self._policy.freed(launch)
        self._policy.learn(launch, end_ns=end_ns, runs=(run,))


def simulate_policy(
    policy: Policy, key: str, arrivals: Sequence[Arrival], truth: Truth, *, slo_s: float, patience: Patience
) -> Outcome:
    """The outcome of the serving policy, its lane `key`, over arrivals in order of time."""
    green = _Green(policy, key, patience)
    outcome = simulate_rival(green, arrivals, truth, slo_s=slo_s)
    if green.misfits:
        outcome.misfit = sorted(green.misfits)[len(green.misfits) // 2]
        outcome.over_high = green.over_high / len(green.misfits)
    return outcome


def simulate_rival(rival: Rival, arrivals: Sequence[Arrival], truth: Truth, *, slo_s: float) -> Outcome:
    """The outcome of a rival over arrivals in order of time."""
    outcome = Outcome(offered=len(arrivals))
    noise = cycle(truth.noise)
    slo_ns = int(slo_s * NS_PER_S)
    now_ns = arrivals[0].at_ns
    place = 0
    while True:
        step = rival.cut(now_ns)
        outcome.dropped += len(step.dropped)
        if step.tickets:
            run = _run(step.tickets, truth, next(noise))
            end_ns = now_ns + max(1, int(run.seconds * NS_PER_S))
            while place < len(arrivals) and arrivals[place].at_ns <= end_ns:
                outcome.refused += not _arrive(rival, arrivals[place])
                place += 1
            _count(outcome, step.tickets, run, start_ns=now_ns, late_ns=end_ns - slo_ns)
            now_ns = end_ns
            rival.finished(run, end_ns)
        elif place < len(arrivals) and (step.at_ns is None or arrivals[place].at_ns <= step.at_ns):
            now_ns = max(now_ns, arrivals[place].at_ns)
            outcome.refused += not _arrive(rival, arrivals[place])
            place += 1
        elif step.at_ns is not None:
            now_ns = max(now_ns + 1, step.at_ns)
        else:
            break
    outcome.duration_s = (now_ns - arrivals[0].at_ns) / NS_PER_S
    return outcome


def _arrive(rival: Rival, arrival: Arrival) -> bool:
    ticket = Ticket(row=None, length=arrival.length, arrival_ns=arrival.at_ns, deadline_ns=arrival.at_ns + DEADLINE_NS)
    return rival.arrive(ticket, arrival.at_ns)


def _run(tickets: Sequence[Ticket], truth: Truth, noise: float) -> Run:
    rows, longest = len(tickets), max([ticket.length for ticket in tickets])
    return Run(
        rows=rows,
        length=longest,
        seconds=noise * truth.seconds(rows, longest),
        joules=noise * truth.joules(rows, longest),
    )


def _count(outcome: Outcome, tickets: Sequence[Ticket], run: Run, *, start_ns: int, late_ns: int) -> None:
    """`late_ns` [ns]: who arrived before it is answered after the objective."""
    good = sum([ticket.arrival_ns >= late_ns for ticket in tickets])
    tokens = sum([ticket.length for ticket in tickets])
    outcome.answered += len(tickets)
    outcome.good += good
    outcome.late += len(tickets) - good
    outcome.batches += 1
    outcome.tokens += tokens
    outcome.padded += run.rows * run.length - tokens
    outcome.joules += run.joules or 0.0
    outcome.busy_s += run.seconds
    outcome.waits_s.extend([(start_ns - ticket.arrival_ns) / NS_PER_S for ticket in tickets])
