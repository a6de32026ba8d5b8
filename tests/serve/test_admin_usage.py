"""Usage over the administration API: sums that equal the ledger, with the evidence behind them."""

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


ENERGY_J = "0.061903"


async def test_usage_sums_what_the_ledger_holds(api: Administered) -> None:
    """Requests, IT energy and emissions of the month; the settled line counts, not the provisional one as well."""
    api.record()
    api.record(settled=False)
    api.record(tenant="globex", variant="int8-dyn")

    page = await api.get("usage")

    acme, globex = page["items"]
    assert ("acme", 2, 1, 0) == tuple(
        acme[name] for name in ("tenant", "requests", "provisional_requests", "unmetered_requests")
    )
    assert ("0.123806", ENERGY_J) == (acme["energy_joules"], globex["energy_joules"])
    # 61,903 uJ x PUE 1.1 at 40 g/kWh, rounded per request.
    assert ("0.000001514", "0.000000757", "modelled") == (
        acme["loc_lifecycle_gco2e"],
        globex["loc_lifecycle_gco2e"],
        globex["tier"],
    )
    assert page["start"].endswith("-01T00:00:00Z")


async def test_the_tier_is_the_weakest_of_the_newest_lines(api: Administered) -> None:
    """A sum is as good as its weakest part; a provisional estimate that was settled no longer counts."""
    api.record(tier="class_average", settled_tier="measured")
    strong = await api.get("usage")
    api.record(tier="class_average", settled=False)
    weak = await api.get("usage")

    assert ("measured", "class_average") == (strong["items"][0]["tier"], weak["items"][0]["tier"])


async def test_what_was_not_metered_is_unknown_and_never_zero(api: Administered) -> None:
    """Null for energy and emissions, with the count of requests that nobody metered."""
    api.record(unmetered=True)
    api.record(tenant="globex", intensity=None)

    acme, globex = (await api.get("usage"))["items"]

    assert (None, None, "unknown", 1) == tuple(
        acme[name] for name in ("energy_joules", "loc_lifecycle_gco2e", "tier", "unmetered_requests")
    )
    assert (ENERGY_J, None, "0.068093") == tuple(
        globex[name] for name in ("energy_joules", "loc_lifecycle_gco2e", "uncovered_joules")
    )


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("model", [("tiny",)]),
        ("variant", [("fp32",), ("int8-dyn",)]),
        ("region,variant", [("fp32", "here"), ("fp32", "north"), ("int8-dyn", "north")]),
    ],
)
async def test_usage_is_grouped(by: str, keys: list[tuple[str, ...]], api: Administered) -> None:
    """In order of the groups; their requests add up to those of the whole."""
    api.record()
    api.record(variant="int8-dyn")
    api.record(region="here")

    page = await api.get("usage", by=by, tenant="acme")

    assert keys == [tuple(one[name] for name in page["by"]) for one in page["items"]]
    assert 3 == sum(one["requests"] for one in page["items"])


async def test_usage_is_grouped_by_project_and_day(api: Administered) -> None:
    """Projects are those of the keys at that time; a request without one belongs to none."""
    api.record(project="web")
    api.record(project="web")
    api.record(project="batch", unmetered=True)
    api.record()

    whole = (await api.get("usage", by="project"))["items"]
    daily = (await api.get("usage", by="project,day", tenant="acme"))["items"]

    assert [("batch", 1, None), ("web", 2, "0.123806")] == [
        tuple(one[name] for name in ("project", "requests", "energy_joules")) for one in whole
    ]
    assert 24 == whole[1]["tokens_in"]
    assert {10} == {len(one["day"]) for one in daily}
    assert [] == (await api.get("usage", by="project", tenant="globex"))["items"]


async def test_a_period_bounds_the_sums(api: Administered) -> None:
    """The start belongs to it, the end does not; without requests there is nothing to list."""
    api.record()

    api.record(ended_us=1_767_225_600_000_000)  # 2026-01-01T00:00Z
    before = await api.get("usage", **{"from": "2025-12-01", "to": "2026-01-01T00:00Z"})
    within = await api.get("usage", **{"from": "2026-01-01T00:00Z", "to": "2026-01-01T01:00Z"})
    daily = await api.get("usage", by="day")

    assert ([], "2026-01-01T00:00:00Z") == (before["items"], before["end"])
    assert [(1, "modelled")] == [(one["requests"], one["tier"]) for one in within["items"]]
    assert [daily["items"][0]["day"]] == [one["day"] for one in daily["items"]]


async def test_groups_come_page_by_page(api: Administered) -> None:
    """The cursor of one grouping is none of another."""
    for variant in ("a", "b", "c"):
        api.record(variant=variant)

    first = await api.get("usage", by="day,variant", limit=2)
    second = await api.get("usage", by="day,variant", limit=2, cursor=first["next_cursor"])
    other = await api.ask("GET", f"/admin/v1/usage?by=variant&cursor={first['next_cursor']}")

    assert (["a", "b"], ["c"], None) == (
        [one["variant"] for one in first["items"]],
        [one["variant"] for one in second["items"]],
        second["next_cursor"],
    )
    assert (422, True) == (other.status_code, "cursor" in other.json()["detail"])
