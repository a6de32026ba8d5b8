"""`greenserve status` on a run folder: what is served, what is left out, and the exit codes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenserve.carbon.feeds.store import ErrandState, ReadingStore, store_beside
from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.records import IntensityReading

MINUTE_US = 60_000_000

CONFIG = """
version: 1
models: [{name: tiny, manifest: m.json}]
regions:
  - {name: here, zone: GB, pue: {value: 1.1, source: a test}}
  - {name: far, zone: ZZ, emulated: true, pue: {value: 1.1, source: a test}}
intensity:
  sources: [{kind: neso}, {kind: annual, values: {GB: 210gCO2e/kWh}, year: 2025, source: a table}]
"""
REASON = "torch is not installed; pip install 'greenserve[gpu]'"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A runtime folder in which a gateway of this very process says that it runs, on a port where nothing answers."""
    folder = tmp_path / f"greenserve-{os.getuid()}-9"
    folder.mkdir(mode=0o700)
    state = {
        "run_id": "r",
        "pid": os.getpid(),
        "start_ticks": start_ticks_of(os.getpid()),
        "started_us": 1,
        "http": "http://127.0.0.1:9",
        "grpc": "127.0.0.1:10",
        "replicas": 2,
        "config": str(tmp_path / "c.yaml"),
        "ledger": str(tmp_path / "ledger.db"),
        "models": {"tiny": ["fp32", "int8-dyn"]},
        "regions": [
            {"name": "here", "zone": "GB", "emulated": False},
            {"name": "far", "zone": "ZZ", "emulated": True},
        ],
        "meter": {"source": "cpu-time", "tier": "class_average"},
        "meters_rejected": {},
        "left_out": {"tiny": {"fp16": REASON}},
        "ready": True,
    }
    (folder / "run.json").write_text(json.dumps(state))
    return tmp_path


def status(runtime: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "greenserve.cli.main", "status", "--port", "9", *words]
    environment = dict(os.environ) | {"XDG_RUNTIME_DIR": str(runtime)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60.0)


def test_what_does_not_run_here_is_not_shown_as_served(runtime: Path) -> None:
    """It is named below its model with the reason, for people and for programs."""
    shown = status(runtime)
    document = json.loads(status(runtime, "--json").stdout)

    assert 1 == shown.returncode, shown.stderr
    assert "model   tiny: fp32, int8-dyn\n" in shown.stdout
    assert f"left out fp16: {REASON}" in " ".join(shown.stdout.split())
    assert {"tiny": {"fp16": REASON}} == document["left_out"]


def stored(runtime: Path, *, minutes_ago: int, failures: int = 0) -> None:
    """What the gateway's provider told so long ago, and how asking it stands, in the store beside the ledger."""
    now_us = time.time_ns() // 1_000
    then_us = now_us - minutes_ago * MINUTE_US
    reading = IntensityReading(
        zone="GB", start_us=then_us, end_us=then_us + 30 * MINUTE_US, mg_per_kwh=150_000, basis="direct",
        kind="average", origin="observed", provider="neso", retrieved_us=then_us, observed_us=then_us,
    )  # fmt: skip
    state = ErrandState(
        source="neso", zone="GB", signal="direct", what="recent", failures=failures, ok_us=then_us,
        error="503 Service Unavailable" if failures else None, due_us=now_us,
    )  # fmt: skip
    store = ReadingStore(store_beside(runtime / "ledger.db"))
    store.put("neso", [reading], [state], now_us)
    store.close()


def test_the_grids_source_level_and_age_are_shown(runtime: Path) -> None:
    """The annual value stands in for lifecycle while the provider tells direct alone; an unknown zone says so."""
    (runtime / "c.yaml").write_text(CONFIG)
    stored(runtime, minutes_ago=10, failures=3)

    words = " ".join(status(runtime).stdout.split())

    assert "grid GB: 210 g/kWh lifecycle by a table 2025, level 4 (annual)" in words
    assert "grid ZZ: unknown (level 5), no source knows it now" in words
    assert "neso: last answered 10m ago; failed 3 times: 503 Service Unavailable" in words


def test_the_live_reading_of_a_provider_is_level_zero(runtime: Path) -> None:
    """As a document: value, basis, provider, level, age, and when it is asked again where it fails."""
    (runtime / "c.yaml").write_text(CONFIG + "  basis: direct\n")
    stored(runtime, minutes_ago=10)

    grid = json.loads(status(runtime, "--json").stdout)["grid"]

    zone, (source,) = grid["zones"]["GB"], grid["sources"]
    assert (150.0, "direct", 0, "live") == (zone["gco2e_per_kwh"], zone["basis"], zone["level"], zone["level_name"])
    assert 595 <= zone["age_s"] <= 660
    assert (0, None, None) == (source["failures"], source["error"], source["next_try"])
    assert {"gco2e_per_kwh": None, "level": 5} == {
        name: grid["zones"]["ZZ"][name] for name in ("gco2e_per_kwh", "level")
    }


def test_a_configuration_that_is_gone_leaves_the_grid_unknown_and_the_rest_shown(runtime: Path) -> None:
    """The status is of the gateway; what this command cannot read is no reason to hide it."""
    shown = status(runtime)

    assert "grid not known to this command:" in " ".join(shown.stdout.split())
    assert "meter cpu-time" in " ".join(shown.stdout.split())
    assert json.loads(status(runtime, "--json").stdout)["grid"]["zones"] is None
