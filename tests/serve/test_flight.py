"""Flights: whoever asked gets the run, and all shares together are what it cost."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InferenceFailed
from greenserve.records import Span
from greenserve.serve.batching.flight import Flight, Run, Waiter
from greenserve.serve.models import ServedVariant
from tests.serve.building import FAR_NS, a_decision


def a_span(number: int) -> Span:
    return Span(
        batch_id=f"batch-{number}", variant="fp32", device="cpu", start_ns=10 * number, end_ns=10 * number + 5,
        cpu_ns=4, lengths=(2,), padded_length=2,
    )  # fmt: skip


costs = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12))


@given(st.lists(costs, min_size=1, max_size=5), st.lists(st.booleans(), min_size=1, max_size=7))
def test_the_shares_of_all_waiters_sum_to_the_cost(rows: list[tuple[int, int]], stays: list[bool]) -> None:
    """To the nanosecond, whether they waited or had left; they differ by at most 1 ns."""
    loop = asyncio.new_event_loop()
    abandoned: list[Run] = []
    futures: list[asyncio.Future[Run]] = [loop.create_future() for _ in stays]
    flight = a_flight(len(rows))
    for future, stay in zip(futures, stays, strict=True):
        flight.join(Waiter(future, abandoned.append), deadline_ns=FAR_NS)
        if not stay:
            future.cancel()

    whole = [
        flight.add(index=index, probabilities=a_row(index), span=a_span(index), cpu_ns=cpu_ns, held_ns=held_ns)
        for index, (cpu_ns, held_ns) in enumerate(rows)
    ]
    flight.land()

    runs = abandoned + [future.result() for future in futures if not future.cancelled()]
    assert [False] * (len(rows) - 1) + [True] == whole
    assert (len(stays), stays.count(False)) == (len(runs), len(abandoned))
    assert [sum(values) for values in zip(*rows, strict=True)] == [
        sum(run.cpu_ns for run in runs),
        sum(run.held_ns for run in runs),
    ]
    assert max(run.cpu_ns for run in runs) - min(run.cpu_ns for run in runs) <= 1
    assert all(np.array_equal(np.concatenate([a_row(i) for i in range(len(rows))]), run.probabilities) for run in runs)
    assert {(0, 10 * len(rows) - 5)} == {(run.start_ns, run.end_ns) for run in runs}
    loop.close()


def a_row(index: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.array([[index, 1.0, 0.0]], dtype=np.float32)


def a_flight(rows: int, served: ServedVariant | None = None) -> Flight:
    return Flight(
        served=served,  # type: ignore[arg-type]
        decision=a_decision(),
        rows=((1, 2),) * rows,
        deadline_ns=1,
    )


async def test_a_flight_is_wanted_as_long_as_anybody_waits() -> None:
    """The first who leaves takes nothing from the others; the last one ends it."""
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    flight = a_flight(1)
    flight.join(Waiter(first, print), deadline_ns=5)
    flight.join(Waiter(second, print), deadline_ns=3)

    states = [flight.wanted, first.cancel() and flight.wanted, second.cancel() and flight.wanted]

    assert [True, True, False] == states
    assert 5 == flight.deadline_ns


async def test_an_error_reaches_everybody_who_still_waits() -> None:
    """Those who left hear nothing, the cache is told that there is no answer."""
    stays, leaves = (asyncio.get_running_loop().create_future() for _ in range(2))
    told: list[object] = []
    flight = a_flight(1)
    flight.on_landed = told.append
    for future in (stays, leaves):
        flight.join(Waiter(future, print), deadline_ns=5)
    leaves.cancel()

    flight.fail(InferenceFailed("broken"))

    with pytest.raises(InferenceFailed, match="broken"):
        await stays
    assert (True, False, [None]) == (leaves.cancelled(), flight.wanted, told)


async def test_a_row_that_lands_after_the_error_changes_nothing() -> None:
    """Rows of one flight may run in several batches: what comes after the first error is no answer any more."""
    future = asyncio.get_running_loop().create_future()
    flight = a_flight(1)
    flight.join(Waiter(future, print), deadline_ns=5)
    flight.fail(InferenceFailed("broken"))

    flight.add(index=0, probabilities=a_row(0), span=a_span(0), cpu_ns=1, held_ns=1)
    flight.land()

    with pytest.raises(InferenceFailed, match="broken"):
        await future
