"""What the gateway itself can do: an engine that returns its input, everything else as in service."""

import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.closed_loop import drive, http_request
from benchmarks.gateway import gateway

CONNECTIONS = 32
BAR_PER_S = 2500
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}


def noop(*, rounds: int, seconds: float) -> dict[str, Any]:
    """HTTP requests/s through an echo model: authenticated, admitted, batched, metered, recorded; cache off."""
    figures = []
    with TemporaryDirectory(prefix="bench-", dir=".") as folder:
        manifest = write_echo_model(Path(folder))

        def use_echo(document: dict[str, Any]) -> None:
            document["models"] = [
                {"name": "echo", "manifest": str(manifest), "objective": {"p95": "200ms"}, "cache": {"enabled": False}}
            ]

        with gateway(use_echo) as running:
            host = f"{running.address[0]}:{running.address[1]}"
            headers = {"Authorization": f"Bearer {running.key}"}
            requests = [
                http_request("/v2/models/echo/infer", echo_document(number), host=host, headers=headers)
                for number in range(1000)
            ]
            for _ in range(rounds):
                outcome = drive(requests, address=running.address, connections=CONNECTIONS, duration_s=seconds)
                figures.append(
                    {
                        "per_s": outcome.per_s,
                        "p50_ms": outcome.quantile_ms(0.5),
                        "p99_ms": outcome.quantile_ms(0.99),
                        "failures": outcome.failures + outcome.lost_connections,
                    }
                )
    median = {name: statistics.median(one[name] for one in figures) for name in figures[0]}
    print(
        f"no-op engine, {CONNECTIONS} connections     {median['per_s']:,.0f}/s (bar {BAR_PER_S:,})  "
        f"p50 {median['p50_ms']:.1f} ms  p99 {median['p99_ms']:.1f} ms  failures {median['failures']:.0f}",
        flush=True,
    )
    return {"connections": CONNECTIONS, "bar_per_s": BAR_PER_S, "rounds": figures, "median": median}


def echo_document(number: int) -> dict[str, object]:
    """A request with four numbers."""
    data = [float(number), 1.0, 2.0, 3.0]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": data}]}


def write_echo_model(folder: Path) -> Path:
    """A manifest of one variant that needs no file; the manifest's path."""
    variant = {
        "name": "echo",
        "digest": "0" * 64,
        "family": "echo",
        "precision": "fp32",
        "files": [],
        "engine": {"kind": "echo"},
        "quality": {"metric": "accuracy", "value": 1.0, "value_low": 1.0, "verdict": "pass"},
        "properties": {"max_batch": 32, "batch_invariant": True},
        "profiles": [
            {
                "fingerprint": "",
                "tier": "simulated",
                "t_s": [1e-4, 1e-6, 1e-7, 0.0],
                "e_dynamic_j": [1e-4, 1e-6, 1e-7, 0.0],
                "q99": 2.0,
                "idle_w": None,
                "held_w": None,
            }
        ],
    }
    document = {
        "schema": "greenserve.manifest/1",
        "name": "echo",
        "version": 1,
        "task": "tensor",
        "labels": [],
        "preprocessing": None,
        "inputs": [TENSOR],
        "outputs": [TENSOR],
        "baseline": "echo",
        "recommended": "echo",
        "front": ["echo"],
        "variants": [variant],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(document, indent=1))
    return path
