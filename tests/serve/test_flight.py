"""Flights: whoever asked gets the outputs, and all shares together are what the item cost."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.shares import SpanShare
from greenserve.errors import InferenceFailed
from greenserve.records import Span
from greenserve.serve.batching.flight import Flight, Landed, Waiter
from tests.serve.building import FAR_NS, a_decision

SPAN = Span(
    batch_id="batch", variant="fp32", device="cpu", start_ns=10, end_ns=15, cpu_ns=4, lengths=(2,), padded_length=2
)
OUTPUTS = {"logits": np.ones((1, 3), dtype=np.float32)}


def a_flight() -> Flight:
    return Flight(
        served=None,  # type: ignore[arg-type]
        decision=a_decision(),
        item=(1, 2),
        arrived_ns=0,
        deadline_ns=1,
    )


def ignore(waiter: Waiter) -> None:
    """Nobody looks."""


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.lists(st.booleans(), min_size=1, max_size=7))
def test_the_shares_of_all_waiters_sum_to_the_cost(cpu_ns: int, held_ns: int, stays: list[bool]) -> None:
    """To the nanosecond, whether they waited or had left; they differ by at most 1 ns."""

    async def main() -> None:
        unanswered: list[Waiter] = []
        waiters = [Waiter(1, unanswered.append) for _ in stays]
        flight = a_flight()
        for waiter, stay in zip(waiters, stays, strict=True):
            flight.join(waiter, 0, deadline_ns=FAR_NS)
            if not stay:
                waiter.future.cancel()

        flight.land(OUTPUTS, SPAN, cpu_ns=cpu_ns, held_ns=held_ns)

        landed = [each for waiter in waiters for each in waiter.landed if each is not None]
        assert (len(stays), stays.count(False)) == (len(landed), len(unanswered))
        assert (cpu_ns, held_ns) == (sum(each.cpu_ns for each in landed), sum(each.held_ns for each in landed))
        assert max(each.cpu_ns for each in landed) - min(each.cpu_ns for each in landed) <= 1
        assert all(each.outputs is OUTPUTS for each in landed)

    asyncio.run(main())


async def test_a_request_waits_for_all_of_its_items() -> None:
    """Stored items count at once, the others when they land, in whatever order; places stay."""
    waiter = Waiter(3, ignore)
    first, second = a_flight(), a_flight()
    first.join(waiter, 0, deadline_ns=5)
    second.join(waiter, 2, deadline_ns=5)
    stored = Landed(outputs={"logits": np.zeros((1, 3))}, decision=a_decision())

    waiter.take(1, stored)
    second.land(OUTPUTS, SPAN, cpu_ns=1, held_ns=1)
    before = waiter.future.done()
    first.land(OUTPUTS, SPAN, cpu_ns=1, held_ns=1)

    assert (False, True) == (before, waiter.future.done())
    assert waiter.landed[1] is stored
    assert all(waiter.landed)


async def test_a_flight_is_wanted_as_long_as_anybody_waits() -> None:
    """The first who leaves takes nothing from the others; the last one ends it."""
    first, second = Waiter(1, ignore), Waiter(1, ignore)
    flight = a_flight()
    flight.join(first, 0, deadline_ns=5)
    flight.join(second, 0, deadline_ns=3)

    states = [flight.wanted, first.future.cancel() and flight.wanted, second.future.cancel() and flight.wanted]

    assert [True, True, False] == states
    assert 5 == flight.deadline_ns


async def test_an_error_reaches_everybody_who_still_waits() -> None:
    """Those who left hear nothing, the cache is told that there is no answer."""
    stays, leaves = Waiter(1, ignore), Waiter(1, ignore)
    told: list[object] = []
    flight = a_flight()
    flight.on_landed = told.append
    for waiter in (stays, leaves):
        flight.join(waiter, 0, deadline_ns=5)
    leaves.future.cancel()

    flight.fail(InferenceFailed("broken"))

    with pytest.raises(InferenceFailed, match="broken"):
        await stays.future
    assert (True, False, [None]) == (leaves.future.cancelled(), flight.wanted, told)


async def test_a_poisoned_item_is_named_by_its_place_in_each_request() -> None:
    """Who sent it as the third of three reads [2], who sent it alone reads [0]."""
    of_three, alone = Waiter(3, ignore), Waiter(1, ignore)
    flight = a_flight()
    flight.join(of_three, 2, deadline_ns=5)
    flight.join(alone, 0, deadline_ns=5)

    flight.poison("ValueError")

    with pytest.raises(InferenceFailed, match=r"input \[2\] \(ValueError\)"):
        await of_three.future
    with pytest.raises(InferenceFailed, match=r"input \[0\]"):
        await alone.future


async def test_what_ran_for_a_request_that_failed_is_told_once_all_is_over() -> None:
    """One item failed, the other lands later: its cost is owed, and told when nothing is open any more."""
    unanswered: list[Waiter] = []
    waiter = Waiter(2, unanswered.append)
    poisoned, good = a_flight(), a_flight()
    poisoned.join(waiter, 0, deadline_ns=5)
    good.join(waiter, 1, deadline_ns=5)

    poisoned.poison("ValueError")
    early = list(unanswered)
    good.land(OUTPUTS, SPAN, cpu_ns=7, held_ns=8)

    with pytest.raises(InferenceFailed):
        await waiter.future
    assert ([], [waiter]) == (early, unanswered)
    assert [None, (7, 8)] == [each and (each.cpu_ns, each.held_ns) for each in waiter.landed]


async def test_nothing_is_told_of_a_request_for_which_nothing_ran() -> None:
    """It left while it waited; its item was dropped."""
    unanswered: list[Waiter] = []
    waiter = Waiter(1, unanswered.append)
    flight = a_flight()
    flight.join(waiter, 0, deadline_ns=5)
    waiter.future.cancel()

    flight.drop()
    await asyncio.sleep(0)

    assert ([], True) == (unanswered, flight.over)


async def test_joined_requests_share_their_part_of_a_board() -> None:
    """The row's weight in its batch is split equally and stays whole."""
    flight, waiters = a_flight(), [Waiter(1, ignore) for _ in range(3)]
    for waiter in waiters:
        flight.join(waiter, 0, deadline_ns=FAR_NS)
    share = SpanShare(
        batch_id="b", device="cuda:0", work_class="m/v", start_ns=1, end_ns=9, work=1, share_milli=1_000,
        weight_ppb=100,
    )  # fmt: skip

    flight.land(OUTPUTS, SPAN, cpu_ns=1, held_ns=0, share=share)

    shares = [each.share for waiter in waiters for each in waiter.landed if each is not None]
    assert [34, 33, 33] == [each.weight_ppb for each in shares if each is not None]
