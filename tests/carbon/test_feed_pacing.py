"""How long until a provider is asked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.feeds.pacing import next_try_s

draws = st.floats(0, 1, exclude_max=True)


@given(draws)
def test_without_a_failure_the_rhythm_is_kept_within_a_tenth(draw: float) -> None:
    """So gateways that were started together do not ask together for ever."""
    assert 270 <= next_try_s(every_s=300, failures=0, retry_after_s=None, draw=draw) <= 330


@given(st.integers(1, 10_000), draws, st.floats(0, 86_400) | st.none())
def test_after_failures_it_backs_off_and_obeys(failures: int, draw: float, pause_s: float | None) -> None:
    """Between half and all of 30 s doubled up to an hour, and never less than was asked for."""
    wait_s = next_try_s(every_s=300, failures=failures, retry_after_s=pause_s, draw=draw)
    longest_s = min(3_600.0, 30.0 * 2 ** min(failures - 1, 20))

    assert max(longest_s / 2, pause_s or 0) <= wait_s <= max(longest_s, pause_s or 0)


@pytest.mark.parametrize(("every_s", "failures", "draw"), [(0, 0, 0.5), (1, -1, 0.5), (1, 0, 1.0)])
def test_impossible_questions_are_refused(every_s: float, failures: int, draw: float) -> None:
    """A rhythm is positive, failures are counted, a draw lies in [0, 1)."""
    with pytest.raises(ValueError, match="needs a draw"):
        next_try_s(every_s=every_s, failures=failures, retry_after_s=None, draw=draw)
