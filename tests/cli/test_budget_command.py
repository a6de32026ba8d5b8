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


def test_a_budget_is_set_again_listed_and_removed(folder: Path) -> None:
    """One per tenant, unit and window: setting it again changes it."""
    greenserve(folder, "tenant", "create", "acme")

    document(folder, "budget", "set", "acme", "5mgCO2e", "--per", "day", "--mode", "enforce")
    document(folder, "budget", "set", "acme", "1mgCO2e", "--per", "day", "--mode", "degrade", "--at", "70%")
    (listed,) = document(folder, "budget", "ls")["budgets"]
    removed = document(folder, "budget", "rm", "acme", "--yes")

    assert ("0.001", "gCO2e", "0", "degrade", 70, 0) == tuple(
        listed[name] for name in ("limit", "unit", "used", "mode", "at_pct", "used_pct")
    )
    assert listed["budget"] == removed["budget"]
    assert [] == document(folder, "budget", "ls")["budgets"]


def test_the_table_fits_a_terminal(folder: Path) -> None:
    """Limit, use, and when it renews, in 80 columns."""
    greenserve(folder, "tenant", "create", "acme")

    made = greenserve(folder, "budget", "set", "acme", "2.5kWh", "--per", "month")
    greenserve(folder, "budget", "set", "acme", "1000requests", "--per", "lifetime")
    listed = greenserve(folder, "budget", "ls")

    assert 80 >= max(map(len, (made.stdout + listed.stdout).splitlines()))
    assert "9000 kJ" in listed.stdout
    assert "never" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "nobody", "1gCO2e"), "no tenant 'nobody'"),
        (("set", "acme", "1lb"), "write a number and one of ngCO2e"),
        (("set", "acme", "1gCO2e", "--at", "0%"), "1% to 100%"),
        (("set", "acme", "1gCO2e", "--per", "year"), "lifetime"),
        (("rm", "acme", "--yes"), "0 budgets fit acme"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    """The message says which units, windows and thresholds there are."""
    greenserve(folder, "tenant", "create", "acme")

    done = greenserve(folder, "budget", *arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert told in done.stderr
