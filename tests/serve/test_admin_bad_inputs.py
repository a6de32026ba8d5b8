"""Bad input to the administration API: a 4xx that names the field and what is allowed, and nothing was changed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.config import Config
from greenserve.serve.gateway import Gateway
from tests.serve.administering import Administered, administered, key_id_of

LONG = "x" * 201
NAN = b'{"tenant": "new", "rate_per_s": NaN}'
TENANTS, KEYS, BUDGETS = "/tenants", "/keys", "/budgets"
KEY = "/keys/{key}"
J = {"tenant": "acme", "limit": "1kJ"}

BAD: tuple[tuple[str, str, Any, int, str], ...] = (
    # Bodies that are none.
    ("POST", TENANTS, b"{", 422, "body: is no JSON"),
    ("POST", TENANTS, b"[]", 422, "body: "),
    ("POST", TENANTS, b'"x"', 422, "body: "),
    ("POST", TENANTS, b"", 422, "body: Field required"),
    ("POST", TENANTS, b"\xff\xfe", 422, "body"),
    ("POST", TENANTS, b"[" * 60_000, 422, "body"),
    ("POST", TENANTS, b" " * 70_000, 413, "65,536 bytes"),
    # Tenants.
    ("POST", TENANTS, {}, 422, "tenant: Field required"),
    ("POST", TENANTS, {"tenant": "acme"}, 409, "there is a tenant acme already"),
    ("POST", TENANTS, {"tenant": ""}, 422, "tenant: "),
    ("POST", TENANTS, {"tenant": "No Spaces"}, 422, "id 'No Spaces'"),
    ("POST", TENANTS, {"tenant": "../x"}, 422, "id '../x'"),
    ("POST", TENANTS, {"tenant": "_platform"}, 422, "id '_platform'"),
    ("POST", TENANTS, {"tenant": LONG}, 422, "tenant: "),
    ("POST", TENANTS, {"tenant": 5}, 422, "tenant: Input should be a valid string, got 5"),
    ("POST", TENANTS, {"tenant": None}, 422, "tenant: "),
    ("POST", TENANTS, {"tenant": "new", "naem": "x"}, 422, "naem: there is no such member"),
    ("POST", TENANTS, {"tenant": "new", "quality_floor": 1.5}, 422, "quality_floor: "),
    ("POST", TENANTS, {"tenant": "new", "quality_mean": "0.5"}, 422, "quality_mean: "),
    ("POST", TENANTS, {"tenant": "new", "policy": "greenest"}, 422, "'min-carbon', 'balanced' or 'min-latency'"),
    ("POST", TENANTS, {"tenant": "new", "exposure": "some"}, 422, "'off', 'rounded' or 'exact'"),
    ("POST", TENANTS, {"tenant": "new", "regions": []}, 422, "regions: "),
    ("POST", TENANTS, {"tenant": "new", "regions": "north"}, 422, "regions: "),
    ("POST", TENANTS, {"tenant": "new", "regions": ["mars"]}, 422, "regions: no region 'mars'; there are here, north"),
    ("POST", TENANTS, {"tenant": "new", "rate_per_s": 0}, 422, "rate_per_s: "),
    ("POST", TENANTS, {"tenant": "new", "rate_per_s": -1}, 422, "rate_per_s: "),
    ("POST", TENANTS, NAN, 422, "rate_per_s: Input should be a finite number"),
    ("POST", TENANTS, {"tenant": "new", "burst": 1.5}, 422, "burst: "),
    ("POST", TENANTS, {"tenant": "new", "burst": True}, 422, "burst: "),
    ("POST", TENANTS, {"tenant": "new", "concurrency": 10**30}, 422, "concurrency: "),
    ("POST", TENANTS, {"tenant": "new", "org": "A B"}, 422, "org 'A B'"),
    ("GET", "/tenants/nobody", None, 404, "there are acme, globex"),
    ("PATCH", "/tenants/nobody", {"burst": 1}, 404, "there are acme, globex"),
    ("PATCH", "/tenants/acme", {"name": None}, 422, "name: a tenant has one"),
    ("PATCH", "/tenants/acme", {"tenant": "other"}, 422, "tenant: there is no such member"),
    ("PATCH", "/tenants/acme", [], 422, "body: "),
    ("POST", "/tenants/nobody:close", None, 404, "there are acme, globex"),
    ("DELETE", "/tenants/acme", None, 405, "takes GET, PATCH, got DELETE"),
    ("PUT", TENANTS, {}, 405, "takes GET, POST, got PUT"),
    # Pages and filters.
    ("GET", "/tenants?limit=0", None, 422, "limit: "),
    ("GET", "/tenants?limit=201", None, 422, "limit: "),
    ("GET", "/tenants?limit=many", None, 422, "limit: "),
    ("GET", "/tenants?cursor=!!", None, 422, "cursor '!!'"),
    ("GET", "/tenants?cursor=WyJrZXlzIiwxXQ==", None, 422, "none of this list"),
    ("GET", "/audit?cursor=WyJhdWRpdCIsIDEuNV0=", None, 422, "none of this list"),
    ("GET", "/audit?cursor=WyJhdWRpdCIsIDk5OTk5OTk5OTk5OTk5OTk5OTldCg==", None, 422, "none of this list"),
    ("GET", "/tenants?state=ajar", None, 422, "state: "),
    ("GET", "/keys?tenant=nobody", None, 404, "there are acme, globex"),
    ("GET", "/budgets?tenant=nobody", None, 404, "there are acme, globex"),
    ("GET", "/audit?kind=usage", None, 422, "kind: "),
    # Keys.
    ("POST", KEYS, {"kind": "admin", "tenant": "acme"}, 422, "tenant: an inference key belongs to a tenant"),
    ("POST", KEYS, {}, 422, "tenant: an inference key belongs to a tenant"),
    ("POST", KEYS, {"tenant": "nobody"}, 404, "there are acme, globex"),
    ("POST", KEYS, {"tenant": "acme", "kind": "root"}, 422, "kind: "),
    ("POST", KEYS, {"tenant": "acme", "models": ["gpt"]}, 422, "models: no model 'gpt'; there are tiny"),
    ("POST", KEYS, {"tenant": "acme", "models": []}, 422, "models: "),
    ("POST", KEYS, {"tenant": "acme", "paths": ["/admin/v1"]}, 422, "path '/admin/v1'"),
    ("POST", KEYS, {"kind": "admin", "paths": ["/v2"]}, 422, "path '/v2'"),
    ("POST", KEYS, {"kind": "admin", "burst": 3}, 422, "an admin key cannot infer"),
    ("POST", KEYS, {"tenant": "acme", "expires": "soon"}, 422, "expires: 'soon' is no time"),
    ("POST", KEYS, {"tenant": "acme", "expires": "2020-01-01"}, 422, "would have expired at 2020-01-01"),
    ("POST", KEYS, {"tenant": "acme", "expires": "2030-01-01T00:00"}, 422, "expires: "),
    ("POST", KEYS, {"tenant": "acme", "expires": "99999999d"}, 422, "expires: up to 36600d"),
    ("POST", KEYS, {"tenant": "acme", "expires": "0001-01-01"}, 422, "expires: "),
    ("POST", KEYS, {"tenant": "acme", "expires": "-5d"}, 422, "expires: "),
    ("POST", KEYS, {"tenant": "acme", "project": "two words"}, 422, "project 'two words'"),
    ("GET", "/keys/nothing", None, 404, "no key has the id 'nothing'"),
    ("PATCH", KEY, {"kind": "admin"}, 422, "kind: there is no such member"),
    ("PATCH", KEY, {"key": "gs_x"}, 422, "key: there is no such member"),
    ("PATCH", "/keys/nothing", {"burst": 1}, 404, "no key has the id"),
    ("POST", "/keys/nothing:rotate", None, 404, "no key has the id"),
    ("POST", "/keys/nothing:revoke", None, 404, "no key has the id"),
    ("POST", f"{KEY}:rotate", {"overlap": "a while"}, 422, "overlap: "),
    ("POST", f"{KEY}:rotate", {"overlap": "5"}, 422, "overlap: 5 has no unit"),
    ("POST", f"{KEY}:rotate", {"overlap": 5}, 422, "overlap: "),
    ("POST", f"{KEY}:explode", None, 405, "takes GET, PATCH, got POST"),
    # Budgets.
    ("POST", BUDGETS, {"tenant": "acme"}, 422, "limit: Field required"),
    ("POST", BUDGETS, {"limit": "1kJ"}, 422, "got none of them"),
    ("POST", BUDGETS, J | {"org": "x"}, 422, "got tenant, org"),
    ("POST", BUDGETS, J | {"limit": "much"}, 422, "limit: 'much' is no limit"),
    ("POST", BUDGETS, J | {"limit": "0J"}, 422, "limit: '0J'"),
    ("POST", BUDGETS, J | {"limit": "0.5requests"}, 422, "limit: '0.5requests'"),
    ("POST", BUDGETS, J | {"limit": 5}, 422, "limit: "),
    ("POST", BUDGETS, J | {"per": "fortnight"}, 422, "per, time_zone: 'fortnight' is no window"),
    ("POST", BUDGETS, J | {"per": "rolling:1m"}, 422, "per, time_zone: "),
    ("POST", BUDGETS, J | {"time_zone": "Mars/Olympus"}, 422, "per, time_zone: 'Mars/Olympus'"),
    ("POST", BUDGETS, J | {"time_zone": "../../etc/passwd"}, 422, "per, time_zone: "),
    ("POST", BUDGETS, J | {"mode": "shout"}, 422, "mode: "),
    ("POST", BUDGETS, J | {"at_pct": 0}, 422, "at_pct: "),
    ("POST", BUDGETS, J | {"model": "gpt"}, 422, "model: no model 'gpt'; there are tiny"),
    ("POST", BUDGETS, J | {"project": "none"}, 404, "no project 'none'"),
    ("POST", BUDGETS, J | {"key_id": "none"}, 404, "has no key 'none'"),
    ("POST", BUDGETS, J | {"tenant": "nobody"}, 404, "no tenant 'nobody'"),
    ("POST", BUDGETS, {"org": "nobody", "limit": "1J"}, 404, "no org 'nobody'"),
    ("POST", BUDGETS, J | {"budget": "a b"}, 422, "budget: "),
    ("POST", BUDGETS, J | {"budget": "globex.j.day"}, 422, "is a budget of globex"),
    ("GET", "/budgets/nothing", None, 404, "no budget has the id 'nothing'"),
    ("DELETE", "/budgets/nothing", None, 404, "no budget has the id 'nothing'"),
    ("PATCH", "/budgets/globex.j.day", {"limit": None}, 422, "limit: a budget has one"),
    ("PATCH", "/budgets/globex.j.day", {"limit": "5requests"}, 422, "limit: globex.j.day counts J, got requests"),
    ("PATCH", "/budgets/globex.j.day", {"per": "week"}, 422, "per: there is no such member"),
    ("POST", "/budgets/globex.j.day:raise", {}, 422, "amount: Field required"),
    ("POST", "/budgets/globex.j.day:raise", {"amount": "1gCO2e"}, 422, "amount: globex.j.day counts J, got gCO2e"),
    ("POST", "/budgets/globex.j.day:raise", {"amount": "9007199254J"}, 422, "a raise adds 1 or more"),
    ("POST", "/budgets/globex.j.day:raise", {"amount": "1J", "until": "2020-01-01"}, 422, "would have ended"),
    # Usage, statements, routes, ledger, models.
    ("GET", "/usage?by=colour", None, 422, "by: 'colour' is no grouping"),
    ("GET", "/usage?by=project,model", None, 422, "by: projects are summed"),
    ("GET", "/usage?from=yesterday", None, 422, "from: 'yesterday' is no time"),
    ("GET", "/usage?to=2026-01-01T00:30Z", None, 422, "to: sums are kept per hour"),
    ("GET", "/usage?from=2026-01-02&to=2026-01-01", None, 422, "from, to: a period"),
    ("GET", "/usage?from=2020-01-01&to=2026-01-01", None, 422, "up to 400 days"),
    ("GET", "/usage?by=project&from=2026-01-01T05:00Z&to=2026-01-02", None, 422, "kept per UTC day"),
    ("GET", "/usage?tenant=nobody", None, 404, "no tenant 'nobody'"),
    ("POST", "/statements", {"tenant": "nobody"}, 404, "no tenant 'nobody'"),
    ("POST", "/statements", {"tenant": "acme", "period": "2026-13"}, 422, "period '2026-13'"),
    ("POST", "/statements", {"tenant": "acme", "period": "9999"}, 422, "period '9999'"),
    ("POST", "/statements", {"tenant": "acme", "period": "2026-02-30"}, 422, "period '2026-02-30'"),
    ("POST", "/statements", {"tenant": "acme"}, 422, "period: the ledger holds no request"),
    ("GET", "/statements/none", None, 404, "no statement has the id 'none'"),
    (
        "GET",
        "/statements/none?format=pdf",
        None,
        422,
        "format: Input should be 'json', 'csv', 'html', 'focus' or 'boamps'",
    ),
    ("POST", "/routes:explain", {"model": "gpt"}, 422, "model: no model 'gpt'"),
    ("POST", "/routes:explain", {"tenant": "nobody"}, 404, "no tenant 'nobody'"),
    ("POST", "/routes:explain", {"variant": "int4"}, 422, "variant: no variant 'int4' of tiny"),
    ("POST", "/routes:explain", {"regions": ["mars"]}, 422, "regions: no region 'mars'"),
    ("POST", "/routes:explain", {"tokens": 0}, 422, "tokens: "),
    ("POST", "/routes:explain", {"p95_ms": 0}, 422, "p95_ms: "),
    ("POST", "/routes:explain", {"intensity_gco2e_per_kwh": [1, -1]}, 422, "intensity_gco2e_per_kwh.1: "),
    ("POST", "/routes:explain", {"min_quality": 2}, 422, "min_quality: "),
    ("GET", "/ledger/entries/-1", None, 422, "index: "),
    ("GET", "/ledger/entries/one", None, 422, "index: "),
    ("GET", "/ledger/entries/999", None, 404, "the ledger has no entry 999; it has 5"),
    ("GET", f"/ledger/entries/{2**63}", None, 422, "index: "),
    ("POST", "/ledger/verify", {"against": "5"}, 422, "against: "),
    ("GET", "/ledger/verify", None, 405, "takes POST, got GET"),
    ("GET", "/models/gpt", None, 404, "no model 'gpt'"),
    ("POST", "/models/gpt:reload", None, 404, "no model 'gpt'"),
    ("GET", "/nothing", None, 404, "no path /admin/v1/nothing"),
    ("GET", "/tenants/", None, 404, "no path /admin/v1/tenants/"),
    ("GET", "/docs", None, 404, "no path /admin/v1/docs"),
)


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway, with a budget of globex's."""
    async with administered(gateway, config, tmp_path) as running:
        await running.ask("POST", "/admin/v1/budgets", {"tenant": "globex", "limit": "1kJ", "per": "day"})
        yield running


