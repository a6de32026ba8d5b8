"""The best window is the best of all starts, and unknown hours are in none."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.best_window import Step, best_window, window_at

values = st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=8)


def a_day(known: list[int | None], length: int = 4) -> list[Step]:
    return [
        Step(start_us=place * length, end_us=(place + 1) * length, mg_per_kwh=value, half_width_bp=100 * place)
        for place, value in enumerate(known)
    ]


@given(values, st.integers(1, 20), st.integers(-3, 12), st.integers(0, 40))
def test_no_start_is_better(known: list[int | None], duration_us: int, earliest_us: int, deadline_us: int) -> None:
    """Against every microsecond of the time that is allowed."""
    steps = a_day(known)
    every = [window_at(steps, start, duration_us) for start in range(earliest_us, deadline_us - duration_us + 1)]
    means = [one.mean_mg_per_kwh for one in every if one is not None]

    found = best_window(steps, duration_us, earliest_us=earliest_us, deadline_us=deadline_us)

    assert (min(means) if means else None) == (found.mean_mg_per_kwh if found else None)


def test_its_half_width_is_the_widest_of_its_steps() -> None:
    """And None where one of them has none."""
    steps = a_day([3, 1, 1, 3])
    found = best_window(steps, 8, earliest_us=0, deadline_us=16)

    assert found is not None
    assert (4, Fraction(1), 200) == (found.start_us, found.mean_mg_per_kwh, found.half_width_bp)
    blind = [*steps[:2], Step(start_us=8, end_us=12, mg_per_kwh=1)]
    unknown = window_at(blind, 4, 8)
    assert unknown is not None
    assert unknown.half_width_bp is None


def test_a_window_lasts_some_time() -> None:
    """Nothing is no window."""
    with pytest.raises(ValueError, match="positive time"):
        best_window(a_day([1]), 0, earliest_us=0, deadline_us=4)
