import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
version: 1
models: [{name: sentiment, manifest: manifest.json}]
regions: [{name: north, zone: SE, pue: {value: 1.12, source: a test}}]
intensity: {sources: [{kind: annual, values: {SE: 31gCO2e/kWh}, year: 2025, source: a test}]}
ledger: {url: "sqlite:///ledger.db"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greenserve.yaml").write_text(CONFIG)
    return tmp_path


def greenserve(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "greenserve.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def document(folder: Path, *arguments: str) -> Any:
    done = greenserve(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_tenant_is_made_changed_listed_and_closed(folder: Path) -> None:
    """Rules given are rules shown; what is taken back is null again."""
    made = document(
        folder, "tenant", "create", "acme", "--rate", "20/s", "--regions", "north", "--quality-floor", "0.8"
    )
    changed = document(folder, "tenant", "update", "acme", "--unset", "rate", "--policy", "min-carbon")
    closed = document(folder, "tenant", "close", "acme", "--yes")
    listed = document(folder, "tenant", "ls")

    assert ("greenserve.tenant/1", 20.0, ["north"], 0.8, "open") == tuple(
        made[name] for name in ("schema", "rate_per_s", "regions", "quality_floor", "state")
    )
    assert (None, "min-carbon", 0.8) == (changed["rate_per_s"], changed["policy"], changed["quality_floor"])
    assert "closed" == closed["state"] == listed["tenants"][0]["state"]


def test_the_table_fits_a_terminal(folder: Path) -> None:
    """80 columns, data on stdout, the next step on stderr."""
    made = greenserve(
        folder, "tenant", "create", "a-tenant-with-a-long-name", "--policy", "balanced", "--rate", "200/s", "--burst",
        "400", "--quality-floor", "0.75", "--quality-mean", "0.9", "--regions", "north",
    )  # fmt: skip
    listed = greenserve(folder, "tenant", "ls")

    assert "greenserve key create" in made.stderr
    assert "next" not in made.stdout
    assert 80 >= max(map(len, (made.stdout + listed.stdout).splitlines()))
    assert "floor 0.75" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "nobody"), "no tenant 'nobody'"),
        (("create", "Not Allowed"), "a-z, 0-9"),
        (("create", "x", "--rate", "fast"), "--rate"),
        (("create", "x", "--regions", "mars"), "configured are north"),
        (("update", "acme"), "nothing to change"),
        (("update", "acme", "--unset", "colour"), "quality-floor"),
        (("close", "acme"), "--yes"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    """What was given, what is allowed, what to do; nothing on stdout."""
    greenserve(folder, "tenant", "create", "acme")

    done = greenserve(folder, "tenant", *arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert told in done.stderr
