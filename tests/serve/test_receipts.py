"""Receipts: what a request cost, for the tenant whose it was and for nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.row import uuid_text
from greenserve.config import Config
from greenserve.ids import new_request_id
from greenserve.serve.gateway import Gateway
from tests.serve.administering import Administered, administered

OLD = "018bcfe5-6800-7000-8000-000000000000"
LONG_AGO_US = 1_700_000_000_000_000


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


async def receipt(api: Administered, request_id: str) -> Any:
    """The receipt that acme gets, which is there."""
    answer = await api.ask("GET", f"/v1/receipts/{request_id}", key=api.acme_key)
    assert 200 == answer.status_code, answer.text
    return answer.json()


async def test_a_settled_receipt_is_the_ledger_s_last_word(api: Administered) -> None:
    """Energy by part with tier and range, emissions, factors and method, each in its unit, exact."""
    told = await receipt(api, api.record(project="web"))

    assert {
        "energy_joules": "0.061903",
        "energy_low_joules": "0.040000",
        "energy_high_joules": "0.084000",
        "active_joules": "0.054603",
        "held_joules": "0.003000",
        "host_joules": "0.004300",
        "idle_joules": None,
        "overhead_joules": None,
        "alone_joules": None,
        "facility_joules": "0.068093",
        "tier": "modelled",
    } == told["energy"]
    assert [("cpu", "0.061903", "modelled")] == [
        (device["device"], device["energy_joules"], device["tier"]) for device in told["devices"]
    ]
    assert ("0.000000757", None) == (told["carbon"]["loc_lifecycle_gco2e"], told["carbon"]["loc_direct_gco2e"])
    grid, pue = told["factors"]
    assert ("ZZ-NORTH", "40.000", "annual", "lifecycle") == tuple(
        grid[name] for name in ("zone", "gco2e_per_kwh", "origin", "basis")
    )
    assert ("PUE", "1.100") == (pue["factor"], pue["pue"])
    assert ("settled", "M2", "acme", "web", False) == tuple(
        told[name] for name in ("state", "method", "tenant", "project", "rounded")
    )


async def test_what_is_null_has_a_reason(api: Administered) -> None:
    """Unknown is never zero, and never without a word why."""
    for changes in ({}, {"unmetered": True}, {"intensity": None}):
        told = await receipt(api, api.record(**changes))
        figures = told["energy"] | told["carbon"]
        unknown = {name for name, value in figures.items() if value is None}
        unknown -= {name for name in unknown if name.startswith(("energy_", "active", "held", "host", "facility"))}

        assert unknown <= told["unknown_reasons"].keys()
        assert ("unmetered" in changes) == (told["energy"]["tier"] == "unknown")
        assert ("unmetered" in changes) == ("energy_joules" in told["unknown_reasons"])


async def test_a_receipt_goes_from_provisional_to_settled(api: Administered) -> None:
    """The history keeps both, with their places in the ledger."""
    first = await receipt(api, api.record(settled=False))
    both = await receipt(api, api.record())

    assert ("provisional", [0]) == (first["state"], [step["revision"] for step in first["history"]])
    assert ["provisional", "settled"] == [step["state"] for step in both["history"]]
    assert both["proof"]["index"] == both["history"][-1]["index"]


async def test_the_proof_is_the_row_of_the_ledger(api: Administered) -> None:
    """The leaf's hash in the tree is that of the row, with the salt that the receipt gives."""
    told = await receipt(api, api.record())
    rows = list(api.ledger.rows())

    row = rows[told["proof"]["index"]]
    assert row.body is not None
    assert told["proof"]["leaf_hash"] == leaf_hash(bytes.fromhex(told["proof"]["salt"]), row.body).hex()
    assert told["request_id"] == uuid_text(row.key)


