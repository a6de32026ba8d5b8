"""An intensity feed that falls silent, comes back, or holds nonsense: answers go on, and unknown is never zero."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.records import Tenant
from greenserve.serve.replica import GatewayReplica, spool_folder
from tests.faults.counting import CountingEngines, a_counting_replica, an_echo_config, tenancy_of
from tests.faults.echoes import write_echo
from tests.faults.echoing import question
from tests.faults.replicas import PATIENCE_S
from tests.gateway_process import HOST
from tests.serve.building import spooled

HOUR_US = 3_600 * 10**6
PATH = "/v2/models/quick/infer"
COLUMNS = "timestamp_utc,region,carbon_intensity_gco2e_per_kwh"
CARBON_HEADERS = frozenset({"greenserve-carbon", "greenserve-carbon-grams"})
BEGUN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SILENT, BACK = 1, 2
"""Hours from the beginning: in the first nothing is recorded, in the second something else."""
ANNUAL = {"kind": "annual", "values": {"ZZ-HERE": "400gCO2e/kWh"}, "year": 2025, "source": "a test"}


class ShiftedClock(SystemClock):
    """The machine's clock, whose civil time a test sets. State: the hours that it is ahead; set by the test."""

    def __init__(self) -> None:
        self.hours = 0

    def unix_us(self) -> int:
        """Civil time [us UTC]: half past the hour that the test wants, and whatever has passed since."""
        return int(BEGUN.timestamp()) * 10**6 + self.hours * HOUR_US + HOUR_US // 2 + super().unix_us() % 10**6


def series(folder: Path, *rows: tuple[int, str]) -> Path:
    """A recorded file with those hours and values."""
    file = folder / "grid.csv"
    lines = [f"{(BEGUN + timedelta(hours=hour)).isoformat()},ZZ-HERE,{value}" for hour, value in rows]
    file.write_text("\n".join([COLUMNS, *lines, ""]))
    return file


def a_feed_config(folder: Path, file: Path, *further: dict[str, Any]) -> Config:
    """One region, whose grid is known from the file and then from further sources."""
    source = {"kind": "recorded", "file": str(file), "provider": "a test"}
    region = {"name": "here", "zone": "ZZ-HERE", "pue": {"value": 1.5, "source": "a test"}}
    defaults = {"rate": "100000/s", "burst": 100_000, "exposure": "exact"}
    return an_echo_config(
        {"quick": write_echo(folder / "quick", "quick", busy_s=0.002)},
        folder,
        regions=[region],
        intensity={"sources": [source, *further]},
        tenancy={"auth": "required", "defaults": defaults},
    )


@pytest.fixture
def clock() -> ShiftedClock:
    """It shows the hour that a test wants."""
    return ShiftedClock()


@pytest.fixture(params=["alone", "with annual values"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A feed with a gap, with and without something to fall back to."""
    file = series(tmp_path, (0, "100"), (BACK, "300"))
    return a_feed_config(tmp_path, file, *([ANNUAL] if request.param == "with annual values" else []))


@pytest.fixture
def replica(config: Config, clock: ShiftedClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayReplica]:
    """One replica on that clock."""
    with a_counting_replica(config, CountingEngines(), tmp_path_factory.mktemp("run"), clock=clock) as running:
        yield running


@pytest.fixture
async def client(config: Config, replica: GatewayReplica) -> AsyncIterator[httpx.AsyncClient]:
    """Who asks."""
    assert replica.state()["ready"]
    with tenancy_of(config) as store:
        store.create_tenant(Tenant(tenant_id="acme", name="Acme", exposure="exact"))
        headers = {"authorization": f"Bearer {store.create_key('acme')[0]}"}
    async with httpx.AsyncClient(
        base_url=f"http://{HOST}:{config.server.http.port}", headers=headers, trust_env=False, timeout=20.0
    ) as asking:
        async with asyncio.timeout(PATIENCE_S):
            while (await asking.post(PATH, json=question(0, 0))).status_code != 200:  # until the key is known
                pass
        yield asking


async def at_hour(
    hours: int, given: tuple[str, int] | None, *, config: Config, clock: ShiftedClock, client: httpx.AsyncClient
) -> tuple[httpx.Response, dict[str, Any]]:
    """The first answer that rests on (origin, mg/kWh), with its ledger line; all before it are answers too."""
    clock.hours = hours
    async with asyncio.timeout(PATIENCE_S):
        while True:
            told = await client.post(PATH, json=question(1, 2))
            assert 200 == told.status_code
            wanted = told.json()["parameters"]["greenserve_request_id"]
            lines = [json.loads(body) for body in spooled(spool_folder(config.ledger.path))]
            (line,) = [one for one in lines if one["request_id"] == wanted]
            assert line["loc_lifecycle_ng"] is None or line["loc_lifecycle_ng"] > 0
            if (line["ci"] and (line["ci"]["origin"], line["ci"]["mg_per_kwh"])) == given:
                return told, line
            await asyncio.sleep(0.05)


async def test_a_gap_in_the_feed_is_told_as_unknown_or_by_what_stands_in_for_it(
    config: Config, clock: ShiftedClock, client: httpx.AsyncClient
) -> None:
    """Recorded hours rest on the file; in the gap the answer goes on, without a figure or on the annual average with
    its origin, and its entry is flagged; when the feed is back, so are its values."""
    at = partial(at_hour, config=config, clock=clock, client=client)
    annual = len(config.intensity.sources) > 1

    before, known = await at(0, ("recorded", 100_000))
    told, line = await at(SILENT, ("annual", 400_000) if annual else None)
    _, again = await at(BACK, ("recorded", 300_000))

    assert CARBON_HEADERS <= before.headers.keys()
    assert "fallback-signal" not in [*known["flags"], *again["flags"]]
    assert "fallback-signal" in line["flags"]
    assert annual == ("greenserve-carbon" in told.headers)
    assert annual == ("greenserve_carbon_ng" in told.json()["parameters"])
    assert (annual, annual) == (line["loc_lifecycle_ng"] is not None, line["ci"] is not None)
    assert line["active_uj"] > 0
    assert int(told.json()["parameters"]["greenserve_energy_uj"]) > 0


async def test_a_clock_that_is_set_back_does_not_keep_the_later_hour(
    config: Config, clock: ShiftedClock, client: httpx.AsyncClient
) -> None:
    """The hour that it shows now decides again, not the one that it showed before."""
    at = partial(at_hour, config=config, clock=clock, client=client)
    await at(BACK, ("recorded", 300_000))

    _, line = await at(0, ("recorded", 100_000))

    assert line["ci"]["start_us"] <= line["ended_us"] < line["ci"]["end_us"]


@pytest.mark.parametrize("value", ["-5", "1e9", "NaN", "Infinity", "", "green"])
def test_a_feed_of_nonsense_prevents_the_start(value: str, tmp_path: Path) -> None:
    """The message names the file, the line and the value."""
    file = series(tmp_path, (0, "100"), (1, value))
    engines = CountingEngines()

    with (
        pytest.raises(ConfigInvalid, match=r"grid\.csv line 3") as refused,
        a_counting_replica(a_feed_config(tmp_path, file), engines, tmp_path / "run"),
    ):
        pass

    assert f",{value}'" in str(refused.value)
