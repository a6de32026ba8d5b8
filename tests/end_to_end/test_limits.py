"""Rates, budgets, revoked keys and deadlines, as a client meets them."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.end_to_end.protocols import Ask, Client, OverGrpc, Told, message_of
from tests.end_to_end.scenarios import CHEAPEST
from tests.gateway_process import GatewayProcess, wait_until

Asking = Callable[[Client, Ask], Told]
FRESH = {"greenserve-cache": "no-store"}
EXHAUSTED = {"http": 429, "grpc": "RESOURCE_EXHAUSTED"}


def test_a_tenant_over_its_rate_is_told_when_to_come_back(client: Client, ask: Asking) -> None:
    """After its burst every replica refuses with the seconds to wait; another tenant is served."""
    told = [ask(client, Ask(caller="paced")) for _ in range(12)]

    refused = [one for one in told if one.code != "ok"]
    assert refused
    assert {("rate-limited", EXHAUSTED[client.name])} == {(one.code, one.status) for one in refused}
    assert all(1 <= int(one.headers["retry-after"]) <= 12 for one in refused)
    assert "0.5/s" in refused[0].message
    assert "ok" == ask(client, Ask()).code


def test_a_budget_degrades_then_refuses(client: Client, ask: Asking) -> None:
    """Near its limit the tenant gets cheaper answers for the reason `budget`; at it, a refusal that says when it
    renews, and what is used, so that nobody has to guess."""
    question = Ask(caller=f"fading-{client.name}", hints=FRESH)
    told: list[Told] = []
    for _ in range(2_000):
        told.append(ask(client, question))
        if told[-1].code != "ok":
            break

    answers, refusal = told[:-1], told[-1]
    asked_for_cheaper = [one.parameters["greenserve_reason"] == "budget" for one in answers]
    variants = [one.parameters["greenserve_variant"] for one in answers]
    assert sorted(asked_for_cheaper) == asked_for_cheaper
    assert {"fp32", "int8-dyn"} & set(variants[: asked_for_cheaper.index(True)])
    assert {CHEAPEST} == set(variants[-10:])
    assert ("budget-exhausted", EXHAUSTED[client.name]) == (refusal.code, refusal.status)
    assert int(refusal.headers["retry-after"]) >= 1
    assert "200 ugCO2e" in refusal.message


def test_a_closed_tenant_is_refused_like_a_revoked_key(client: Client, ask: Asking, gateway: GatewayProcess) -> None:
    """Its keys stop working within two seconds, as a matter of the key, not as a fault of ours."""
    caller = f"closed-{client.name}"
    assert "ok" == ask(client, Ask(caller=caller)).code
    closed = gateway.run("tenant", "close", caller, "--yes", "--json")
    assert 0 == closed.returncode, closed.stderr

    assert wait_until(lambda: ask(client, Ask(caller=caller)).code == "invalid-key", 2.0)


def test_a_revoked_key_stops_working_within_two_seconds(
    client: Client, ask: Asking, gateway: GatewayProcess, keys: dict[str, str]
) -> None:
    """On every replica, while the tenant's other keys go on working."""
    caller = f"leaked-{client.name}"
    with gateway.tenancy() as store:
        keys["other"] = store.create_key(caller)[0]
    assert "ok" == ask(client, Ask(caller=caller)).code
    revoked = gateway.run("key", "revoke", keys[caller], "--yes", "--json")
    assert 0 == revoked.returncode, revoked.stderr

    def refused() -> bool:
        return {"invalid-key"} == {fresh_connection(gateway, keys[caller]) for _ in range(8)}

    assert wait_until(refused, 2.0)
    assert "was revoked" in client.ask(Ask(), keys[caller]).message
    assert wait_until(lambda: client.ask(Ask(), keys["other"]).code == "ok", 2.0)


def fresh_connection(gateway: GatewayProcess, key: str) -> str:
    """The code of an answer over a connection of its own: the kernel spreads those over the replicas."""
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
    answer = httpx.post(
        f"{gateway.url}/v2/models/tiny/infer", json=body, headers={"authorization": f"Bearer {key}"}, trust_env=False
    )
    document: dict[str, Any] = json.loads(answer.content)
    return str(document.get("code", "ok"))


def test_the_deadline_of_a_grpc_client_counts(grpc: OverGrpc, keys: dict[str, str]) -> None:
    """A client that gives no time gets DEADLINE_EXCEEDED, and the gateway goes on."""
    metadata = {"authorization": f"Bearer {keys['acme']}"} | FRESH

    said = grpc.infer(message_of(Ask(variant="fp32")), metadata, timeout_s=0.0005)

    assert "DEADLINE_EXCEEDED" == said.status
    assert "ok" == grpc.infer(message_of(Ask()), metadata).code


@pytest.mark.parametrize("deadline_ms", ["1", "5"])
def test_a_deadline_is_kept_or_refused(deadline_ms: str, client: Client, ask: Asking) -> None:
    """Short deadlines are either met or answered with `deadline-exceeded`, nothing else."""
    told = [ask(client, Ask(variant="fp32", hints=FRESH | {"greenserve-deadline-ms": deadline_ms})) for _ in range(10)]

    assert {one.code for one in told} <= {"ok", "deadline-exceeded"}
    assert "1" != deadline_ms or {"deadline-exceeded"} == {one.code for one in told}
