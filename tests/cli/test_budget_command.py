"""`greenserve budget`."""

from typing import Any

WRONG = {
    "budget set nobody 1gCO2e": "no tenant 'nobody'",
    "budget set acme 1lb": "write a number and one of ngCO2e",
    "budget set acme 1gCO2e --at 0%": "1% to 100%",
    "budget set acme 1gCO2e --per year": "lifetime",
    "budget rm acme --yes": "0 budgets fit acme",
}


def test_a_budget_is_set_again_listed_and_removed(greenserve: Any) -> None:
    """One per tenant, unit and window: setting it again changes it."""
    _, _, _, listed, removed, after = greenserve(
        "tenant create acme",
        "budget set acme 5mgCO2e --per day --mode enforce",
        "budget set acme 1mgCO2e --per day --mode degrade --at 70%",
        "budget ls --json",
        "budget rm acme --yes --json",
        "budget ls --json",
    )

    (budget,) = listed.document["budgets"]
    assert ("0.001", "gCO2e", "0", "degrade", 70, 0) == tuple(
        budget[name] for name in ("limit", "unit", "used", "mode", "at_pct", "used_pct")
    )
    assert budget["budget"] == removed.document["budget"]
    assert [] == after.document["budgets"]


def test_of_several_budgets_one_must_be_named(greenserve: Any) -> None:
    """By its window or its id; nothing is removed by guessing."""
    _, _, _, vague, by_window, by_id = greenserve(
        "tenant create acme",
        "budget set acme 5J --per day",
        "budget set acme 7J --per week",
        "budget rm acme --yes",
        "budget rm acme --per week --yes --json",
        "budget rm acme.j.day --yes --json",
    )

    assert 2 == vague.code
    assert "acme.j.day, acme.j.week" in vague.err
    assert ["acme.j.week", "acme.j.day"] == [by_window.document["budget"], by_id.document["budget"]]


def test_the_table_fits_a_terminal(greenserve: Any) -> None:
    """Limit, use, and when it renews, in 80 columns."""
    _, made, _, listed = greenserve(
        "tenant create acme",
        "budget set acme 2.5kWh --per month",
        "budget set acme 1000requests --per lifetime",
        "budget ls",
    )

    assert 80 >= max(map(len, (made.out + listed.out).splitlines()))
    assert "9000 kJ" in listed.out
    assert "never" in listed.out


def test_wrong_usage_is_told_with_exit_code_2(greenserve: Any) -> None:
    """The message says which units, windows and thresholds there are."""
    _, *wrong = greenserve("tenant create acme", *WRONG)

    assert [(2, "")] * len(WRONG) == [(done.code, done.out) for done in wrong]
    assert [] == [done.err for done, told in zip(wrong, WRONG.values(), strict=True) if told not in done.err]
