"""Admit or refuse, launch, wait or idle: the decisions of batching, against brute force and the rules of the method."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.lane import WASTE_LIMIT, Lane
from greenserve.serve.batching.policy import Idle, WaitUntil
from greenserve.serve.batching.queue import Patience, Ticket
from greenserve.units import NS_PER_S
from tests.serve.batching import (
    BUCKETS,
    MS,
    NOW,
    SECONDS,
    a_lane,
    a_policy,
    a_ticket,
    arrived,
    finish,
    launched,
)

PATIENCE: tuple[Patience, ...] = ("latency", "balanced", "green")
a_draw = st.builds(
    lambda length, deadline_ms, priority, patience, tenant: a_ticket(
        length, deadline_s=deadline_ms / 1_000, priority=priority, patience=patience, tenant=tenant
    ),
    st.integers(1, 128),
    st.integers(1, 400),
    st.sampled_from((1, 2, 2, 2, 3)),
    st.sampled_from(PATIENCE),
    st.sampled_from("abc"),
)
steps = st.lists(
    st.tuples(st.just("arrive"), a_draw)
    | st.tuples(st.sampled_from(("wait", "cut", "finish", "leave")), st.integers(0, 60)),
    max_size=60,
)


def due_ns(lane: Lane, ticket: Ticket, now_ns: int) -> int:
    """x by its definition: the objective where one row alone can meet it, else the deadline."""
    rates = lane.rates(ticket.bucket)
    assert rates is not None
    return (
        ticket.objective_ns if now_ns + int(rates.high_s(1) * NS_PER_S) <= ticket.objective_ns else ticket.deadline_ns
    )


class Story:
    """A policy under random events, with everything that must hold checked on the way."""

    def __init__(self) -> None:
        self.lane = a_lane()
        self.policy = a_policy(self.lane)
        self.now_ns = NOW
        self.waiting: set[Ticket] = set()
        self.running: Launch | None = None

    def arrive(self, ticket: Ticket) -> None:
        """Queued means that it counts; refused means that it does not."""
        ticket.deadline_ns += self.now_ns - ticket.arrival_ns
        ticket.arrival_ns = self.now_ns
        if self.policy.arrive("v", (ticket,), self.now_ns) is None:
            self.waiting.add(ticket)

    def cut(self) -> None:
        """Every batch keeps what is due in it; what is dropped could not be answered by its deadline."""
        if self.running is not None:
            return
        cut = self.policy.cut(self.now_ns)
        for dropped in cut.dropped:
            self.waiting.remove(dropped.ticket)
            if dropped.code == "deadline-exceeded":
                assert self.lane.too_late(dropped.ticket, self.now_ns)
        if isinstance(cut, Launch):
            assert cut.high_s is not None
            end_ns = self.now_ns + cut.high_s * NS_PER_S
            assert 1 <= len(cut.tickets) <= 32
            assert all(end_ns <= due_ns(self.lane, ticket, self.now_ns) + 1_000 for ticket in cut.tickets)
            assert all(ticket.length <= cut.length and not ticket.waiting for ticket in cut.tickets)
            self.waiting -= set(cut.tickets)
            self.running = cut
        elif isinstance(cut, WaitUntil):
            assert cut.at_ns > self.now_ns
            assert not any(ticket.patience == "latency" for ticket in self.waiting)
        else:
            assert not self.waiting

    def end(self) -> None:
        """The batch that runs is done, as late as predicted."""
        if self.running is not None:
            self.now_ns = max(self.now_ns, self.running.ends_ns)
            finish(self.policy, self.running, self.now_ns)
            self.running = None


@given(steps)
def test_whatever_happens_no_batch_is_predicted_past_what_is_due(happened: list[tuple[str, Ticket | int]]) -> None:
    """And every admitted row is launched, or dropped once its deadline can't be met; nothing is lost on the way."""
    story = Story()
    for kind, what in happened:
        if isinstance(what, Ticket):
            story.arrive(what)
        elif kind == "wait":
            story.now_ns += what * MS
        elif kind == "cut":
            story.cut()
        elif kind == "finish":
            story.end()
        elif story.waiting:
            leaves = sorted(story.waiting, key=lambda ticket: ticket.sequence)[what % len(story.waiting)]
            story.policy.discard("v", leaves)
            story.waiting.remove(leaves)
        assert story.waiting == set(story.lane.queue)

    for _ in range(200):
        story.end()
        story.cut()
        story.now_ns += 5 * MS
    assert (set(), 0) == (story.waiting, len(story.policy))


