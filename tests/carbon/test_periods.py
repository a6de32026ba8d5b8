"""Periods as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.budgets import iso
from greenserve.carbon.periods import bounds_of, moment_us, month_start_us
from greenserve.errors import InvalidRequest

NOW_US = 1_795_322_096_000_000  # 2026-11-22T04:34:56Z


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("today", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("all", "1970-01-01T05:00:00Z", "1970-01-01T08:00:00Z"),
    ],
)
def test_a_period_has_a_start_and_an_end_outside_it(period: str, start: str, end: str) -> None:
    """UTC; `all` spans the ledger's hours."""
    assert (start, end) == tuple(map(iso, bounds_of(period, now_us=NOW_US, hours=(5, 7))))


@pytest.mark.parametrize("period", ["", "2026-00", "2026-13", "2025-02-29", "1969", "9999", "tomorrow", "2026-1-1"])
def test_what_is_no_period_is_refused(period: str) -> None:
    """With what may be written."""
    with pytest.raises(InvalidRequest, match="write 2026-11, 2026-11-22, 2026, today or all"):
        bounds_of(period, now_us=NOW_US, hours=None)


def test_all_of_an_empty_ledger_is_no_period() -> None:
    """There is nothing to bound."""
    with pytest.raises(InvalidRequest, match="holds no request"):
        bounds_of("all", now_us=NOW_US, hours=None)


def test_the_month_starts_at_its_first_midnight() -> None:
    """UTC."""
    assert "2026-11-01T00:00:00Z" == iso(month_start_us(NOW_US))


@pytest.mark.parametrize(
    ("text", "moment"),
    [("2026-11-22", "2026-11-22T00:00:00Z"), ("2026-11-22T05:30+02:00", "2026-11-22T03:30:00Z")],
)
def test_a_time_is_read_with_its_offset(text: str, moment: str) -> None:
    """A day starts at midnight UTC."""
    assert moment == iso(moment_us(text))


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """Never an unforeseen error."""
    with contextlib.suppress(InvalidRequest):
        assert moment_us(text) >= 0
