"""A working directory, and commands run in it as a user runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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
PRELOADED = ("tenant", "key", "budget", "ledger", "report", "carbon", "route", "meters", "doctor", "compare")
"""What the tests run: importing it takes a second, which each of their processes would spend again."""

FORKING = """
import atexit, gc, importlib, json, os, signal, sys, tempfile, traceback
from greenserve.cli.main import main

def run(order):
    signal.alarm(120)
    os.chdir(order["folder"])
    done = []
    for arguments in order["commands"]:
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
    with open(order["answer"], "w") as answer:
        json.dump(done, answer)

for group in sys.argv[1:]:
    importlib.import_module(f"greenserve.cli.{group}")
assert len(os.listdir("/proc/self/task")) == 1, "who has threads must not fork"
errors = os.fdopen(os.dup(2), "w", buffering=1)
gc.freeze()
while line := sys.stdin.readline():
    child = os.fork()
    if child == 0:
        try:
            run(json.loads(line))
        except BaseException:
            traceback.print_exc(file=errors)
            os._exit(1)
        atexit._run_exitfuncs()
        os._exit(0)  # tearing down every imported module takes longer than most commands
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
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


class Forking:
    """A process that has imported the commands and runs each order in a child of its own."""

    def __init__(self, folder: Path) -> None:
        self._answer = folder / "answer.json"
        self._errors = folder / "errors"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", FORKING, *PRELOADED],
                env=dict(os.environ) | {"OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def run(self, folder: Path, commands: Iterable[Sequence[str]]) -> list[Done]:
        """Run commands in a folder, one after the other in one process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"folder": str(folder), "commands": list(commands), "answer": str(self._answer)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        ended = self._process.stdout.readline().strip()
        assert "0" == ended, f"{order['commands']} ended with {ended or 'no word'}: {self._errors.read_text()}"
        return [Done(*one) for one in json.loads(self._answer.read_text())]

    def close(self) -> None:
        """Leave."""
        self._process.communicate()


@pytest.fixture(scope="session")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    """Started once."""
    started = Forking(tmp_path_factory.mktemp("forking"))
    yield started
    started.close()


@pytest.fixture
def greenserve(folder: Path, forking: Forking) -> Commands:
    """Runs commands (each one string, or a list of words) one after the other in one process of their own."""

    def run(*commands: str | Sequence[str]) -> list[Done]:
        return forking.run(folder, (one.split() if isinstance(one, str) else one for one in commands))

    return run
