"""Tenants and orgs over the administration API."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.config import Config
from greenserve.serve.gateway import Gateway
from tests.serve.administering import Administered, administered


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


async def test_a_tenant_is_created_shown_and_listed(api: Administered) -> None:
    """201 with its first revision as ETag; what was left out follows the defaults."""
    body = {"tenant": "new", "org": "group", "quality_floor": 0.7, "regions": ["north"], "rate_per_s": 5}

    made = await api.ask("POST", "/admin/v1/tenants", body)

    assert (201, '"r0"') == (made.status_code, made.headers["etag"])
    assert body | {"name": "new", "state": "open", "exposure": "rounded", "burst": None, "revision": 0} == {
        name: made.json()[name] for name in (*body, "name", "state", "exposure", "burst", "revision")
    }
    assert made.json() == (await api.ask("GET", "/admin/v1/tenants/new")).json()
    assert ["acme", "globex", "new"] == [one["tenant"] for one in (await api.get("tenants"))["items"]]
    assert ["new"] == [one["tenant"] for one in (await api.get("tenants", org="group"))["items"]]
    assert {"org": "group", "open_tenants": 1, "closed_tenants": 0} == (await api.get("orgs"))["items"][0]


async def test_a_merge_patch_changes_what_it_names_and_null_takes_back(api: Administered) -> None:
    """RFC 7396: the rest stays; an empty patch changes nothing, not even the revision."""
    path = "/admin/v1/tenants/acme"
    await api.ask("PATCH", path, {"rate_per_s": 5, "org": "group", "exposure": "off"})

    patched = await api.ask("PATCH", path, {"rate_per_s": None, "burst": 3, "exposure": None})
    again = await api.ask("PATCH", path, {})

    assert (None, 3, "group", "rounded") == tuple(
        patched.json()[name] for name in ("rate_per_s", "burst", "org", "exposure")
    )
    assert ('"r2"', '"r2"') == (patched.headers["etag"], again.headers["etag"])
    assert patched.json() == again.json()


async def test_a_change_for_an_older_revision_is_refused(api: Administered) -> None:
    """412: two administrators do not overwrite each other; `*` and the newest ETag pass."""
    path = "/admin/v1/tenants/acme"
    first = (await api.ask("GET", path)).headers["etag"]

    passed = await api.ask("PATCH", path, {"burst": 1}, if_match=first)
    stale = await api.ask("PATCH", path, {"burst": 2}, if_match=first)
    star = await api.ask("PATCH", path, {"burst": 3}, if_match="*")
    closed = await api.ask("POST", f"{path}:close", if_match=first)

    assert (200, 412, 200, 412) == tuple(one.status_code for one in (passed, stale, star, closed))
    assert "revision-conflict" == stale.json()["code"]
    assert 3 == api.store.tenant("acme").tenant.burst


async def test_a_closed_tenant_stays_listed_and_cannot_change(api: Administered) -> None:
    """Its entries name it for ever."""
    closed = await api.ask("POST", "/admin/v1/tenants/globex:close")
    changed = await api.ask("PATCH", "/admin/v1/tenants/globex", {"burst": 1})

    assert (200, "closed") == (closed.status_code, closed.json()["state"])
    assert ["globex"] == [one["tenant"] for one in (await api.get("tenants", state="closed"))["items"]]
    assert (422, True) == (changed.status_code, "was closed at" in changed.json()["detail"])


async def test_pages_follow_each_other_whatever_is_added(api: Administered) -> None:
    """A cursor names the last one shown: nothing comes twice, nothing is left out."""
    for number in range(5):
        await api.ask("POST", "/admin/v1/tenants", {"tenant": f"t{number}"})
    seen: list[str] = []
    cursor: Any = None

    while cursor is not None or not seen:
        page = await api.get("tenants", limit=2, **({} if cursor is None else {"cursor": cursor}))
        seen += [one["tenant"] for one in page["items"]]
        cursor = page["next_cursor"]
        if len(seen) == 2:
            await api.ask("POST", "/admin/v1/tenants", {"tenant": "aaa"})

    assert ["acme", "globex", "t0", "t1", "t2", "t3", "t4"] == seen
