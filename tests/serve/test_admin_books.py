"""Regions, factors, explanations, the ledger, the audit log and models over the administration API."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenserve.canonical import ledger_json
from greenserve.carbon.ledger.notes import Verifier
from greenserve.config import Config
from greenserve.errors import ReloadFailed
from greenserve.serve.gateway import Gateway
from tests.serve.administering import Administered, administered


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


async def test_regions_show_the_intensity_in_force_with_age_and_origin(api: Administered) -> None:
    """And that a region is emulated."""
    here, north = (await api.get("regions"))["items"]

    assert ("here", True, False, "1.500", "400.000", "annual") == (
        here["region"],
        here["home"],
        here["emulated"],
        here["pue"],
        here["intensity"]["gco2e_per_kwh"],
        here["intensity"]["origin"],
    )
    assert ("north", False, True) == tuple(north[name] for name in ("region", "home", "emulated"))
    assert here["intensity"]["age_s"] > 0


async def test_factors_name_their_source_and_method(api: Administered) -> None:
    """Every constant behind a figure, page by page."""
    items = (await api.get("factors"))["items"]
    paged = await api.get("factors", limit=3)
    rest = await api.get("factors", limit=200, cursor=paged["next_cursor"])

    values = {(one["factor"], one["subject"]): (one["value"], one["unit"]) for one in items}
    assert ("40.000", "gCO2e/kWh") == values["grid intensity", "ZZ-NORTH"]
    assert ("1.100", "1") == values["PUE", "north"]
    assert ("820.000", "gCO2e/kWh") == values["assumed intensity", None]
    assert ("40", "%") == values["half width", "annual grid"]
    assert all(one["source"] and one["method"] == "M2" for one in items)
    assert items == paged["items"] + rest["items"]


async def test_an_explanation_names_every_candidate(api: Administered) -> None:
    """On the grid as it is, and on others; a tenant's own floor narrows."""
    api.store.update_tenant("acme", {"quality_floor": 0.88})

    plain = (await api.ask("POST", "/admin/v1/routes:explain", {"tokens": 12})).json()
    floored = (await api.ask("POST", "/admin/v1/routes:explain", {"tenant": "acme"})).json()
    grids = (await api.ask("POST", "/admin/v1/routes:explain", {"intensity_gco2e_per_kwh": [0, 900.5]})).json()
    pinned = (await api.ask("POST", "/admin/v1/routes:explain", {"variant": "fp32", "regions": ["here"]})).json()

    assert (6, "north/static-8-int8", 16) == (
        len(plain["grids"][0]["candidates"]),
        plain["grids"][0]["picked"],
        plain["padded_tokens"],
    )
    assert "north/fp32" == floored["grids"][0]["picked"]
    assert "here/fp32" == pinned["grids"][0]["picked"]
    assert ["0.000", "900.500"] == [grid["intensity"]["ZZ-HERE"]["gco2e_per_kwh"] for grid in grids["grids"]]
    assert all(one["tier"] for one in plain["grids"][0]["candidates"])


async def test_a_request_that_nothing_can_answer_is_explained_too(api: Administered) -> None:
    """The refusal and each candidate's verdict, instead of an error."""
    told = await api.ask("POST", "/admin/v1/routes:explain", {"min_quality": 1.0})

    grid = told.json()["grids"][0]
    assert (200, None, True) == (told.status_code, grid["picked"], bool(grid["refusal"]))


async def test_an_entry_is_a_leaf_of_the_tree(api: Administered) -> None:
    """Whoever has the body and the salt derives the leaf's hash again."""
    api.record()
    size = api.ledger.head().size

    last = (await api.ask("GET", f"/admin/v1/ledger/entries/{size - 1}")).json()

    body = ledger_json(last["body"])
    assert hashlib.sha256(b"\0" + bytes.fromhex(last["salt"]) + body).hexdigest() == last["leaf_hash"]
    assert hashlib.sha256(body).hexdigest() == last["body_sha256"]


