"""What accounting and ledger cost: the same two replicas with their records and the ledger's writer, and without."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import yaml

from benchmarks.closed_loop import drive, request_of, unique_texts
from benchmarks.gateway import DEMO, GRPC_PORT, HTTP_PORT, greenserve

CONNECTIONS = 32
BAR = 0.05
ON, OFF = ("writer", "replica", "replica"), ("unrecorded", "unrecorded")
MODEL, VARIANT = "sentiment", "int8-dyn"


def accounting(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Requests/s on and off, in turns, and the share of the throughput that accounting and ledger take."""
    figures = []
    for number in range(rounds):
        order = (ON, OFF) if number % 2 else (OFF, ON)
        rates = {roles: rate(roles, 2 * number + place, seconds) for place, roles in enumerate(order)}
        figures.append({"on_per_s": rates[ON], "off_per_s": rates[OFF], "cost": 1.0 - rates[ON] / rates[OFF]})
    median = {name: statistics.median(one[name] for one in figures) for name in figures[0]}
    print(f"accounting and ledger on           {median['on_per_s']:,.0f}/s at {CONNECTIONS} connections")
    print(f"off                                {median['off_per_s']:,.0f}/s")
    print(f"cost                               {100 * median['cost']:.1f} % (bar {100 * BAR:.0f} %)", flush=True)
    return {"rounds": figures, "median": median}


def rate(roles: tuple[str, ...], number: int, seconds: float) -> float:
    """Requests/s of a gateway of these processes."""
    with running(roles) as key:
        requests = [
            request_of(text=text, key=key, model=MODEL, variant=VARIANT, host="bench") for text in unique_texts(number)
        ]
        return drive(requests, address=("127.0.0.1", HTTP_PORT), connections=CONNECTIONS, duration_s=seconds).per_s


@contextmanager
def running(roles: tuple[str, ...]) -> Iterator[str]:
    """Processes of these roles on a ledger of their own; the key of a tenant there."""
    with TemporaryDirectory(prefix="bench-", dir=".") as folder:
        config = Path(folder) / "config.yaml"
        document = yaml.safe_load(DEMO.read_text())
        document["ledger"]["url"] = f"sqlite:///{Path(folder).resolve() / 'ledger.db'}"
        document["server"]["http"]["port"], document["server"]["grpc"]["port"] = HTTP_PORT, GRPC_PORT
        document["models"] = [model for model in document["models"] if model["name"] == MODEL]
        config.write_text(yaml.safe_dump(document))
        place = ("--config", str(config))
        greenserve(
            "tenant", "create", "bench", "--exposure", "exact", "--rate", "100000/s", "--burst", "100000", *place
        )
        key: str = orjson.loads(greenserve("key", "create", "bench", "--json", *place))["key"]
        processes: list[subprocess.Popen[str]] = []
        try:
            for role in roles:
                command = [sys.executable, "-m", "benchmarks.replica", str(config), role]
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
                processes.append(process)
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise RuntimeError(f"the {role} did not start; run `{' '.join(command)}` to see why")
            yield key
        finally:
            for process in reversed(processes):
                process.communicate(timeout=60)
