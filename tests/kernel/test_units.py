"""Conversions are exact, and come back."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve import units

ledger = st.integers(-(2**52), 2**52)
amounts = st.integers(0, 2**53)


@given(ledger)
def test_joules_and_back(energy_uj: int) -> None:
    """A float in joules still tells microjoules apart, up to 4.5 GJ."""
    assert energy_uj == units.uj_from_joules(units.joules_from_uj(energy_uj))


@given(st.integers(-(10**14), 10**14))
def test_grams_and_back(emissions_ng: int) -> None:
    """The same for nanograms, up to 100 kg."""
    assert emissions_ng == units.ng_from_grams(units.grams_from_ng(emissions_ng))


@given(st.integers(-(10**15), 10**15))
def test_seconds_and_back(duration_ns: int) -> None:
    """And for nanoseconds, up to eleven days."""
    assert duration_ns == units.ns_from_seconds(units.seconds_from_ns(duration_ns))


@given(amounts)
def test_decimals_are_exact(value: int) -> None:
    """What people read is the ledger's integer, to the last digit, without an exponent."""
    joules, grams = units.decimal_joules(value), units.decimal_grams(value)

    assert {Decimal(value)} == {Decimal(joules) * 10**6, Decimal(grams) * 10**9}
    assert "E" not in joules + grams + units.decimal_kwh(value)


@given(st.integers(0, 10**15))
def test_kilowatt_hours_are_right_to_the_fifteenth_place(energy_uj: int) -> None:
    """Half a unit in the last place, from the exact fraction."""
    exact = Fraction(energy_uj, units.UJ_PER_J * units.J_PER_KWH)

    assert abs(Fraction(Decimal(units.decimal_kwh(energy_uj))) - exact) <= Fraction(1, 2 * 10**15)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (units.uj_from_joules(1.0), 1_000_000),
        (units.uj_from_joules(0.0000005), 0),  # the float lies just under the half
        (units.uj_from_joules(0.5e-6 * 3), 2),
        (units.uj_from_joules(0.00000025), 0),
        (units.mg_per_kwh_from_g(215.8), 215_800),
        (units.mg_per_kwh_from_g(Decimal("0.0005")), 0),
        (units.mg_per_kwh_from_g(Decimal("0.0015")), 2),
        (units.ns_from_seconds(1.5), 1_500_000_000),
    ],
)
def test_rounding_goes_to_the_nearest_and_ties_to_even(given_value: int, expected: int) -> None:
    """As the docstrings say."""
    assert expected == given_value


def test_grams_per_joule_is_intensity_times_pue() -> None:
    """One kWh at PUE 2 and 360 g/kWh emits 720 g."""
    assert 720 / 3_600_000 == pytest.approx(units.grams_per_joule(360_000, 2_000))


@given(st.integers(-(10**15), 10**15))
def test_two_digits_are_two_digits(value: int) -> None:
    """At most two significant digits, off by at most five per cent, sign kept."""
    rounded = units.two_digits(value)

    assert len(str(abs(rounded)).rstrip("0")) <= 2
    assert abs(rounded - value) * 20 <= abs(value)
    assert rounded * value >= 0
