"""The administration API and receipts on the running gateway: a change holds on every replica within a second."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from greenserve.carbon.tenancy import KeyRules
from tests.end_to_end.protocols import OverHttp
from tests.gateway_process import GatewayProcess, wait_until

INFER = "/v2/models/tiny/infer"
QUESTION = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good day"]}]}
KNOWN_S, SETTLED_S = 10.0, 30.0
Call = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def admin(gateway: GatewayProcess) -> Iterator[Call]:
    """Calls the API with an admin key that both replicas know."""
    with gateway.tenancy() as store:
        text, _ = store.create_key(None, label="end to end", rules=KeyRules(kind="admin"))
    with httpx.Client(base_url=gateway.url, timeout=30.0) as client:

        def call(method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
            told = {"authorization": f"Bearer {text}"} | headers
            return client.request(method, f"/admin/v1/{path}", headers=told, json=body)

        assert wait_until(
            lambda: all(call("GET", "tenants", connection="close").status_code == 200 for _ in range(8)), KNOWN_S
        )
        yield call


def infer(http: OverHttp, key: str, **headers: str) -> httpx.Response:
    """The answer to a question with a key."""
    return http.http.post(INFER, json=QUESTION, headers={"authorization": f"Bearer {key}"} | headers)


def everywhere(http: OverHttp, key: str, status: int) -> bool:
    """Whether one new connection after the other is answered with a status: they reach either replica."""
    return wait_until(
        lambda: all(infer(http, key, connection="close").status_code == status for _ in range(8)), KNOWN_S
    )


def test_a_tenant_made_over_http_infers_and_gets_its_receipt(admin: Call, http: OverHttp) -> None:
    """Tenant, key, answer, receipt: provisional at first, settled from the meter, with the evidence named."""
    assert 201 == admin("POST", "tenants", {"tenant": "visitor", "exposure": "exact"}).status_code
    key = admin("POST", "keys", {"tenant": "visitor"}).json()["key"]
    assert everywhere(http, key, 200)
    answer = infer(http, key)
    path = answer.headers["greenserve-receipt"].split('"')[1]
    headers = {"authorization": f"Bearer {key}"}

    def state() -> str:
        got = http.http.get(path, headers=headers)
        assert got.status_code == 200 or got.json()["state"] == "pending"
        return str(got.json()["state"])

    assert wait_until(lambda: state() == "settled", SETTLED_S)
    receipt = http.http.get(path, headers=headers).json()
    steps = [step["state"] for step in receipt["history"]]
    assert (["provisional", "settled"], "visitor", "tiny") == (steps, receipt["tenant"], receipt["model"])
    assert receipt["energy"]["tier"] in {"modelled", "class_average", "measured"}
    assert answer.headers["greenserve-energy-joules"] == receipt["history"][0]["energy_joules"]


def test_another_tenant_cannot_read_the_receipt(admin: Call, http: OverHttp, keys: dict[str, str]) -> None:
    """404, as for an id that nobody has."""
    path = infer(http, keys["acme"]).headers["greenserve-receipt"].split('"')[1]

    refused = http.http.get(path, headers={"authorization": f"Bearer {keys['globex']}"})

    assert (404, "not-found") == (refused.status_code, refused.json()["code"])


def test_a_revoked_key_stops_on_every_replica(admin: Call, http: OverHttp) -> None:
    """Within a second, whichever replica a connection reaches."""
    made = admin("POST", "keys", {"tenant": "globex"}).json()
    assert everywhere(http, made["key"], 200)

    assert 200 == admin("POST", f"keys/{made['key_id']}:revoke").status_code

    assert everywhere(http, made["key"], 401)


def test_usage_regions_models_and_audit_answer(admin: Call, http: OverHttp, keys: dict[str, str]) -> None:
    """From whichever replica: they read one ledger."""
    assert 200 == infer(http, keys["acme"]).status_code
    assert wait_until(lambda: bool(admin("GET", "usage?tenant=acme&by=variant").json()["items"]), KNOWN_S)

    (line, *_) = admin("GET", "usage?tenant=acme&by=variant").json()["items"]
    assert float(line["energy_joules"]) > 0
    assert line["tier"] != "unknown"
    assert ["here", "north"] == [one["region"] for one in admin("GET", "regions").json()["items"]]
    assert ["tiny"] == [one["model"] for one in admin("GET", "models").json()["items"]]
    assert {"tenant", "key"} <= {one["kind"] for one in admin("GET", "audit?limit=200").json()["items"]}
    assert "north/" in admin("POST", "routes:explain", {}).json()["grids"][0]["picked"]


def test_a_model_is_loaded_again_on_all_replicas(admin: Call, http: OverHttp, keys: dict[str, str]) -> None:
    """The driver leads them; answers go on."""
    done = admin("POST", "models/tiny:reload")

    assert 200 == done.status_code, done.text
    assert 2 == done.json()["result"]["models"][0]["replicas"]
    assert 200 == infer(http, keys["acme"]).status_code


def test_a_statement_and_a_verification_of_the_live_ledger(admin: Call) -> None:
    """Folded by a process beside the gateway, while its writer goes on."""
    made = admin("POST", "statements", {"tenant": "acme", "period": "today"})
    verified = admin("POST", "ledger/verify", {})

    assert 201 == made.status_code, made.text
    assert (True, []) == (verified.json()["verified"], verified.json()["findings"])


def test_inference_keys_do_not_administer(http: OverHttp, keys: dict[str, str]) -> None:
    """403 with the code that says why; without a key 401."""
    tenant = http.http.get("/admin/v1/tenants", headers={"authorization": f"Bearer {keys['acme']}"})
    nobody = http.http.get("/admin/v1/tenants")

    assert [(403, "key-blocked"), (401, "invalid-key")] == [
        (one.status_code, one.json()["code"]) for one in (tenant, nobody)
    ]