async def test_a_provisional_receipt_says_no_more_than_the_headers(api: Administered) -> None:
    """A tenant whose figures are rounded sees two digits and no range until the request is settled."""
    api.store.update_tenant("acme", {"exposure": "rounded"})
    api.know()

    early = await receipt(api, api.record(settled=False))
    late = await receipt(api, api.record())

    assert ("0.062000", None, "0.055000", True) == (
        early["energy"]["energy_joules"],
        early["energy"]["energy_low_joules"],
        early["energy"]["active_joules"],
        early["rounded"],
    )
    assert ("0.000000760", "0.062000") == (
        early["carbon"]["loc_lifecycle_gco2e"],
        early["history"][0]["energy_joules"],
    )
    assert ("0.061903", "0.040000", False) == (
        late["energy"]["energy_joules"],
        late["energy"]["energy_low_joules"],
        late["rounded"],
    )
    assert ["0.062000", "0.061903"] == [step["energy_joules"] for step in late["history"]]


async def test_another_tenant_s_receipt_looks_like_none(api: Administered) -> None:
    """Word for word what an id says that nobody has, young or old; so for lines that are charged to nobody."""
    ids = [api.record(tenant="globex"), new_request_id(), api.record(charged=False)]
    old = [api.record(request_id=OLD, tenant="globex", ended_us=LONG_AGO_US), OLD[:-1] + "1"]

    young = [await api.ask("GET", f"/v1/receipts/{one}", key=api.acme_key) for one in ids]
    aged = [await api.ask("GET", f"/v1/receipts/{one}", key=api.acme_key) for one in old]

    for answers, asked, state, wait in ((young, ids, "pending", "1"), (aged, old, "unknown", None)):
        assert {404} == {one.status_code for one in answers}
        assert {state} == {one.json()["state"] for one in answers}
        assert {wait} == {one.headers.get("retry-after") for one in answers}
        assert 1 == len({one.json()["detail"].replace(name, "") for one, name in zip(answers, asked, strict=True)})


async def test_a_tenant_without_exposure_gets_no_receipts(api: Administered) -> None:
    """403, whatever the id: figures are withheld on every way."""
    mine = api.record()
    api.store.update_tenant("acme", {"exposure": "off"})
    api.know()

    refused = [await api.ask("GET", f"/v1/receipts/{one}", key=api.acme_key) for one in (mine, new_request_id())]

    assert [(403, "key-blocked")] * 2 == [(one.status_code, one.json()["code"]) for one in refused]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/receipts", 422, "id: receipts are asked for one by one"),
        ("GET", "/v1/receipts/", 422, "id: "),
        ("GET", "/v1/receipts/5", 422, "'5' is no request's id"),
        ("GET", "/v1/receipts/00000000-0000-4000-8000-000000000000", 422, "UUID of version 7"),
        ("GET", "/v1/receipts/{018bcfe568007000800000000000000}", 422, "UUID of version 7"),
        ("GET", "/v1/receipts/ffffffff-ffff-7fff-bfff-ffffffffffff", 404, "no receipt"),
        ("GET", f"/v1/receipts/{OLD}/proof", 404, "no path"),
        ("POST", f"/v1/receipts/{OLD}", 405, "takes GET, HEAD, got POST"),
        ("DELETE", f"/v1/receipts/{OLD}", 405, "takes GET, HEAD, got DELETE"),
    ],
)
async def test_a_bad_question_for_a_receipt_is_told(
    method: str, path: str, status: int, words: str, api: Administered
) -> None:
    """Which id, and where to find one."""
    answer = await api.ask(method, path, key=api.acme_key)

    assert (status, True) == (answer.status_code, words in answer.json()["detail"])


async def test_receipts_are_for_a_tenant_s_key(api: Administered) -> None:
    """An admin key is 403, no good key 401, a key whose scope leaves receipts out 403."""
    narrow = await api.ask("POST", "/admin/v1/keys", {"tenant": "acme", "paths": ["/v2"]})
    api.know()
    request_id = api.record()

    answers = [
        await api.ask("GET", f"/v1/receipts/{request_id}", key=key)
        for key in (api.admin_key, "gs_no-key", narrow.json()["key"])
    ]

    assert [403, 401, 403] == [one.status_code for one in answers]


async def test_head_is_get_without_a_body(api: Administered) -> None:
    """For those who wait until a receipt is there."""
    answer = await api.ask("HEAD", f"/v1/receipts/{api.record()}", key=api.acme_key)

    assert (200, b"", True) == (answer.status_code, answer.content, int(answer.headers["content-length"]) > 500)
