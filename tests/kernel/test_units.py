"""Units: exact where the ledger counts, and back to the same integer."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve import units

EXACT_IN_FLOATS = st.integers(-(2**53), 2**53)
LEDGER = st.integers(-(2**53) + 1, 2**53 - 1)


@given(LEDGER)
def test_decimal_joules_and_grams_are_exact(value: int) -> None:
    """What is printed is the ledger's integer, not a rounding of it, and never in exponents."""
    joules, grams = units.decimal_joules(value), units.decimal_grams(value)

    assert value == Decimal(joules) * units.UJ_PER_J
    assert value == Decimal(grams) * units.NG_PER_G
    assert "E" not in (joules + grams).upper()


@given(st.integers(0, 2**53 - 1))
def test_decimal_kwh_is_right_to_its_last_place(energy_uj: int) -> None:
    """Fifteen places, the last one rounded; 1 uJ is still visible."""
    shown = Fraction(units.decimal_kwh(energy_uj))

    assert abs(shown - Fraction(energy_uj, units.UJ_PER_J * units.J_PER_KWH)) <= Fraction(1, 2 * 10**15)
    assert (energy_uj == 0) == (shown == 0)


@given(st.integers(-(2**49), 2**49))
def test_joules_come_back_to_the_same_microjoule(energy_uj: int) -> None:
    """A float of joules carries every ledger amount of a day's work."""
    assert energy_uj == units.uj_from_joules(units.joules_from_uj(energy_uj))


@given(st.integers(-(2**49), 2**49))
def test_grams_come_back_to_the_same_nanogram(emissions_ng: int) -> None:
    """So does one of grams."""
    assert emissions_ng == units.ng_from_grams(units.grams_from_ng(emissions_ng))


@given(st.integers(0, 2**49))
def test_seconds_come_back_to_the_same_nanosecond(duration_ns: int) -> None:
    """Up to six days; monotonic times themselves stay integers."""
    assert duration_ns == units.ns_from_seconds(units.seconds_from_ns(duration_ns))


@given(st.integers(0, 2_000_000))
def test_grid_intensity_keeps_its_three_decimals(mg_per_kwh: int) -> None:
    """As a decimal and as the nearest float."""
    assert mg_per_kwh == units.mg_per_kwh_from_g(Decimal(mg_per_kwh) / 1000)
    assert mg_per_kwh == units.mg_per_kwh_from_g(mg_per_kwh / 1000)


@pytest.mark.parametrize(("joules", "expected"), [(0.5e-6, 0), (1.5e-6, 2), (2.4e-6, 2), (-1.6e-6, -2)])
def test_joules_round_to_the_nearest_microjoule(joules: float, expected: int) -> None:
    """To the nearest, not towards zero."""
    assert expected == units.uj_from_joules(joules)


@pytest.mark.parametrize("unknown", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_becomes_no_amount(unknown: float) -> None:
    """Unknown is an error here, never a zero."""
    with pytest.raises((ValueError, OverflowError)):
        units.uj_from_joules(unknown)
    with pytest.raises((ValueError, OverflowError)):
        units.ns_from_seconds(unknown)


def test_grams_per_joule_is_the_definition() -> None:
    """36 g/kWh at a PUE of 2 are 20 ug per joule of IT energy."""
    assert pytest.approx(20e-6) == units.grams_per_joule(36_000, 2_000)


@given(LEDGER)
def test_two_digits_are_at_most_two_and_close(value: int) -> None:
    """What a caller sees who may not see all of it: two digits, the nearest such number."""
    shown = units.two_digits(value)

    assert len(str(abs(shown)).rstrip("0")) <= 2
    assert abs(shown - value) * 20 <= abs(value)
    assert (value == 0) == (shown == 0)


def test_numbers_of_two_digits_are_shown_as_they_are() -> None:
    """Nothing is hidden where nothing is to hide."""
    assert [*range(-99, 100)] == [units.two_digits(value) for value in range(-99, 100)]
