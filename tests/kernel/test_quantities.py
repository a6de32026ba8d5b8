"""Quantities as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.quantities import parse_bytes, parse_duration_s, parse_mg_per_kwh, parse_rate_per_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("250ms", 0.25),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1.5d", 129_600.0),
        ("5us", 5e-6),
        (" 1 s ", 1.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """In seconds."""
    assert seconds == parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "count"), [("8MiB", 8 * 2**20), ("64KiB", 65_536), ("1GB", 10**9), ("1_000B", 1_000), ("0B", 0)]
)
def test_sizes(text: str, count: int) -> None:
    """In bytes; powers of two and of ten are told apart."""
    assert count == parse_bytes(text)


@pytest.mark.parametrize(("text", "rate"), [("200/s", 200.0), ("600/m", 10.0), ("0.5/s", 0.5), ("36/h", 0.01)])
def test_rates(text: str, rate: float) -> None:
    """In events per second."""
    assert rate == pytest.approx(parse_rate_per_s(text))


@pytest.mark.parametrize(
    ("text", "mg"), [("215.8gCO2e/kWh", 215_800), ("31000mgCO2e/kWh", 31_000), ("0.4kgCO2e/MWh", 400)]
)
def test_intensities_are_exact(text: str, mg: int) -> None:
    """In whole milligrams per kWh."""
    assert mg == parse_mg_per_kwh(text)


@given(st.integers(0, 2_000_000))
def test_any_intensity_comes_back(mg: int) -> None:
    """Written in grams with three places."""
    assert mg == parse_mg_per_kwh(f"{mg // 1000}.{mg % 1000:03}gCO2e/kWh")


@pytest.mark.parametrize("given_value", ["30", 30, 1.5])
def test_a_missing_unit_is_asked_for(given_value: object) -> None:
    """With an example of what to write."""
    with pytest.raises(ValueError, match=r"has no unit; write 30s|has no unit; write 1\.5s"):
        parse_duration_s(given_value)


@pytest.mark.parametrize("text", ["5 parsecs", "5S", "5MB", "1e3s"])
def test_an_unknown_unit_is_refused_with_those_that_are_known(text: str) -> None:
    """By name."""
    with pytest.raises(ValueError, match="allowed are us, ms, s, m, h, d"):
        parse_duration_s(text)


@pytest.mark.parametrize("given_value", ["", "s", "five s", None, True, [], "--5s", "nan s", "5 s s"])
def test_what_is_no_quantity_is_refused(given_value: object) -> None:
    """Whatever YAML may hold there."""
    with pytest.raises(ValueError, match=r"is not a quantity|has no unit"):
        parse_duration_s(given_value)


def test_nothing_is_negative() -> None:
    """Time, size and rate have no sign."""
    with pytest.raises(ValueError, match="is negative"):
        parse_duration_s("-5s")


@pytest.mark.parametrize("text", ["0.0001gCO2e/kWh", "2000001mgCO2e/kWh"])
def test_an_intensity_outside_the_ledgers_range_is_refused(text: str) -> None:
    """Parts of a milligram, or more than any grid emits."""
    with pytest.raises(ValueError, match="whole number in"):
        parse_mg_per_kwh(text)
