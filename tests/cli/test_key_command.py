import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.keys import parse

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


def test_a_key_is_shown_once_and_revoked_by_its_text_or_id(folder: Path) -> None:
    """stdout holds the key alone, so that a shell variable takes it; lists name it by its public id."""
    greenserve(folder, "tenant", "create", "acme")

    text = greenserve(folder, "key", "create", "acme", "--label", "ci").stdout.strip()
    key_id, _ = parse(text)
    listed = document(folder, "key", "ls", "acme")["keys"]
    revoked = document(folder, "key", "revoke", text, "--yes")

    assert [(key_id, "acme", "active", "ci")] == [
        tuple(key[name] for name in ("key_id", "tenant", "state", "label")) for key in listed
    ]
    assert text[16:] not in json.dumps(listed)
    assert "revoked" == revoked["state"] == document(folder, "key", "ls")["keys"][0]["state"]


def test_a_key_may_end_by_itself(folder: Path) -> None:
    """An end in the future is listed with the key."""
    greenserve(folder, "tenant", "create", "acme")

    key = document(folder, "key", "create", "acme", "--expires", "90d")

    assert key["expires"] > key["created"]
    assert 80 >= max(map(len, greenserve(folder, "key", "ls").stdout.splitlines()))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "nobody"), "no tenant 'nobody'; there are acme"),
        (("create", "acme", "--expires", "soon"), "--expires"),
        (("revoke", "0123456789ab", "--yes"), "key ls"),
        (("revoke", "0123456789ab"), "--yes"),
        (("ls", "nobody"), "no tenant"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    """No key is made or stopped by a mistake."""
    greenserve(folder, "tenant", "create", "acme")

    done = greenserve(folder, "key", *arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert told in done.stderr
