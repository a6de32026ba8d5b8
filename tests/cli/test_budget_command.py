"""`greenserve budget`."""

from typing import Any

WRONG = {
    "budget set nobody 1gCO2e": "no tenant 'nobody'",
    "budget set acme 1lb": "write a number and one of ngCO2e",
    "budget set acme 1gCO2e --at 0%": "1% to 100%",
    "budget set acme 1gCO2e --per year": "lifetime",
    "budget set acme 1gCO2e --per rolling:5m": "from 1h",
    "budget set acme 1gCO2e --per day --time-zone Mars": "IANA name",
    "budget set acme 1gCO2e --per lifetime --time-zone Europe/Paris": "no time zone",
    "budget set 1gCO2e": "TENANT --project P",
    "budget set acme 1gCO2e 2gCO2e": "3 words",
    "budget set acme 1gCO2e --org umbrella": "tenant acme, org umbrella",
    "budget set 1gCO2e --org umbrella": "no org 'umbrella'",
    "budget set acme 1gCO2e --project web": "no project 'web'",
    "budget set acme 1gCO2e --key abc": "no key 'abc'",
    "budget set 1gCO2e --model other": "configured are sentiment",
    "budget raise acme 1gCO2e": "0 budgets fit acme",
    "budget raise acme 1gCO2e --for ever": "--for",
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


def test_budgets_attach_to_orgs_projects_keys_and_models(greenserve: Any) -> None:
    """Each has an id of its own; the table fits 80 columns."""
    _, made = greenserve("tenant create acme --org umbrella", "key create acme --project web --json")
    key_id = made.document["key_id"]
    *done, table, listed = greenserve(
        "budget set 9J --org umbrella",
        "budget set acme 9J --project web",
        f"budget set acme 9J --key {key_id} --per rolling:24h",
        "budget set 9J --model sentiment --per lifetime",
        "budget set acme 5000tokens --model sentiment --per day --time-zone Asia/Kolkata",
        "budget ls",
        "budget ls --json",
    )

    assert [0] * 5 == [one.code for one in done]
    assert {
        "org:umbrella.j.month",
        "acme.project:web.j.month",
        f"acme.key:{key_id}.j.rolling-24h",
        "model:sentiment.j.lifetime",
        "acme.model:sentiment.tokens.day",
    } == {one["budget"] for one in listed.document["budgets"]}
    assert {"18:30:00Z"} == {
        str(one["resets_at"])[11:] for one in listed.document["budgets"] if one["time_zone"] == "Asia/Kolkata"
    }
    assert 80 >= max(map(len, (table.out + "".join(one.out for one in done)).splitlines()))


def test_a_budget_is_raised_for_a_time(greenserve: Any) -> None:
    """The limit shown is the raised one; the raise says when it ends, and its unit must be the budget's."""
    _, _, by_window, by_time, wrong, shown, text = greenserve(
        "tenant create acme",
        "budget set acme 5J --per day",
        "budget raise acme 2J",
        "budget raise acme.j.day 1J --for 9h",
        "budget raise acme 1gCO2e",
        "budget show acme --json",
        "budget show acme",
    )

    assert (0, 0, 2) == (by_window.code, by_time.code, wrong.code)
    assert "is in J, the raise is in gCO2e" in wrong.err
    assert ("8", ["2", "1"]) == (shown.document["limit"], [one["amount"] for one in shown.document["raises"]])
    assert "raised by 2 J until" in text.out