async def test_every_bad_input_is_refused_with_its_field(api: Administered) -> None:
    """The status, a code and words that say where and what is allowed; the ledger stays as it was."""
    before = api.ledger.head()
    wrong = []

    for method, path, body, status, words in BAD:
        headers = {"content_type": "application/json"} if isinstance(body, bytes) else {}
        where = f"/admin/v1{path.format(key=key_id_of(api.acme_key))}"
        answer = await api.ask(method, where, body, **headers)
        if (answer.status_code, words in answer.json()["detail"]) != (status, True):
            wrong.append(f"{method} {path} {body!r:.60}: {status} {words!r}, got {answer.status_code} {answer.text}")
        if answer.status_code == 405:
            assert answer.headers["allow"]

    assert [] == wrong
    assert before == api.ledger.head()
    assert len(BAD) >= 60


@pytest.mark.parametrize("tag", ['"r7"', '"other"', 'W/"r0"'])
async def test_an_etag_that_does_not_match_is_412(tag: str, api: Administered) -> None:
    """Weak ones never match: a change is made for exactly what was read."""
    refused = await api.ask("PATCH", "/admin/v1/tenants/acme", {"burst": 1}, if_match=tag)

    assert (412, "revision-conflict") == (refused.status_code, refused.json()["code"])


@pytest.mark.parametrize("tag", ["r0", "0", "", '"r0", "r1"', '"r0'])
async def test_what_is_no_etag_is_422(tag: str, api: Administered) -> None:
    """It names the header."""
    refused = await api.ask("PATCH", "/admin/v1/tenants/acme", {"burst": 1}, if_match=tag)

    assert (422, True) == (refused.status_code, "If-Match" in refused.json()["detail"])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_body_of_another_type_is_415(kind: str, api: Administered) -> None:
    """JSON alone is read: a form on a web page cannot send it."""
    refused = await api.ask("POST", "/admin/v1/tenants", b'{"tenant": "new"}', content_type=kind)

    assert (415, "unsupported-encoding") == (refused.status_code, refused.json()["code"])


async def test_many_faults_are_told_together(api: Administered) -> None:
    """Each with its field, as a list for programs too."""
    refused = await api.ask("POST", "/admin/v1/tenants", {"tenant": "new", "burst": 0, "quality_floor": 2})

    assert ["quality_floor", "burst"] == [one["field"] for one in refused.json()["errors"]]
