"""The clock seam: one suite on every implementation."""

from collections.abc import Callable

import pytest

from greenserve.clock import ManualClock, SystemClock
from greenserve.ports import Clock

MAKERS: list[Callable[[], Clock]] = [SystemClock, ManualClock]


@pytest.fixture(params=MAKERS, ids=["system", "manual"])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_monotonic_time_never_goes_back(clock: Clock) -> None:
    """Nanoseconds as integers."""
    times = [clock.monotonic_ns() for _ in range(1_000)]

    assert sorted(times) == times
    assert all(isinstance(time_ns, int) and time_ns > 0 for time_ns in times)


def test_civil_time_is_in_microseconds_since_1970(clock: Clock) -> None:
    """Of this century: seconds or milliseconds would be far off."""
    year_2000_us, year_2100_us = 946_684_800_000_000, 4_102_444_800_000_000

    assert year_2000_us < clock.unix_us() < year_2100_us
    assert isinstance(clock.unix_us(), int)


def test_clocks_of_one_node_agree() -> None:
    """Monotonic times of two processes are compared with each other: both read the same clock."""
    first, second, third = SystemClock().monotonic_ns(), SystemClock().monotonic_ns(), SystemClock().monotonic_ns()

    assert first <= second <= third
