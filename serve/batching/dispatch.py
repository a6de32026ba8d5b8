"""The next batch of one variant: which rows, how long they may wait for company, how many fit before one is due."""

from greenserve.record import record
from greenserve.serve.batching.cost import Rates
from greenserve.serve.batching.lane import WASTE_LIMIT, Lane
from greenserve.serve.batching.queue import Ticket
from greenserve.serve.batching.split import Pile, group_of
from greenserve.serve.batching.waiting import SHARE_OF_SLACK, likely, worth_waiting
from greenserve.units import NS_PER_S

NEVER_NS = 1 << 62
REEVALUATE = 3.0
"""A wait is thought over again after so many mean times between arrivals without one."""


@record(frozen=True, slots=True)
class Dropped:
    """A queued row that will not run: its deadline can't be met, or it would force a wastefully small batch.

    `code` is the error's, deadline-exceeded or overloaded.
    """

    lane: Lane
    ticket: Ticket
    code: str


@record(frozen=True, slots=True)
class Launch:
    """Run these rows now, at most `length` long each; `expected_s`, `high_s` (t, t+) are None while nothing is known.

    `ends_ns` is the predicted end, `due_ns` the earliest objective that the batch is expected to keep, if any;
    `backlog` says that rows were left behind.
    """

    lane: Lane
    tickets: tuple[Ticket, ...]
    length: int
    ends_ns: int
    expected_s: float | None
    high_s: float | None
    due_ns: int | None
    backlog: bool
    dropped: tuple[Dropped, ...] = ()


def wait_ns(lane: Lane, head: Ticket, work_s: float, now_ns: int) -> int | None:
    """Until when the head waits for company [monotonic ns], or None: launch.

    `work_s` [s] is all that waits, of all variants: what can't join the head must still find its time afterwards.
    """
    queue, bucket, max_wait_s = lane.queue, head.bucket, lane.settings.max_wait_s
    rates = lane.rates(bucket)
    if rates is None or rates.launch_j is None or max_wait_s == 0.0 or queue.by_patience["latency"]:
        return None
    if lane.slo_ns is None:
        return None  # without an objective nobody has said that time may be spent
    if queue.by_priority[head.priority] != len(queue):
        return None  # a row of another priority may be due before the head is
    first = lane.joinable[bucket]
    rows = sum(queue.sizes[first : bucket + 1])
    due_ns = lane.due_ns(head, now_ns)
    most = lane.most(rates)
    if due_ns != head.objective_ns or rows >= most or rows >= rates.largest((due_ns - now_ns) / NS_PER_S, most):
        return None
    patience = "balanced" if queue.by_patience["balanced"] else "green"
    limit_ns = head.arrival_ns + int(SHARE_OF_SLACK[patience] * (due_ns - head.arrival_ns))
    limit_ns = min(limit_ns, lane.gaps.silent_from_ns)
    if max_wait_s is not None:
        limit_ns = min(limit_ns, head.arrival_ns + int(max_wait_s * NS_PER_S))
    if now_ns >= limit_ns:
        return None
    joining_s = sum(
        [size * lane.row_s(index) for index, size in enumerate(queue.sizes[: bucket + 1]) if index >= first]
    )
    others_s = work_s - lane.stretch * lane.margin * joining_s
    others_s = rates.q * others_s + rates.fixed_s if others_s > rates.row_s else 0.0
    last_ns = due_ns - int((rates.high_s(rows + 1) + others_s) * NS_PER_S)
    rate = lane.joining_per_s(first, bucket, now_ns)
    price = lane.patience.price(patience, rates.launch_j)
    left_s = (last_ns - now_ns) / NS_PER_S
    lane.priced = lane.priced or likely(rate, left_s)
    if not worth_waiting(launch_j=rates.launch_j, price=price, rows=rows, rate_per_s=rate, left_s=left_s):
        return None
    return min(last_ns, limit_ns, now_ns + max(1, int(REEVALUATE / rate * NS_PER_S)))


