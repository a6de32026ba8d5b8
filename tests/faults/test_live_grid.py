"""A live provider beside a gateway that answers: no request waits for it, and what it tells arrives."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx

from greenserve.records import Tenant
from greenserve.serve.replica import spool_folder
from tests.carbon.grid_server import Answer, Asked, a_grid_server
from tests.faults.counting import CountingEngines, a_counting_replica, an_echo_config, tenancy_of
from tests.faults.echoes import write_echo
from tests.faults.echoing import question
from tests.faults.replicas import PATIENCE_S
from tests.gateway_process import HOST
from tests.serve.building import spooled

PATH = "/v2/models/quick/infer"


async def test_requests_are_answered_while_a_provider_is_silent_and_then_use_its_value(tmp_path: Path) -> None:
    """Annual with its origin while the provider holds its answer back; its own value as soon as it came."""
    speaks = asyncio.Event()

    def latest(asked: Asked) -> Answer:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0).isoformat()
        basis = asked.query["emissionFactorType"][0]
        told = {"zone": "DE", "carbonIntensity": 123, "datetime": hour, "isEstimated": False}
        return Answer(told | {"emissionFactorType": basis}, after=speaks)

    (tmp_path / "em.key").write_text("t0ken")
    async with a_grid_server() as provider:
        provider.says["/v3/carbon-intensity/latest"] = latest
        live = {"kind": "electricity-maps", "api_key": f"file:{tmp_path / 'em.key'}", "url": provider.url}
        annual = {"kind": "annual", "values": {"DE": "400gCO2e/kWh"}, "year": 2025, "source": "a test"}
        config = an_echo_config(
            {"quick": write_echo(tmp_path / "quick", "quick", busy_s=0.002)},
            tmp_path,
            regions=[{"name": "here", "zone": "DE", "pue": {"value": 1.5, "source": "a test"}}],
            intensity={"sources": [live, annual]},
        )
        run = asyncio.to_thread(lambda: a_counting_replica(config, CountingEngines(), tmp_path / "run"))
        with await run as replica:
            assert replica.state()["ready"]
            with tenancy_of(config) as store:
                store.create_tenant(Tenant(tenant_id="acme", name="Acme"))
                headers = {"authorization": f"Bearer {store.create_key('acme')[0]}"}
            base = f"http://{HOST}:{config.server.http.port}"
            seen: list[tuple[str, int]] = []
            async with (
                httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=20.0) as asking,
                asyncio.timeout(PATIENCE_S),
            ):
                while not seen or seen[-1][0] != "observed":
                    answer = await asking.post(PATH, json=question(len(seen), 3))
                    if answer.status_code == 200:
                        wanted = answer.json()["parameters"]["greenserve_request_id"]
                        lines = [json.loads(body) for body in spooled(spool_folder(config.ledger.path))]
                        (ci,) = [line["ci"] for line in lines if line["request_id"] == wanted]
                        seen.append((ci["origin"], ci["mg_per_kwh"]))
                        speaks.set()
                    await asyncio.sleep(0.05)

    assert ("annual", 400_000) == seen[0]
    assert ("observed", 123_000) == seen[-1]
