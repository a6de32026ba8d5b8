"""Builders for the batching tests: lanes and policies on declared costs, tickets with defaults."""

from collections.abc import Sequence
from typing import Any

from greenserve.serve.batching.cost import CostModel
from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.lane import Lane, LaneSettings
from greenserve.serve.batching.policy import Policy, Refusal, Run
from greenserve.serve.batching.queue import Ticket
from greenserve.units import NS_PER_S

MS = NS_PER_S // 1_000
BUCKETS = (16, 32, 64, 128)
SECONDS = (1.36e-3, 3.9e-5, 4.56e-5, 1.14e-7)
JOULES = (3.79e-3, 2.04e-4, 1.18e-4, 3.75e-7)
NOW = 1_000 * NS_PER_S


def a_lane(
    key: str = "v",
    *,
    seconds: Sequence[float] | None = SECONDS,
    joules: Sequence[float] | None = JOULES,
    q: float = 1.1,
    **settings: Any,
) -> Lane:
    """A lane of the demo model's INT8 variant, at most 32 rows, an objective of 200 ms; all shapes are explored."""
    whole: dict[str, Any] = {"buckets": BUCKETS, "max_batch": 32, "slo_s": 0.2}
    cost = CostModel(seconds=seconds, joules=joules, q=q, buckets=BUCKETS, explored=[(64, 128)])
    return Lane(key, LaneSettings(**(whole | settings)), cost)


def a_policy(*lanes: Lane, max_queued: int = 512, overhead_ns: int = 0, **changes: Any) -> Policy:
    """A policy over these lanes, or over one."""
    policy = Policy(lanes or (a_lane(),), max_queued=max_queued, **changes)
    policy.overhead_ns = overhead_ns
    return policy


def a_ticket(length: int = 12, *, at_ns: int = NOW, deadline_s: float = 30.0, **changes: Any) -> Ticket:
    """A row that arrives at `at_ns`, in no hurry and alone."""
    return Ticket(row=None, length=length, arrival_ns=at_ns, deadline_ns=at_ns + int(deadline_s * NS_PER_S), **changes)


def arrived(policy: Policy, *tickets: Ticket, key: str = "v", now_ns: int = NOW) -> list[Refusal | None]:
    """Each ticket as a request of its own."""
    return [policy.arrive(key, (ticket,), now_ns) for ticket in tickets]


def launched(policy: Policy, now_ns: int = NOW) -> Launch:
    """What is cut now; it must be a launch."""
    cut = policy.cut(now_ns)
    assert isinstance(cut, Launch), cut
    return cut


def finish(policy: Policy, launch: Launch, now_ns: int) -> None:
    """The batch took as long as predicted."""
    policy.freed(launch)
    longest = max(ticket.length for ticket in launch.tickets)
    run = Run(rows=len(launch.tickets), length=longest, seconds=launch.expected_s or 1e-3, joules=None)
    policy.learn(launch, end_ns=now_ns, runs=(run,))
