"""One running gateway for all scenarios, its tenants with their keys, and a client for each protocol."""

import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.keys import mint
from greenserve.records import Tenant
from tests.end_to_end.protocols import Ask, Client, OverGrpc, OverHttp, Told
from tests.gateway_process import GatewayProcess

PROTOCOLS = ("http", "grpc")
TENANTS = (
    Tenant(tenant_id="acme", name="Acme", exposure="exact"),
    Tenant(tenant_id="globex", name="Globex"),
    Tenant(tenant_id="silent", name="Silent", exposure="off"),
    Tenant(tenant_id="strict", name="Strict", quality_floor=0.8, exposure="exact"),
    Tenant(tenant_id="paced", name="Paced", rate_per_s=0.5, burst=4),
    *(Tenant(tenant_id=f"leaked-{protocol}", name="Leaked") for protocol in PROTOCOLS),
    *(Tenant(tenant_id=f"closed-{protocol}", name="Closed") for protocol in PROTOCOLS),
    *(
        Tenant(
            tenant_id=f"fading-{protocol}",
            name="Fading",
            quality_mean=0.85,
            regions=frozenset({"here"}),
            exposure="exact",
        )
        for protocol in PROTOCOLS
    ),
)
FADING_LIMIT_NG = 200_000
SECRET = bytes(range(32))

Asking = Callable[[Client, Ask], Told]


@pytest.fixture(scope="session")
def keys() -> dict[str, str]:
    """The keys by caller: of each tenant, and keys that are none."""
    foreign, _ = mint(bytes(8), SECRET)
    return {
        "foreign": foreign,
        "malformed": "gs_not-a-key",
        "mistyped": foreign[:-1] + ("0" if foreign[-1] != "0" else "1"),
        "not-ours": "sk-0123456789",
    }


@pytest.fixture(scope="session")
def gateway(new_gateway: Callable[[], GatewayProcess], keys: dict[str, str]) -> GatewayProcess:
    """A gateway of two replicas that runs, with its tenants."""
    running = new_gateway()
    for tenant in TENANTS:
        keys[tenant.tenant_id] = running.new_key(tenant)
    with running.tenancy() as store:
        for protocol in PROTOCOLS:
            store.set_budget(
                Budget(
                    budget_id=f"fading-{protocol}.gco2e.day",
                    tenant=f"fading-{protocol}",
                    unit="gCO2e",
                    limit=FADING_LIMIT_NG,
                    per="day",
                    mode="degrade",
                    at_pct=40,
                )
            )
    running.start()
    return running


@pytest.fixture(scope="session")
def http(gateway: GatewayProcess) -> Iterator[OverHttp]:
    """The gateway over HTTP."""
    with OverHttp(gateway.url) as client:
        yield client


@pytest.fixture(scope="session")
def grpc(gateway: GatewayProcess) -> Iterator[OverGrpc]:
    """The gateway over gRPC."""
    with OverGrpc(gateway.grpc_address) as client:
        yield client


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest) -> Client:
    """The gateway over one protocol after the other."""
    found: Client = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def answered() -> dict[str, list[Told]]:
    """Every answer of the session, by caller: what the ledger must hold in the end."""
    return defaultdict(list)


@pytest.fixture(scope="session")
def ask(keys: dict[str, str], answered: dict[str, list[Told]]) -> Asking:
    """Asks over a client with the caller's key, and remembers the answers."""

    def asking(client: Client, ask: Ask) -> Told:
        told = client.ask(ask, None if ask.caller is None else keys[ask.caller])
        if told.code == "ok" and ask.caller is not None:
            answered[ask.caller].append(told)
        return told

    return asking


class Stopped(NamedTuple):
    """A gateway that was stopped, and what `greenserve stop` said."""

    gateway: GatewayProcess
    said: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def stopped(gateway: GatewayProcess, http: OverHttp, grpc: OverGrpc, ask: Asking) -> Stopped:
    """The same gateway after `greenserve stop`, with its clients still connected. Tests that take this run last.

    Each tenant that they look at has asked both ways, one question twice, whatever else ran before.
    """
    for caller in ("acme", "strict", "silent", "fading-http"):
        for client in (http, grpc):
            for text in ("a last word", f"a last word over {client.name}"):
                ask(client, Ask(texts=(text,), caller=caller))
    gateway.look()
    said = gateway.run("stop")
    gateway.wait_stopped(10.0)
    return Stopped(gateway, said)