def brute_force(lane: Lane, tickets: list[Ticket], now_ns: int) -> list[Ticket]:
    """The head's bucket in order, then shorter ones, while what is due is kept and padding stays under a quarter."""
    order = sorted(tickets, key=lambda t: (t.priority, t.objective_ns, t.sequence))
    alive = [t for t in order if not lane.too_late(t, now_ns)]
    if not alive:
        return []
    rates = lane.rates(alive[0].bucket)
    assert rates is not None
    batch: list[Ticket] = []
    for bucket in range(alive[0].bucket, -1, -1):
        for ticket in (t for t in alive if t.bucket == bucket):
            end_ns = now_ns + rates.high_s(len(batch) + 1) * NS_PER_S
            if batch and end_ns > min(due_ns(lane, t, now_ns) for t in [*batch, ticket]):
                break
            lengths = [t.length for t in [*batch, ticket]]
            wasted = 1.0 - sum(lengths) / (len(lengths) * max(t.length for t in batch or [ticket]))
            slack_s = (ticket.objective_ns - now_ns) / NS_PER_S
            if bucket < alive[0].bucket and wasted > WASTE_LIMIT and slack_s >= 2.0 * rates.high_s(len(lengths)):
                break
            batch.append(ticket)
    return batch


@given(st.lists(a_draw, max_size=8), st.integers(0, 300))
def test_a_batch_of_few_rows_is_what_brute_force_finds(tickets: list[Ticket], later_ms: int) -> None:
    """Order, due times and padding, for queues under the cap."""
    lane = a_lane(max_wait_s=0.0, joules=None)
    policy = a_policy(lane)
    admitted = [ticket for ticket in tickets if arrived(policy, ticket) == [None]]
    now_ns = NOW + later_ms * MS

    expected = brute_force(lane, admitted, now_ns)
    cut = policy.cut(now_ns)

    assert expected == (list(cut.tickets) if isinstance(cut, Launch) else [])
    assert sum(lane.too_late(ticket, now_ns) for ticket in admitted) >= len(cut.dropped)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=40))
def test_an_infinite_price_of_waiting_conserves_work(lengths: list[int]) -> None:
    """Rows of the latency class never see an idle engine while they wait."""
    policy = a_policy(a_lane(slo_s=None))
    for number, length in enumerate(lengths):
        arrived(policy, a_ticket(length, at_ns=NOW + number, patience="latency"), now_ns=NOW + number)

    left = len(lengths)
    while left:
        launch = launched(policy, NOW + len(lengths))
        left -= len(launch.tickets)
        finish(policy, launch, NOW + len(lengths))

    assert isinstance(policy.cut(NOW + len(lengths)), Idle)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=300), st.integers(0, 3))
