"""E12: what shrinks with many requests, and what does not."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.uncertainty import (
    METER_BP,
    HalfWidths,
    bounds,
    emissions_half_width_bp,
    energy_half_width_bp,
    grid_bp,
)
from greenserve.records import TIERS

widths_bp = st.integers(0, 10_000)


@given(widths_bp, widths_bp, widths_bp, widths_bp, widths_bp, st.integers(1, 10**6))
def test_the_parts_add_in_squares(meter: int, request: int, of_class: int, grid: int, pue: int, number: int) -> None:
    """Rounded up to the next hundredth of a percent; only the request's part is divided by their number."""
    widths = HalfWidths(meter=meter, request=request, of_class=of_class, grid=grid, pue=pue)

    energy, emissions = energy_half_width_bp(widths, number), emissions_half_width_bp(widths, number)

    exact = meter**2 + of_class**2 + request**2 / number
    assert energy is not None
    assert emissions is not None
    assert 0 <= energy - sqrt(exact) <= 1.001
    assert 0 <= emissions - sqrt(exact + grid**2 + pue**2) <= 1.001


def test_one_request_and_a_million_of_a_modelled_device() -> None:
    """35 % meter, 10 % request, 3 % class: 36.53 % alone, 35.13 % for many; the meter does not average out."""
    widths = HalfWidths(meter=METER_BP["modelled"])

    assert 3_653 == energy_half_width_bp(widths)
    assert 3_513 == energy_half_width_bp(widths, 10**6)


def test_an_unknown_part_makes_the_interval_unknown() -> None:
    """A simulated meter has none; without a PUE or grid the emissions have none, the energy does."""
    assert energy_half_width_bp(HalfWidths(meter=METER_BP["simulated"])) is None
    assert emissions_half_width_bp(HalfWidths(meter=500, grid=500)) is None
    assert emissions_half_width_bp(HalfWidths(meter=500, pue=0)) is None
    assert bounds(100, None) is None
    assert set(TIERS) == METER_BP.keys()


def test_the_grid_widens_with_the_level_of_fallback() -> None:
    """5 % live, 10 % estimated or last good, 15, 30, 40 %, then unknown."""
    assert [500, 1_000, 1_500, 3_000, 4_000, None] == [grid_bp(level) for level in range(6)]
    assert [1_000, 1_500] == [grid_bp(0, estimated=True), grid_bp(2, estimated=True)]


def test_bounds_round_outward_and_stay_above_zero() -> None:
    """35 % of 33,121 uJ; more than all of it leaves 0."""
    assert (21_528, 44_714) == bounds(33_121, 3_500)
    assert (0, 25) == bounds(10, 15_000)


def test_impossible_widths_are_refused() -> None:
    """Negative ones, an interval of nobody, levels that do not exist."""
    with pytest.raises(ValueError, match="half widths are >= 0"):
        HalfWidths(meter=-1)
    with pytest.raises(ValueError, match="at least one request"):
        energy_half_width_bp(HalfWidths(meter=1), 0)
    with pytest.raises(ValueError, match="levels are"):
        grid_bp(6)
    with pytest.raises(ValueError, match=">= 0"):
        bounds(-1, 1)
