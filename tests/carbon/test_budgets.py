"""Budgets: windows, verdicts, and quantities as people write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.budgets import (
    MODES,
    WINDOWS,
    Budget,
    allowance,
    format_amount,
    iso,
    judge,
    parse_amount,
    parse_percent,
    window,
)
from greenserve.errors import BudgetClosed, BudgetExhausted, InvalidRequest

NOW_US = 1_795_305_600_000_000 + 5 * 3_600_000_000  # Sunday 2026-11-22T05:00:00Z
amounts = st.integers(0, 2000)
times = st.integers(0, 4_000_000_000_000_000)


def a_budget(**changes: Any) -> Budget:
    whole: dict[str, Any] = {"budget_id": "b", "tenant": "acme", "unit": "gCO2e", "limit": 1000, "per": "day"}
    return Budget(**(whole | {"mode": "degrade", "at_pct": 80} | changes))


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("day", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("week", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("month", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
    ],
)
def test_windows_are_calendar_windows_in_utc(per: str, start: str, end: str) -> None:
    """A Sunday belongs to the week of the Monday before it."""
    start_us, end_us = window(a_budget(per=per), NOW_US)

    assert (start, end) == (iso(start_us), iso(end_us or 0))


@given(times, st.sampled_from(WINDOWS))
def test_every_moment_lies_in_its_window_and_windows_join(now_us: int, per: str) -> None:
    """[start, end) holds the moment, and the next window starts where this one ends."""
    budget = a_budget(per=per)
    start_us, end_us = window(budget, now_us)

    assert start_us <= now_us
    assert end_us is None or (now_us < end_us and window(budget, end_us)[0] == end_us)


@given(amounts, amounts, amounts, st.sampled_from(MODES), st.integers(1, 100))
def test_a_request_passes_exactly_while_everything_fits(
    used: int, reserved: int, estimate: int, mode: str, at_pct: int
) -> None:
    """warn never refuses; the others refuse as soon as used + reserved + estimate pass the limit."""
    verdict = judge(a_budget(mode=mode, at_pct=at_pct), used, reserved, estimate, NOW_US)

    assert (mode != "warn" and used + reserved + estimate > 1000) == (verdict.refusal is not None)
    assert (verdict.degrade > 0) <= (mode == "degrade")


@given(amounts, amounts, st.integers(1, 100))
def test_degrading_rises_from_the_threshold_to_the_limit(used: int, more: int, at_pct: int) -> None:
    """0 below the threshold, 1 at the limit, and more use never asks for less."""
    budget = a_budget(at_pct=at_pct)
    before, after = judge(budget, used, 0, 0, NOW_US), judge(budget, used + more, 0, 0, NOW_US)

    assert before.degrade <= after.degrade <= 1.0
    assert used * 100 >= 1000 * at_pct or before.degrade == 0.0
    assert judge(budget, 1000, 0, 0, NOW_US).degrade == 1.0


def test_a_refusal_says_when_waiting_helps() -> None:
    """429 with limit, used, reserved and the seconds until the window renews."""
    error = judge(a_budget(limit=10**9), 10**9, 0, 1, NOW_US).refusal

    assert isinstance(error, BudgetExhausted)
    assert 19 * 3600 == error.retry_after_s
    assert ("1", "1", "2026-11-23T00:00:00Z") == tuple(error.details[name] for name in ("limit", "used", "resets_at"))


def test_a_lifetime_budget_closes_instead_of_asking_to_wait() -> None:
    """Waiting never helps a lifetime budget that is used up; it does where only reservations stand in the way."""
    budget = a_budget(per="lifetime")

    used_up, reserved = judge(budget, 1000, 0, 1, NOW_US).refusal, judge(budget, 0, 1000, 1, NOW_US).refusal

    assert isinstance(used_up, BudgetClosed)
    assert used_up.retry_after_s is None
    assert isinstance(reserved, BudgetExhausted)
    assert reserved.retry_after_s == 1


@given(st.integers(0, 3000), st.integers(1, 64))
def test_the_replicas_parts_never_pass_the_limit(used: int, replicas: int) -> None:
    """Whatever each of them spends of its part, the limit holds."""
    part = allowance(a_budget(), used, replicas)

    assert part >= 0
    assert used >= 1000 or used + part * replicas <= 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1mgCO2e", ("gCO2e", 1_000_000)),
        ("0.5 ugCO2e", ("gCO2e", 500)),
        ("500gCO2e", ("gCO2e", 500 * 10**9)),
        ("2.5kWh", ("J", 9 * 10**12)),
        ("5kJ", ("J", 5 * 10**9)),
        ("1000requests", ("requests", 1000)),
    ],
)
def test_amounts_are_read_exactly(text: str, expected: tuple[str, int]) -> None:
    """A number and a unit become the ledger's integer."""
    assert expected == parse_amount(text)


@pytest.mark.parametrize(
    "text", ["", "5", "gCO2e", "-1gCO2e", "0gCO2e", "1lb", "0.5requests", "0.1ngCO2e", "10000kgCO2e"]
)
def test_amounts_that_mean_nothing_are_refused(text: str) -> None:
    """No unit, no whole ledger integer, not over 2^53: the message names the allowed units or the step."""
    with pytest.raises(InvalidRequest):
        parse_amount(text)


def test_amounts_print_in_a_fitting_unit() -> None:
    """Exact, without exponents."""
    shown = [format_amount("gCO2e", 1_500_000), format_amount("J", 2_500_000), format_amount("gCO2e", 0)]

    assert ["1.5 mgCO2e", "2.5 J", "0 gCO2e"] == shown


@pytest.mark.parametrize("text", ["0%", "101", "8 0", "eighty", "79.5%"])
def test_thresholds_are_whole_percentages(text: str) -> None:
    """1 to 100."""
    assert 80 == parse_percent("80%") == parse_percent("80")
    with pytest.raises(InvalidRequest):
        parse_percent(text)