def launch(lane: Lane, head: Ticket, now_ns: int, dropped: list[Dropped]) -> Launch:
    """Take the head's batch out of the queue; rows that are found hopeless on the way go to `dropped`."""
    queue, bucket = lane.queue, head.bucket
    due_ns = lane.due_ns(head, now_ns)
    group = _group(lane, head, due_ns, now_ns)
    in_order = due_ns == head.objective_ns and queue.by_priority[head.priority] == len(queue)
    first, last = group or (bucket, bucket)
    longest_rates = lane.rates(last)
    if longest_rates is not None and in_order:  # none is due before the head, so one look says how many fit
        most = min(lane.most(longest_rates), sum(queue.sizes[first : last + 1]))
        fit = longest_rates.largest((due_ns - now_ns) / NS_PER_S, most) if most > 1 else 1
        tickets = queue.take(first, last, max(1, fit))
    else:
        tickets = []
        _add(lane, tickets, (first, last), now_ns, dropped)
    if group is None and len(queue):
        _add_shorter(lane, tickets, bucket, now_ns, dropped)
    lane.launched(tickets, now_ns)
    backlog = len(queue) > 0
    bucket = max([ticket.bucket for ticket in tickets])
    rates, length = lane.rates(bucket), lane.settings.buckets[bucket]
    if rates is None:
        return Launch(lane, tuple(tickets), length, now_ns, None, None, None, backlog, tuple(dropped))
    high_s = rates.high_s(len(tickets))
    done_ns = now_ns + high_s * NS_PER_S
    kept = min([ticket.objective_ns for ticket in tickets if ticket.objective_ns >= done_ns], default=None)
    longest = min(length, max([ticket.length for ticket in tickets]))
    expected_s = lane.cost.seconds(len(tickets), longest) or rates.seconds(len(tickets))
    ends_ns = now_ns + int(expected_s * NS_PER_S)
    return Launch(lane, tuple(tickets), length, ends_ns, expected_s, high_s, kept, backlog, tuple(dropped))


def _group(lane: Lane, head: Ticket, due_ns: int, now_ns: int) -> tuple[int, int] | None:
    """(first, last) bucket of the head's part of a backlog over the cap, or None where nothing is to be split."""
    queue, bucket = lane.queue, head.bucket
    rates = lane.rates(bucket)
    if rates is None or len(queue) <= lane.most(rates) or queue.sizes[bucket] == len(queue):
        return None
    piles = []
    for index, size in enumerate(queue.sizes):
        costs = lane.rates(index)
        if size and costs is not None:
            piles.append(Pile(index, size, costs, lane.most(costs)))
    first, last = group_of(piles, bucket)
    top = piles[last]
    rows = min(top.cap, sum([pile.rows for pile in piles[first : last + 1]]))
    if top.bucket > bucket and now_ns + top.rates.high_s(rows) * NS_PER_S > due_ns:
        return None
    return piles[first].bucket, top.bucket


def _add_shorter(lane: Lane, tickets: list[Ticket], bucket: int, now_ns: int, dropped: list[Dropped]) -> None:
    """Rows of shorter buckets, as long as at most a quarter of the batch is padding, or one would come too late."""
    for shorter in range(bucket - 1, -1, -1):
        if lane.queue.sizes[shorter]:
            _add(lane, tickets, (shorter, shorter), now_ns, dropped, longest=bucket)


def _add(
    lane: Lane,
    tickets: list[Ticket],
    buckets: tuple[int, int],
    now_ns: int,
    dropped: list[Dropped],
    longest: int | None = None,
) -> None:
    """Rows of the buckets in order, while the batch stays within its cap and before whatever is due first in it.

    `longest` is given where these rows are shorter than the batch: then padding limits them too.
    """
    queue, (first, last) = lane.queue, buckets
    rates = lane.rates(last if longest is None else longest)
    most = lane.most(rates)
    due_ns = min([lane.due_ns(ticket, now_ns) for ticket in tickets], default=NEVER_NS)
    tokens = sum([ticket.length for ticket in tickets])
    padded = max([ticket.length for ticket in tickets], default=0)
    while len(tickets) < most:
        ticket = queue.peek(first) if first == last else queue.head(first, last)
        if ticket is None:
            return
        if lane.too_late(ticket, now_ns):
            dropped.append(Dropped(lane, queue.pop(ticket.bucket), "deadline-exceeded"))
            continue
        if rates is not None and tickets:
            rows = len(tickets) + 1
            high_s = rates.high_s(rows)
            due_ns = min(due_ns, lane.due_ns(ticket, now_ns))
            if now_ns + high_s * NS_PER_S > due_ns:
                return
            wasted = 1.0 - (tokens + ticket.length) / (rows * padded) if longest is not None else 0.0
            if wasted > WASTE_LIMIT and ticket.objective_ns - now_ns >= 2.0 * high_s * NS_PER_S:
                return  # it can wait for a batch of its own length
        else:
            due_ns = lane.due_ns(ticket, now_ns)
        tokens += ticket.length
        padded = max(padded, ticket.length)
        tickets.append(queue.pop(ticket.bucket))


def wasteful(lane: Lane, head: Ticket, needed: int, now_ns: int) -> bool:
    """Whether the head's objective forces a batch of fewer rows than it takes to keep up, though they wait."""
    rates: Rates | None = lane.rates(head.bucket)
    if rates is None or head.bulk:
        return False
    needed = min(needed, lane.queue.sizes[head.bucket])
    return rates.largest((lane.due_ns(head, now_ns) - now_ns) / NS_PER_S, needed) < needed