def test_what_is_admitted_at_once_is_answered_in_time(lengths: list[int], rows_per_ms: int) -> None:
    """Exact predictions, rows of one length bucket, far more than fits: admitted ones all meet the objective."""
    policy = a_policy()
    now_ns, late, place = NOW, 0, 0
    running: Launch | None = None
    arrivals = [(NOW + number * MS // (rows_per_ms or 1_000), length) for number, length in enumerate(lengths)]
    while place < len(arrivals) or running is not None or len(policy):
        end_ns = running.ends_ns if running is not None else None
        if place < len(arrivals) and (end_ns is None or arrivals[place][0] <= end_ns):
            now_ns = max(now_ns, arrivals[place][0])
            ticket = a_ticket(arrivals[place][1], at_ns=now_ns, patience="latency")
            refusal = policy.arrive("v", (ticket,), now_ns)
            assert refusal is None or (refusal.code == "overloaded" and refusal.retry_after_s == 1)
            place += 1
        elif running is not None and end_ns is not None:
            now_ns = end_ns
            late += sum(ticket.objective_ns < now_ns for ticket in running.tickets)
            finish(policy, running, now_ns)
            running = None
        if running is None and len(policy):
            running = launched(policy, now_ns)

    assert 0 == late


def test_a_deadline_that_cannot_be_met_costs_nothing() -> None:
    """Less time than one run may take: `deadline-exceeded` on arrival, whatever else waits."""
    policy = a_policy(overhead_ns=2 * MS)

    hasty, possible = arrived(policy, a_ticket(deadline_s=0.004), a_ticket(deadline_s=0.006))

    assert hasty is not None
    assert ("deadline-exceeded", 0.0, 1) == (hasty.code, hasty.ahead_s, len(policy))
    assert possible is None


def test_a_full_queue_refuses_the_whole_request() -> None:
    """None of its rows stays behind."""
    policy = a_policy(max_queued=3)
    arrived(policy, a_ticket(), a_ticket())

    refusal = policy.arrive("v", (a_ticket(), a_ticket()), NOW)

    assert refusal is not None
    assert ("queue-full", 2) == (refusal.code, len(policy))


def test_higher_priorities_are_admitted_over_a_queue_of_lower_ones() -> None:
    """Only the work of the own and of higher priorities counts as ahead."""
    policy = a_policy()
    normal = 0
    while arrived(policy, a_ticket()) == [None]:
        normal += 1

    urgent, low = arrived(policy, a_ticket(priority=1), a_ticket(priority=3))

    assert normal > 100
    assert urgent is None
    assert low is not None
    assert 1 == launched(policy).tickets[0].priority


def test_a_request_of_many_rows_neither_blocks_single_ones_nor_is_refused_for_its_size() -> None:
    """Its own rows are no work ahead of anybody else's single row; its objective grows by what they take."""
    policy = a_policy()
    bulk = [a_ticket(100) for _ in range(100)]

    refusals = [policy.arrive("v", bulk, NOW), *arrived(policy, a_ticket(patience="latency"))]

    assert [None, None] == refusals
    assert bulk[0].objective_ns > NOW + 500 * MS
    assert 12 == launched(policy).tickets[0].length


def test_an_objective_that_no_run_can_meet_is_no_reason_to_refuse_everybody() -> None:
    """It could never be met: the deadline alone counts, and an idle engine answers."""
    policy = a_policy(a_lane(slo_s=0.001))

    assert [None] == arrived(policy, a_ticket(100))
    assert 1 == len(launched(policy).tickets)


def test_without_any_profile_rows_are_admitted_and_run_at_once() -> None:
    """Nothing is known, so nothing is refused, dropped or waited for; the first span teaches."""
    lane = a_lane(seconds=None, joules=None)
    policy = a_policy(lane)
    arrived(policy, *(a_ticket(length) for length in (100, 12, 60)))

    launch = launched(policy)
    finish(policy, launch, NOW + MS)

    assert (3, None, None) == (len(launch.tickets), launch.expected_s, launch.due_ns)
    assert lane.cost.known


def test_the_variant_with_the_earliest_head_goes_first() -> None:
    """Across variants by priority, then objective."""
    policy = a_policy(a_lane("slow", slo_s=0.5), a_lane("fast", slo_s=0.1))
    arrived(policy, a_ticket(patience="latency"), key="slow")
    arrived(policy, a_ticket(patience="latency"), key="fast", now_ns=NOW + 1)

    first = launched(policy, NOW + 2)
    finish(policy, first, NOW + 3)

    assert ["fast", "slow"] == [first.lane.key, launched(policy, NOW + 4).lane.key]


@given(st.lists(st.integers(1, 128), min_size=33, max_size=120))
def test_a_backlog_is_cut_into_full_batches_of_like_lengths(lengths: list[int]) -> None:
    """All rows run once; no batch passes the cap, and never more than half of what runs is padding."""
    policy = a_policy(a_lane(slo_s=None, joules=None), max_queued=200)
    assume(arrived(policy, *(a_ticket(length) for length in lengths)) == [None] * len(lengths))

    batches = []
    while isinstance(cut := policy.cut(NOW), Launch):
        batches.append([ticket.length for ticket in cut.tickets])
        finish(policy, cut, NOW)

    assert sorted(lengths) == sorted(length for batch in batches for length in batch)
    assert all(len(batch) <= 32 for batch in batches)
    assert len(batches) <= len(lengths) // 32 + len(BUCKETS)


def test_several_executors_share_the_work() -> None:
    """A second engine is free at once, and half as much is ahead."""
    policy = a_policy(executors=2)
    arrived(policy, *(a_ticket(patience="latency") for _ in range(40)))

    first = launched(policy)
    rest_s = policy.residual_s(NOW)
    second = launched(policy)

    assert 0.0 == rest_s < policy.residual_s(NOW)
    finish(policy, second, NOW)
    assert 0.0 == policy.residual_s(NOW)
    assert first.ends_ns >= second.ends_ns


def test_a_row_that_somebody_more_patient_joined_waits_again() -> None:
    """Dropped by its first deadline, queued with the later one."""
    policy = a_policy()
    ticket = a_ticket(deadline_s=0.01)
    arrived(policy, ticket)
    (dropped,) = policy.cut(NOW + 20 * MS).dropped

    policy.requeue("v", dropped.ticket, deadline_ns=NOW + NS_PER_S)

    assert (ticket,) == launched(policy, NOW + 20 * MS).tickets


def test_lanes_are_replaced_only_when_nobody_waits_in_them() -> None:
    """Hot reload: another artefact of a variant starts with an empty queue."""
    policy = a_policy()
    arrived(policy, a_ticket())

    with pytest.raises(ValueError, match="1 rows wait for v"):
        policy.add(a_lane())


@pytest.mark.parametrize("settings", [{"max_batch": 0}, {"slo_s": 0.0}])
def test_a_lane_that_can_answer_nothing_is_refused(settings: dict[str, Any]) -> None:
    """It names what was given."""
    with pytest.raises(ValueError, match="at least one row"):
        a_lane(**settings)


def test_costs_that_grow_with_length_keep_the_buckets_in_order() -> None:
    """tau, the time that a row adds to a backlog, never falls with its length."""
    lane = a_lane()

    assert all(left < right for left, right in pairwise(lane.row_s(bucket) for bucket in range(len(BUCKETS))))
    assert SECONDS[0] < 0.2
