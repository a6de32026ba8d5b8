"""When a request that may wait should run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.routing.defer import LEAST_GAIN, Slot, greenest_start

MINUTE = 60_000_000
FAST = settings(max_examples=100, deadline=None)
rates = st.none() | st.integers(0, 5) | st.integers(0, 2_000_000)


def slots_of(values: list[int | None], *, length_us: int = 5 * MINUTE, start_us: int = 0) -> list[Slot]:
    """Slots one after the other."""
    return [
        Slot(start_us + index * length_us, start_us + (index + 1) * length_us, None if value is None else float(value))
        for index, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "latest", "start"),
    [
        ([400, 300, 200], 14, 10),
        ([400, 300, 200], 9, 5),
        ([400, 300, 200], 4, 2),
        ([400, 200, 200], 14, 5),
        ([400, None, 200], 14, 10),
        ([200, 300, 400], 14, 2),
        ([400, 397, 399], 14, 2),
        ([None, 300, 200], 14, 2),
        ([400, None, None], 14, 2),
        ([0, 0, 0], 14, 2),
        ([], 14, 2),
    ],
)
def test_the_first_cleanest_moment_in_time_is_taken(values: list[int | None], latest: int, start: int) -> None:
    """From minute 2 on; now where nothing is known or gained, or a gain is under 1 %."""
    assert start * MINUTE == greenest_start(slots_of(values), now_us=2 * MINUTE, latest_us=latest * MINUTE)


@FAST
@given(st.lists(rates, min_size=1, max_size=8), st.integers(0, 45), st.integers(0, 45))
def test_no_moment_in_time_is_cleaner_by_more_than_a_percent(values: list[int | None], now: int, patience: int) -> None:
    """Against every minute; and the moment lies between now and the latest one, whatever is known."""
    slots = slots_of(values)

    def rate(minute: int) -> float | None:
        return next((slot.mg_per_kwh for slot in slots if slot.start_us <= minute * MINUTE < slot.end_us), None)

    start = greenest_start(slots, now_us=now * MINUTE, latest_us=(now + patience) * MINUTE) // MINUTE

    assert now <= start <= now + patience
    chosen = rate(start)
    if rate(now) is None:
        assert now == start
    else:
        assert chosen is not None
        known = [each for minute in range(now, now + patience + 1) if (each := rate(minute)) is not None]
        assert chosen * (1 - LEAST_GAIN) <= min(known)


@FAST
@given(st.lists(rates, min_size=1, max_size=8), st.integers(0, 30), st.integers(0, 30))
def test_more_patience_never_costs_more(values: list[int | None], patience: int, more: int) -> None:
    """A later due time adds moments and takes none away."""
    slots = slots_of(values)
    by_start = {slot.start_us: slot.mg_per_kwh for slot in slots}
    soon, late = (
        by_start[greenest_start(slots, now_us=0, latest_us=minutes * MINUTE)] for minutes in (patience, patience + more)
    )

    assert (soon is None) == (late is None)
    assert soon is None or late is None or late <= soon
