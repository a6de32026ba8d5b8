"""`greenserve status` on a run folder: what is served, what is left out, and the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.carbon.ledger.spool import start_ticks_of

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
        "config": "c",
        "ledger": "ledger.db",
        "models": {"tiny": ["fp32", "int8-dyn"]},
        "regions": [{"name": "here", "zone": "ZZ", "emulated": False}],
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
