"""What an amount is as much as: exact by its factor, with its range, and nothing without a source."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.equivalents import EquivalentFactor, GridValue, equivalents_of
from greenserve.carbon.factors.equivalent_factors import equivalent_factors

KNOWN = equivalent_factors()
KETTLE = next(one for one in KNOWN.factors if one.per == "kWh")
CAR = next(one for one in KNOWN.factors if one.name == "car")
LITRES_PER_GALLON, KM_PER_MILE = Decimal("3.785411784"), Decimal("1.609344")


def a_grid(mg_per_kwh: int = 200_000, half_width_bp: int | None = 0) -> GridValue:
    """200 g/kWh, exact."""
    return GridValue(mg_per_kwh=mg_per_kwh, half_width_bp=half_width_bp, source="a test")


def test_the_most_comes_of_the_smallest_factor() -> None:
    """1,200 g by 248.5 g each; the range by the ends of the factor."""
    (car,) = equivalents_of(1_200 * 10**9, [CAR])

    assert Decimal(1_200) / Decimal("248.5") == car.count
    assert (Decimal(1_200) / CAR.high, Decimal(1_200) / CAR.low) == (car.low, car.high)


def test_what_runs_on_electricity_needs_an_intensity() -> None:
    """Without one the count is unknown, not 0, and says what is needed; the intensity's width widens the range."""
    (without,) = equivalents_of(10**9, [KETTLE])
    (clean,) = equivalents_of(10**9, [KETTLE], a_grid(0))
    (exact,) = equivalents_of(10**9, [KETTLE], a_grid())
    (wide,) = equivalents_of(10**9, [KETTLE], a_grid(half_width_bp=4_000))
    (unknown,) = equivalents_of(10**9, [KETTLE], a_grid(half_width_bp=None))
    (endless,) = equivalents_of(10**9, [KETTLE], a_grid(half_width_bp=10_000))

    assert (None, None, None) == (without.count, clean.count, without.low)
    assert "give --intensity or --zone" in (without.missing or "")
    assert 1 / (KETTLE.factor * 200) == exact.count == wide.count == unknown.count
    assert exact.low is not None
    assert wide.low is not None
    assert abs(exact.low / Decimal("1.4") - wide.low) < Decimal("1e-20")
    assert (None, None, None) == (unknown.low, unknown.high, endless.high)


@settings(max_examples=100)
@given(st.integers(0, 10**18), st.integers(1, 10**15), st.integers(1, 2_000_000), st.integers(0, 9_999))
def test_more_is_never_less(emissions_ng: int, more_ng: int, mg_per_kwh: int, width_bp: int) -> None:
    """Counts rise with the amount and lie in their range."""
    grid = a_grid(mg_per_kwh, width_bp)
    some, more = (equivalents_of(ng, KNOWN.factors, grid) for ng in (emissions_ng, emissions_ng + more_ng))

    for one, other in zip(some, more, strict=True):
        assert one.count is not None
        assert other.count is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.count <= one.high
        assert one.count < other.count


def test_nothing_negative_and_no_crossed_range() -> None:
    """A difference is no amount, and a factor outside its own range is a slip in the table."""
    with pytest.raises(ValueError, match="emissions are >= 0"):
        equivalents_of(-1, [CAR])
    with pytest.raises(ValueError, match="low <= factor <= high"):
        EquivalentFactor(
            name="x",
            unit="x",
            per="g",
            low=Decimal(2),
            factor=Decimal(1),
            high=Decimal(3),
            counts="x",
            source="x",
            low_source="x",
            high_source="x",
        )


def test_the_shipped_factors_are_what_their_sources_say() -> None:
    """400 g a mile, 8,887 g a gallon, 85 K of a litre of water: derived again here."""
    by_name = {one.name: one for one in KNOWN.factors}

    assert abs(Decimal(400) / KM_PER_MILE - by_name["car"].factor) < Decimal("0.1")
    assert abs(Decimal(404) / KM_PER_MILE - by_name["car"].high) < Decimal("0.1")
    assert abs(Decimal(8_887) / LITRES_PER_GALLON - by_name["petrol"].factor) < 1
    assert abs(Decimal("67500") * Decimal("42.5") * Decimal("0.720") / 1_000 - by_name["petrol"].low) < 1
    assert abs(Decimal("73000") * Decimal("44.8") * Decimal("0.775") / 1_000 - by_name["petrol"].high) < 1
    for kelvin, share, wanted in ((85, "0.85", KETTLE.factor), (80, "1", KETTLE.low), (90, "0.8", KETTLE.high)):
        assert abs(Decimal("4.19") * kelvin / Decimal(share) / 3_600 - wanted) < Decimal("0.0001")


def test_every_factor_names_its_sources_and_none_speaks_of_savings() -> None:
    """A reader can look it up; what is illustrated is an amount, not an achievement."""
    for one in KNOWN.factors:
        assert all((one.source, one.low_source, one.high_source, one.counts))
        assert "sav" not in repr(one).lower()
    assert KNOWN.name.startswith("equivalents 2026.1 sha256:")
