"""A gateway of its own for a benchmark: own ports, own ledger, own tenant; stopped at the end, whatever happens."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import yaml

HTTP_PORT, GRPC_PORT = 18080, 18081
DEMO = Path("configs/demo.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A ready gateway: its HTTP and gRPC address, a key, the ledger's file, how long it took to be ready [s]."""

    address: tuple[str, int]
    grpc_address: tuple[str, int]
    key: str
    ledger: Path
    ready_s: float


def greenserve(*words: str) -> str:
    """What a command prints on stdout; CalledProcessError with its messages where it fails."""
    command = [sys.executable, "-m", "greenserve.cli.main", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def as_it_is(document: dict[str, Any]) -> None:
    """The change of a configuration that changes nothing."""


@contextmanager
def gateway(change: Callable[[dict[str, Any]], None] = as_it_is) -> Iterator[Running]:
    """The demo's gateway on ports of its own, with a ledger of its own on this disk: recording includes its sync.

    `change` edits the configuration first. After the body the gateway is stopped and the ledger is removed.
    """
    with TemporaryDirectory(prefix="bench-", dir=".") as folder:
        ledger = Path(folder).resolve() / "ledger.db"
        config = Path(folder) / "config.yaml"
        document = yaml.safe_load(DEMO.read_text())
        document["ledger"]["url"] = f"sqlite:///{ledger}"
        change(document)
        config.write_text(yaml.safe_dump(document))
        place = ("--config", str(config))
        greenserve(
            "tenant", "create", "bench", "--exposure", "exact", "--rate", "100000/s", "--burst", "100000", *place
        )
        key = orjson.loads(greenserve("key", "create", "bench", "--json", *place))["key"]
        ports = ("--port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT))
        command = [sys.executable, "-m", "greenserve.cli.main", "serve", str(config), *ports, "--json"]
        started_s = time.monotonic()
        with (Path(folder) / "serve.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and b"ready_s" not in line:
            line = process.stdout.readline()
        ready_s = time.monotonic() - started_s
        try:
            if not line:
                raise RuntimeError((Path(folder) / "serve.log").read_text())
            yield Running(
                address=("127.0.0.1", HTTP_PORT),
                grpc_address=("127.0.0.1", GRPC_PORT),
                key=key,
                ledger=ledger,
                ready_s=ready_s,
            )
        finally:
            stop()
            process.stdout.close()
            process.wait(timeout=60)


def stop() -> None:
    """Stop the benchmark's gateway; does nothing where it has stopped."""
    greenserve("stop", "--port", str(HTTP_PORT))
