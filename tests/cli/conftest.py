"""A working directory, and commands run in it as a user runs them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
DRIVER = """
import json, os, sys, tempfile
from greenserve.cli.main import main
answer, done = os.dup(1), []
for arguments in json.loads(sys.argv[1]):
    files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    for descriptor, file in enumerate(files, 1):
        os.dup2(file.fileno(), descriptor)
    sys.argv, code = ["greenserve", *arguments], 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    sys.stdout.flush(), sys.stderr.flush()
    done.append([code, *(os.pread(file.fileno(), 1 << 24, 0).decode() for file in files)])
os.write(answer, json.dumps(done).encode())
"""


@dataclass(frozen=True)
class Done:
    """One command's exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as JSON, of a command that went well."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Commands = Callable[..., list[Done]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty working directory with a configuration; its ledger is ledger.db."""
    (tmp_path / "greenserve.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def greenserve(folder: Path) -> Commands:
    """Runs commands (each one string, or a list of words) one after the other in one fresh process."""

    def run(*commands: str | Sequence[str]) -> list[Done]:
        words: Iterable[Sequence[str]] = (one.split() if isinstance(one, str) else one for one in commands)
        process = subprocess.run(
            [sys.executable, "-c", DRIVER, json.dumps(list(words))],
            cwd=folder,
            capture_output=True,
            timeout=120,
            check=True,
        )
        return [Done(*one) for one in json.loads(process.stdout)]

    return run
