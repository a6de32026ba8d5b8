"""The clock that tests move; the seam itself is tested in contracts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.clock import ManualClock


@given(st.lists(st.integers(0, 10**15), max_size=6))
def test_both_times_move_together(steps: list[int]) -> None:
    """By what they were told, and not otherwise."""
    clock = ManualClock(monotonic_ns=5, unix_us=7)

    for step in steps:
        clock.advance(duration_ns=step)

    assert 5 + sum(steps) == clock.monotonic_ns()
    assert 7 + sum(step // 1_000 for step in steps) == clock.unix_us()


def test_time_does_not_go_back() -> None:
    """A mistake of the test."""
    with pytest.raises(ValueError, match="only moves forward"):
        ManualClock().advance(duration_ns=-1)
