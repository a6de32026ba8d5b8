"""A gateway with its administration API and receipts over HTTP without a socket, and requests in its ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from greenserve.carbon.entries import UsageLine, settled_entry, usage_entry
from greenserve.carbon.ledger import offline
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.host import describe_host
from greenserve.ids import new_request_id, unix_ms_of
from greenserve.records import IntensityReading, Tenant, Tier, Usage
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.admin.app import AdminApp
from greenserve.serve.http.receipts import ReceiptsApp
from tests.serve.asking import an_app

FINGERPRINT = str(describe_host()["fingerprint"])
RANGE = {"low_uj": 40_000, "high_uj": 84_000}
PARTS = {"active_uj": 54_603, "held_uj": 3_000, "host_uj": 4_300}


@dataclass(frozen=True, kw_only=True)
class Administered:
    """The gateway's store and ledger, a client that talks to it, and the text of an admin key and of acme's key."""

    gateway: Gateway
    ledger: SqliteLedger
    store: TenancyStore
    admin: AdminApp
    client: httpx.AsyncClient
    admin_key: str
    acme_key: str

    def know(self) -> None:
        """Let the gateway read tenants and keys anew, as it does twice a second."""
        self.gateway.admission.refresh(self.store.snapshot(), {})

    async def ask(self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str) -> Any:
        """The answer to the administrator, or to whoever has `key`; checks what holds for every one."""
        told = {"authorization": f"Bearer {self.admin_key if key is None else key}"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        response = await self.client.request(method, path, headers=told, **({} if body is None else content))
        assert 36 == len(response.headers["greenserve-request-id"])
        assert "no-store" == response.headers["cache-control"]
        if response.status_code >= 400:
            assert "application/problem+json" == response.headers["content-type"], response.text
            problem = response.json()
            assert {"type", "title", "status", "detail", "code", "request_id"} <= problem.keys()
            assert response.headers["greenserve-request-id"] == problem["request_id"]
            assert response.status_code == problem["status"]
        return response

    async def get(self, path: str, **query: Any) -> Any:
        """The document at a path, which must be there."""
        response = await self.client.get(
            f"/admin/v1/{path}", params=query, headers={"authorization": f"Bearer {self.admin_key}"}
        )
        assert 200 == response.status_code, response.text
        return response.json()

    def record(self, *, settled: bool = True, settled_tier: Tier | None = None, **changes: Any) -> str:
        """Put a request of acme's into the ledger, settled by the same tier unless another is given; its id."""
        line = a_line(**changes)
        entry = usage_entry(line)
        self.ledger.append([entry])
        if settled:
            usage = line.usage
            if usage is not None:
                usage = replace(usage, state="settled", tier=settled_tier or usage.tier)
            self.ledger.append([settled_entry(entry.body, usage)])
        return line.request_id


def a_line(**changes: Any) -> UsageLine:
    """A metered request of acme's that has just ended, at 40 g/kWh; `changes` may name parts of its energy and tier."""
    request_id = changes.pop("request_id", None) or new_request_id()
    parts = {name: changes.pop(name, value) for name, value in (PARTS | RANGE).items()}
    usage: Usage | None = Usage(
        request_id=request_id, tier=changes.pop("tier", "modelled"), state="provisional", **parts
    )
    if changes.pop("unmetered", False):
        usage = None
    ended_us = changes.pop("ended_us", unix_ms_of(request_id) * 1_000)
    whole: dict[str, Any] = {
        "request_id": request_id,
        "tenant": "acme",
        "key_id": "0123456789ab",
        "model": "tiny",
        "run_id": "run-1",
        "ended_us": ended_us,
        "start_ns": 1_000_000_000,
        "end_ns": 1_010_000_000,
        "outcome": "ok",
        "protocol": "http",
        "cache": "miss",
        "rows": 1,
        "tokens_in": 12,
        "usage": usage,
        "intensity": a_reading(ended_us),
        "pue_milli": 1_100,
        "variant": "fp32",
        "region": "north",
        "zone": "ZZ-NORTH",
        "device": "cpu",
        "cpu_ns": 4_000_000,
        "host_cpu_ns": 500_000,
        "held_ns": 5_000_000,
    }
    return UsageLine(**(whole | changes))


def a_reading(at_us: int) -> IntensityReading:
    """40 g/kWh of a day around a moment."""
    return IntensityReading(
        zone="ZZ-NORTH",
        start_us=at_us - at_us % 86_400_000_000,
        end_us=at_us - at_us % 86_400_000_000 + 86_400_000_000,
        mg_per_kwh=40_000,
        basis="lifecycle",
        kind="average",
        origin="annual",
        provider="a test",
        retrieved_us=0,
    )


@asynccontextmanager
async def administered(gateway: Gateway, config: Config, folder: Path, **hooks: Any) -> AsyncIterator[Administered]:
    """The API of a gateway with the tenants acme and globex and an admin key; `hooks` are those of AdminApp.

    Folds run in this process unless `folding` says otherwise.
    """
    clock = SystemClock()
    ledger = SqliteLedger(folder / "ledger.db")
    store = TenancyStore(ledger, clock)
    for name in ("acme", "globex"):
        store.create_tenant(Tenant(tenant_id=name, name=name.title(), exposure="exact"))
    whole: dict[str, Any] = {
        "gateway": gateway,
        "config": config,
        "ledger": ledger,
        "clock": clock,
        "fingerprint": FINGERPRINT,
    }
    admin = AdminApp(**(whole | {"folding": offline.run} | hooks))
    receipts = ReceiptsApp(admission=gateway.admission, ledger=ledger, clock=clock)
    app, _ = an_app(gateway, extra={("admin",): admin, ("v1", "receipts"): receipts})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        made = Administered(
            gateway=gateway,
            ledger=ledger,
            store=store,
            admin=admin,
            client=client,
            admin_key=store.create_key(None, rules=KeyRules(kind="admin"))[0],
            acme_key=store.create_key("acme", rules=KeyRules(project="web"))[0],
        )
        made.know()
        try:
            yield made
        finally:
            admin.close()
            receipts.close()
            ledger.close()


def key_id_of(text: str) -> str:
    """The public id in a key's text."""
    return text.split("_")[1]
