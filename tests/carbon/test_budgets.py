"""Budgets: what they attach to, verdicts, and quantities as people write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.budgets import (
    MODES,
    Budget,
    Raise,
    default_id,
    format_amount,
    judge,
    parse_amount,
    parse_percent,
    subjects_of,
)
from greenserve.errors import BudgetClosed, BudgetExhausted, InvalidRequest
from greenserve.records import Exposure

NOW_US = 1_795_305_600_000_000 + 5 * 3_600_000_000  # Sunday 2026-11-22T05:00:00Z
amounts = st.integers(0, 2000)


def a_budget(**changes: Any) -> Budget:
    whole: dict[str, Any] = {"budget_id": "b", "tenant": "acme", "unit": "gCO2e", "limit": 1000, "per": "day"}
    return Budget(**(whole | {"mode": "degrade", "at_pct": 80} | changes))


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


@pytest.mark.parametrize(
    ("exposure", "changes", "words", "used"),
    [
        (
            "exact",
            {},
            "1.123456 J of 2 J used and 0.5555 J reserved per day; this request may need up to 1.7",
            "1.123456",
        ),
        ("rounded", {}, "1.1 J of 2 J used and 0.56 J reserved per day; this request may need up to 1.7", "1.1"),
        ("off", {}, "acme: too little is left of 2 J per day", None),
        ("exact", {"tenant": None, "org": "group"}, "org group: too little is left of 2 J per day", None),
        ("exact", {"tenant": None, "model": "tiny"}, "model tiny: too little is left of 2 J per day", None),
    ],
)
def test_a_refusal_shows_what_the_tenant_may_see_of_its_own_use(
    exposure: Exposure, changes: dict[str, Any], words: str, used: str | None
) -> None:
    """Two digits or nothing where its exposure is so, and never what others used."""
    budget = a_budget(mode="enforce", unit="J", limit=2_000_000, **changes)

    error = judge(budget, 1_123_456, 555_500, 1_700_000, NOW_US, exposure=exposure).refusal

    assert error is not None
    assert words in str(error)
    assert used == error.details.get("used")
    assert (used is None) == ("reserved" not in error.details)


def test_counts_are_shown_to_whose_they_are() -> None:
    """Requests are no energy: a tenant knows how many it sent."""
    error = judge(a_budget(mode="enforce", unit="requests", limit=5), 5, 0, 1, NOW_US, exposure="off").refusal

    assert error is not None
    assert "5" == error.details["used"]


def test_a_lifetime_budget_closes_instead_of_asking_to_wait() -> None:
    """Waiting never helps a lifetime budget that is used up; it does where only reservations stand in the way."""
    budget = a_budget(per="lifetime")

    used_up, reserved = judge(budget, 1000, 0, 1, NOW_US).refusal, judge(budget, 0, 1000, 1, NOW_US).refusal

    assert isinstance(used_up, BudgetClosed)
    assert used_up.retry_after_s is None
    assert isinstance(reserved, BudgetExhausted)
    assert reserved.retry_after_s == 1


def test_a_rolling_budget_lets_its_callers_come_again_at_the_next_quarter() -> None:
    """When enough of it is old enough is not known, so no time of renewal is told; a lifetime it never is."""
    error = judge(a_budget(per="rolling:24h", mode="enforce"), 1000, 0, 1, NOW_US + 60_000_000).refusal

    assert isinstance(error, BudgetExhausted)
    assert (14 * 60, None, 86_400) == (error.retry_after_s, error.details["resets_at"], error.details["window_s"])
    assert ["wait", "raise-budget", "allow-degrade"] == error.details["actions"]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(-5, 5)), max_size=4), amounts)
def test_raises_add_to_the_limit_until_they_end(raises: list[tuple[int, int]], used: int) -> None:
    """At their last moment they are gone."""
    budget = a_budget(
        mode="enforce", raises=tuple(Raise(amount=amount, until_us=NOW_US + offset) for amount, offset in raises)
    )

    limit = 1000 + sum(amount for amount, offset in raises if offset > 0)
    assert limit == budget.limit_at(NOW_US)
    assert (used > limit) == (judge(budget, used, 0, 0, NOW_US).refusal is not None)


ATTACHMENTS: list[tuple[dict[str, str], str, str, str]] = [
    ({"org": "umbrella"}, "org/umbrella", "org:umbrella.j.day", "org umbrella"),
    ({"tenant": "acme"}, "tenant/acme", "acme.j.day", "acme"),
    ({"tenant": "acme", "project": "web"}, "project/acme/web", "acme.project:web.j.day", "project web of acme"),
    ({"tenant": "acme", "key_id": "0123"}, "key/0123", "acme.key:0123.j.day", "key 0123 of acme"),
    ({"model": "tiny"}, "model//tiny", "model:tiny.j.day", "model tiny"),
    ({"tenant": "acme", "model": "tiny"}, "model/acme/tiny", "acme.model:tiny.j.day", "model tiny of acme"),
]


@pytest.mark.parametrize(("attached", "subject", "budget_id", "owner"), ATTACHMENTS)
def test_a_budget_attaches_to_whose_use_it_counts(
    attached: dict[str, str], subject: str, budget_id: str, owner: str
) -> None:
    """Each attachment has a name in the balances, an id of its own, and words for people; a request counts for all."""
    budget = a_budget(unit="J", **({"tenant": None} | attached))

    assert (subject, budget_id, owner) == (budget.subject, default_id(budget), budget.owner)
    assert subject in subjects_of("umbrella", "acme", "web", "0123", "tiny")
    assert len(ATTACHMENTS) == len(subjects_of("umbrella", "acme", "web", "0123", "tiny"))


@pytest.mark.parametrize(
    "attached",
    [
        {"tenant": None},
        {"org": "umbrella"},
        {"tenant": None, "project": "web"},
        {"tenant": None, "key_id": "0123"},
        {"project": "web", "model": "tiny"},
        {"tenant": None, "org": "umbrella", "model": "tiny"},
    ],
)
def test_a_budget_attaches_to_one_thing(attached: dict[str, Any]) -> None:
    """What is none of the kinds is refused, not silently never hit."""
    with pytest.raises(ValueError, match="attaches to"):
        a_budget(**attached)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1mgCO2e", ("gCO2e", 1_000_000)),
        ("0.5 ugCO2e", ("gCO2e", 500)),
        ("500gCO2e", ("gCO2e", 500 * 10**9)),
        ("2.5kWh", ("J", 9 * 10**12)),
        ("5kJ", ("J", 5 * 10**9)),
        ("1000requests", ("requests", 1000)),
        ("1000000 tokens", ("tokens", 1_000_000)),
    ],
)
def test_amounts_are_read_exactly(text: str, expected: tuple[str, int]) -> None:
    """A number and a unit become the ledger's integer."""
    assert expected == parse_amount(text)


@pytest.mark.parametrize(
    "text", ["", "5", "gCO2e", "-1gCO2e", "0gCO2e", "1lb", "0.5requests", "0.5tokens", "0.1ngCO2e", "10000kgCO2e"]
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
