"""The queue of one variant: earliest objective first within a priority, and counters that never lie."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.batching.queue import LEVELS, Patience, Ticket, TicketQueue

BUCKETS = (4, 8, 16)
PATIENCE: tuple[Patience, ...] = ("latency", "balanced", "green")

a_ticket = st.builds(
    Ticket,
    row=st.none(),
    length=st.integers(1, 20),
    arrival_ns=st.just(0),
    deadline_ns=st.just(10**9),
    objective_ns=st.integers(0, 5),
    priority=st.sampled_from((1, 2, 3)),
    patience=st.sampled_from(PATIENCE),
    tenant=st.sampled_from("ab"),
    bulk=st.booleans(),
    work_s=st.sampled_from((0.25, 0.5)),
)
events = st.lists(
    st.tuples(st.just("push"), a_ticket)
    | st.tuples(st.sampled_from(("discard", "pop", "take", "discard all")), st.integers(0, 60)),
    max_size=60,
)


def pushed(queue: TicketQueue, tickets: list[Ticket]) -> list[Ticket]:
    """The tickets, in the queue in that order."""
    for number, ticket in enumerate(tickets):
        ticket.bucket = queue.bucket_of(ticket.length)
        ticket.sequence = number
        queue.push(ticket)
    return tickets


def in_order(tickets: list[Ticket]) -> list[Ticket]:
    """By priority, then objective, then arrival."""
    return sorted(tickets, key=lambda ticket: (ticket.priority, ticket.objective_ns, ticket.sequence))


def counts(tickets: list[Ticket]) -> object:
    """What the counters of a queue with these tickets say, counted one by one."""
    return (
        len(tickets),
        [
            [sum(t.bucket == bucket and 2 * t.priority - 2 + t.bulk == level for t in tickets) for bucket in range(3)]
            for level in range(LEVELS)
        ],
        [sum(t.bucket == bucket for t in tickets) for bucket in range(3)],
        {patience: sum(t.patience == patience for t in tickets) for patience in PATIENCE},
        [sum(t.priority == priority for t in tickets) for priority in range(4)],
        {
            tenant: [len(own), sum(t.work_s for t in own)]
            for tenant in "ab"
            if (own := [t for t in tickets if t.tenant == tenant])
        },
    )


def counters(queue: TicketQueue) -> object:
    """What the queue says of itself."""
    return queue.rows, queue.counts, queue.sizes, queue.by_patience, queue.by_priority, queue.by_tenant


@given(events)
def test_the_counters_are_the_contents_after_any_events(happened: list[tuple[str, Ticket | int]]) -> None:
    """Whatever arrives, leaves and is taken, in whatever order."""
    queue = TicketQueue(BUCKETS)
    held: list[Ticket] = []
    for number, (kind, what) in enumerate(happened):
        if isinstance(what, Ticket):
            ticket = replace(what, sequence=number, bucket=queue.bucket_of(what.length))
            queue.push(ticket)
            held.append(ticket)
            continue
        bucket, waiting = what % 3, [ticket for ticket in held if ticket.bucket == what % 3]
        if kind == "discard" and held:
            queue.discard(held.pop(what % len(held)))
        elif kind == "discard all":
            for ticket in waiting:
                queue.discard(ticket)
            held = [ticket for ticket in held if ticket not in waiting]
        elif kind == "pop" and queue.peek(bucket) is not None:
            held.remove(queue.pop(bucket))
        elif kind == "take":
            taken = set(queue.take(0 if what % 2 else bucket, bucket, what // 6))
            held = [ticket for ticket in held if ticket not in taken]

    assert counts(held) == counters(queue)
    assert set(held) == set(queue)


@given(st.lists(a_ticket, max_size=12))
def test_rows_come_in_order_of_priority_objective_and_arrival(tickets: list[Ticket]) -> None:
    """Over all buckets together, and within one."""
    queue = TicketQueue(BUCKETS)
    held = pushed(queue, tickets)

    found = []
    while (head := queue.head()) is not None:
        assert queue.head(head.bucket, head.bucket) is head
        found.append(queue.pop(head.bucket))

    assert in_order(held) == found


@given(st.lists(a_ticket, max_size=12), st.integers(0, 2), st.integers(0, 12))
def test_taking_rows_skips_those_who_left(tickets: list[Ticket], bucket: int, rows: int) -> None:
    """They are neither returned nor counted towards the number."""
    queue = TicketQueue(BUCKETS)
    held = pushed(queue, tickets)
    for ticket in held[::3]:
        queue.discard(ticket)
        queue.discard(ticket)

    taken = queue.take(0, bucket, rows)

    stayed = [ticket for number, ticket in enumerate(held) if number % 3 and ticket.bucket <= bucket]
    assert in_order(stayed)[:rows] == taken


def test_many_who_leave_free_their_memory() -> None:
    """Tombstones are swept before they outnumber the living by far."""
    queue = TicketQueue(BUCKETS)
    held = pushed(queue, [Ticket(None, 3, 0, 9, objective_ns=1) for _ in range(1_000)])

    for ticket in held[:-1]:
        queue.discard(ticket)

    assert held[-1:] == list(queue)
    assert "<TicketQueue 1 rows {4: 1}>" == repr(queue)


@pytest.mark.parametrize("buckets", [(), (8, 4), (4, 4), (0, 4)])
def test_buckets_ascend(buckets: tuple[int, ...]) -> None:
    """A queue over anything else would file rows where nobody looks."""
    with pytest.raises(ValueError, match="ascending order"):
        TicketQueue(buckets)
