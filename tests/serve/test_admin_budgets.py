"""Budgets over the administration API, with their balances from the ledger."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenserve.config import Config
from greenserve.serve.gateway import Gateway
from tests.serve.administering import Administered, administered


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


BUDGETS = "/admin/v1/budgets"
ID = "acme.j.month"


async def test_a_budget_is_set_once_and_changed_after(api: Administered) -> None:
    """201 for a new id, 200 for one that was there; the balance is the ledger's."""
    for _ in range(3):
        api.record()

    made = await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "1kJ"})
    again = await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "0.5J", "mode": "enforce"})
    shown = (await api.ask("GET", f"{BUDGETS}/{ID}")).json()

    assert (201, ID, "1000", "degrade") == (made.status_code, *(made.json()[n] for n in ("budget", "limit", "mode")))
    assert (200, "0.5", "enforce", '"r1"') == (
        again.status_code,
        again.json()["limit"],
        again.json()["mode"],
        again.headers["etag"],
    )
    # Three times 54,603 + 3,000 + 4,300 uJ.
    assert ("0.185709", 37, None) == (shown["used"], shown["used_pct"], shown["reserved"])
    assert shown["resets_at"].endswith("-01T00:00:00Z")


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ({"tenant": "acme", "project": "web", "limit": "5requests", "per": "day"}, "acme.project:web.requests.day"),
        ({"model": "tiny", "limit": "5kWh", "per": "lifetime"}, "model:tiny.j.lifetime"),
        ({"tenant": "acme", "limit": "1mgCO2e", "per": "rolling:24h"}, "acme.gco2e.rolling-24h"),
        ({"tenant": "acme", "limit": "9tokens", "per": "week", "time_zone": "Europe/Oslo"}, "acme.tokens.week"),
        ({"tenant": "acme", "limit": "9tokens", "budget": "my.own:id"}, "my.own:id"),
    ],
)
async def test_budgets_attach_to_more_than_tenants(body: dict[str, str], budget: str, api: Administered) -> None:
    """The id says to what; lifetime and rolling windows do not reset."""
    made = await api.ask("POST", BUDGETS, body)

    assert (201, budget) == (made.status_code, made.json()["budget"])
    assert (body.get("per", "month") in {"lifetime", "rolling:24h"}) == (made.json()["resets_at"] is None)
    assert 200 == (await api.ask("GET", f"{BUDGETS}/{budget}")).status_code


async def test_what_a_replica_has_promised_stands_beside_the_balance(
    gateway: Gateway, config: Config, tmp_path: Path
) -> None:
    """In the budget's unit, where the replica can tell."""
    async with administered(gateway, config, tmp_path, reserved=lambda budget: 2_500_000) as api:
        made = await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "1kJ"})

    assert "2.5" == made.json()["reserved"]


async def test_a_raise_adds_for_a_time(api: Administered) -> None:
    """The base limit stays; the raise ends with the window unless it says when."""
    await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "1kJ"})

    raised = (await api.ask("POST", f"{BUDGETS}/{ID}:raise", {"amount": "500J"})).json()
    twice = (await api.ask("POST", f"{BUDGETS}/{ID}:raise", {"amount": "1J", "until": "1h"})).json()

    assert ("1500", "1000", raised["resets_at"]) == (
        raised["limit"],
        raised["base_limit"],
        raised["raises"][0]["until"],
    )
    assert ("1501", 2) == (twice["limit"], len(twice["raises"]))


async def test_a_budget_changes_and_goes_for_the_revision_that_was_read(api: Administered) -> None:
    """412 for an older one; what was removed is 404, and may be set again."""
    made = await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "1kJ", "mode": "warn", "at_pct": 50})
    path, first = f"{BUDGETS}/{ID}", made.headers["etag"]

    changed = await api.ask("PATCH", path, {"limit": "2kJ", "mode": None, "at_pct": None}, if_match=first)
    unchanged = await api.ask("PATCH", path, {})
    stale = [
        await api.ask("PATCH", path, {"limit": "3kJ"}, if_match=first),
        await api.ask("POST", f"{path}:raise", {"amount": "1J"}, if_match=first),
        await api.ask("DELETE", path, if_match=first),
        await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "1kJ"}, if_match=first),
    ]
    gone = await api.ask("DELETE", path, if_match=changed.headers["etag"])

    assert ("2000", "degrade", 80) == tuple(changed.json()[name] for name in ("limit", "mode", "at_pct"))
    assert changed.json() == unchanged.json()
    assert [412, 412, 412, 412] == [one.status_code for one in stale]
    assert (204, b"") == (gone.status_code, gone.content)
    assert 404 == (await api.ask("GET", path)).status_code
    assert [] == (await api.get("budgets"))["items"]
    assert 200 == (await api.ask("POST", BUDGETS, {"tenant": "acme", "limit": "1kJ"})).status_code


async def test_budgets_are_listed_by_tenant_and_page(api: Administered) -> None:
    """In order of their ids."""
    for tenant in ("globex", "acme"):
        for per in ("day", "month"):
            await api.ask("POST", BUDGETS, {"tenant": tenant, "limit": "1kJ", "per": per})

    first = await api.get("budgets", limit=3)
    second = await api.get("budgets", limit=3, cursor=first["next_cursor"])

    assert ["acme.j.day", "acme.j.month", "globex.j.day"] == [one["budget"] for one in first["items"]]
    assert (["globex.j.month"], None) == ([one["budget"] for one in second["items"]], second["next_cursor"])
    assert {"globex"} == {one["tenant"] for one in (await api.get("budgets", tenant="globex"))["items"]}
