"""Quantities as people write them: a number, a unit, and a helpful word where one is missing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.quantities import parse_bytes, parse_duration_s, parse_mg_per_kwh, parse_rate_per_s

READERS: tuple[Callable[[object], float], ...] = (parse_bytes, parse_duration_s, parse_mg_per_kwh, parse_rate_per_s)


@pytest.mark.parametrize(
    ("read", "written", "expected"),
    [
        (parse_duration_s, "30s", 30.0),
        (parse_duration_s, "250ms", 0.25),
        (parse_duration_s, "1.5 h", 5400.0),
        (parse_duration_s, "10us", 0.00001),
        (parse_duration_s, "2d", 172_800.0),
        (parse_bytes, "8MiB", 8_388_608),
        (parse_bytes, "1_000kB", 1_000_000),
        (parse_bytes, "0.5KiB", 512),
        (parse_rate_per_s, "200/s", 200.0),
        (parse_rate_per_s, "600/m", 10.0),
        (parse_rate_per_s, "1/h", 1 / 3600),
        (parse_mg_per_kwh, "215.8gCO2e/kWh", 215_800),
        (parse_mg_per_kwh, "7mgCO2e/kWh", 7),
        (parse_mg_per_kwh, "0.4kgCO2e/MWh", 400),
    ],
)
def test_a_number_and_its_unit_are_read(read: Callable[[object], float], written: str, expected: float) -> None:
    """Exactly as decimals say it."""
    assert expected == read(written)


@pytest.mark.parametrize(
    ("read", "written", "words"),
    [
        (parse_duration_s, "30", "write 30s or 30000ms"),
        (parse_duration_s, 30, "write 30s or 30000ms"),
        (parse_bytes, 8, "write 8MiB"),
        (parse_rate_per_s, "200", "write 200/s"),
        (parse_mg_per_kwh, 100, "write 100gCO2e/kWh"),
        (parse_duration_s, "30min", "allowed are us, ms, s, m, h, d"),
        (parse_bytes, "8mib", "allowed are B, kB, MB"),
        (parse_duration_s, "-3s", "negative"),
        (parse_duration_s, "soon", "not a quantity"),
        (parse_duration_s, True, "not a quantity"),
        (parse_duration_s, None, "not a quantity"),
        (parse_duration_s, ["3s"], "not a quantity"),
        (parse_bytes, "1.5B", "whole number of bytes"),
        (parse_mg_per_kwh, "0.5mgCO2e/kWh", "whole number"),
        (parse_mg_per_kwh, "3000gCO2e/kWh", r"0\.\.2,000,000"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(
    read: Callable[[object], float], written: object, words: str
) -> None:
    """A missing unit is never guessed, a part of a byte never dropped."""
    with pytest.raises(ValueError, match=words):
        read(written)


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.from_regex(r"[0-9_.+-]{1,9}[a-zA-Z/]*"))
def test_anything_else_is_a_value_error(written: object) -> None:
    """Whatever stands in a file gives a number >= 0 or a ValueError, never another exception."""
    for read in READERS:
        try:
            value = read(written)
        except ValueError as error:
            assert str(error)
        else:
            assert value >= 0