async def test_a_checkpoint_kept_earlier_verifies(api: Administered) -> None:
    """And finds what was changed since; it is signed, and says by which key."""
    kept = await api.get("ledger/checkpoint")
    api.record(settled=False)

    good = (await api.ask("POST", "/admin/v1/ledger/verify", {"against": kept["head"]})).json()
    changed = (await api.ask("POST", "/admin/v1/ledger/verify", {"against": f"{kept['size']}:{'ab' * 32}"})).json()
    cut = (await api.ask("POST", "/admin/v1/ledger/verify", {"against": f"999:{'ab' * 32}"})).json()

    assert (True, 0) == (kept["signed"], kept["provisional_requests"])
    assert Verifier.parse(kept["verifier_keys"][0]).check(kept["note"]) is not None
    assert (True, [], kept["size"] + 1) == (good["verified"], good["findings"], good["size"])
    assert (False, True) == (changed["verified"], "was changed" in changed["findings"][0])
    assert (False, True) == (cut["verified"], "tail was cut" in cut["findings"][0])


async def test_the_audit_shows_every_change_newest_first(api: Administered) -> None:
    """Tenants, keys and budgets, with what was true from then on and who made it; never a secret."""
    await api.ask("POST", "/admin/v1/budgets", {"tenant": "acme", "limit": "1kJ"})
    await api.ask("POST", "/admin/v1/tenants/globex:close")
    api.record()

    items = (await api.get("audit"))["items"]
    first = await api.get("audit", limit=2)
    second = await api.get("audit", limit=2, cursor=first["next_cursor"])

    assert [("tenant", "globex"), ("budget", "acme.j.month")] == [
        (one["kind"], one["subject"]) for one in first["items"]
    ]
    assert (True, 1_000_000_000) == (items[0]["change"]["closed"], items[1]["change"]["limit"])
    assert 6 == len(items)
    admins = {f"key:{one['key_id']}" for one in (await api.get("keys", kind="admin"))["items"]}
    assert items[0]["actor"] in admins
    assert {items[0]["actor"]} == {one["actor"] for one in items[:2]}
    assert {None} == {one["actor"] for one in items[2:]}
    assert items[:4] == first["items"] + second["items"]
    assert all("hmac" not in one["change"] for one in items)
    assert {"key"} == {one["kind"] for one in (await api.get("audit", kind="key"))["items"]}
    assert {"globex"} == {one["subject"] for one in (await api.get("audit", tenant="globex"))["items"]}


async def test_models_are_listed_with_what_was_left_out(api: Administered) -> None:
    """Each variant with its proven quality and the evidence of its energy."""
    (tiny,) = (await api.get("models"))["items"]

    assert ("tiny", "int8-dyn", 0.6) == tuple(tiny[name] for name in ("model", "recommended", "quality_floor"))
    assert ["fp32", "int8-dyn", "static-8-int8"] == [one["variant"] for one in tiny["variants"]]
    assert all(one["tier"] for one in tiny["variants"])
    assert [] == tiny["left_out"]
    assert tiny == await api.get("models/tiny")


async def test_a_reload_is_whoever_s_that_can(gateway: Gateway, config: Config, tmp_path: Path) -> None:
    """501 where nobody can; its error is the answer's."""
    asked: list[str] = []

    async def reload(model: str) -> dict[str, object]:
        asked.append(model)
        if len(asked) > 1:
            raise ReloadFailed("model.onnx was changed; the old one serves on")
        return {"replicas": 2}

    async with administered(gateway, config, tmp_path, reload=reload) as api:
        done = await api.ask("POST", "/admin/v1/models/tiny:reload")
        failed = await api.ask("POST", "/admin/v1/models/tiny:reload")
        nobody = await api.ask("POST", "/admin/v1/models/other:reload")

    assert (200, {"model": "tiny", "result": {"replicas": 2}}) == (done.status_code, done.json())
    assert (409, "reload-failed") == (failed.status_code, failed.json()["code"])
    assert (404, ["tiny", "tiny"]) == (nobody.status_code, asked)


async def test_without_a_hook_nothing_is_reloaded(api: Administered) -> None:
    """It says what to do instead."""
    refused = await api.ask("POST", "/admin/v1/models/tiny:reload")

    assert (501, "not-implemented") == (refused.status_code, refused.json()["code"])
