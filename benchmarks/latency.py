"""What a request costs in time beside the engine's own, at one connection: over HTTP and over gRPC."""

import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from benchmarks.bare import bare_latencies_s
from benchmarks.closed_loop import Outcome, drive, unique_texts
from benchmarks.gateway import Running, gateway
from benchmarks.grpc_loop import drive_grpc
from benchmarks.systems import grpc_api, http_api

MODEL_SPAN = re.compile(rb"server-timing: [^\r\n]*\bmodel;dur=([0-9.]+)")
BARS_MS = {"http": (1.0, 3.0), "grpc": (0.7, 2.0)}
SYNCED_BYTES, SYNCS = 400, 500


def latency(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Client latency minus the engine's span, p50 and p99 [ms], rounds of both protocols interleaved."""
    added: dict[str, list[dict[str, float]]] = {"http": [], "grpc": []}
    engine = []
    disk = sync_times_s()
    with gateway() as running:
        for number in range(rounds):
            texts = unique_texts(number)
            engine.append(quantile_ms(bare_latencies_s(duration_s=seconds / 2), 0.5))
            for protocol, outcome in (
                ("http", over_http(running, texts, seconds)),
                ("grpc", over_grpc(running, texts, seconds)),
            ):
                added[protocol].append(figures_of(outcome))
    medians = {
        protocol: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for protocol, found in added.items()
    }
    print(f"bare engine, one text at a time    p50 {statistics.median(engine):.2f} ms")
    for protocol, one in medians.items():
        print(
            f"added latency, {protocol}, 1 connection  p50 {one['p50_ms']:.2f} ms (bar {BARS_MS[protocol][0]})  "
            f"p99 {one['p99_ms']:.2f} ms (bar {BARS_MS[protocol][1]})  of {one['total_p50_ms']:.2f} ms"
        )
    print(
        f"this disk syncs {SYNCED_BYTES} bytes in      p50 {quantile_ms(disk, 0.5):.2f} ms  "
        f"p99 {quantile_ms(disk, 0.99):.2f} ms (the bars hold where p50 <= 0.3)",
        flush=True,
    )
    return {
        "bars_ms": BARS_MS,
        "bare_p50_ms": statistics.median(engine),
        "disk_sync_ms": {"p50": quantile_ms(disk, 0.5), "p99": quantile_ms(disk, 0.99)},
        "rounds": added,
        "medians": medians,
    }


def over_http(running: Running, texts: Sequence[str], seconds: float) -> Outcome:
    """One connection over HTTP, heads kept."""
    requests = http_api(running).requests(texts)
    return drive(requests, address=running.address, connections=1, duration_s=seconds, keep="heads")


def over_grpc(running: Running, texts: Sequence[str], seconds: float) -> Outcome:
    """One call at a time over gRPC, trailing metadata kept."""
    messages = [grpc_api(running).message(text) for text in texts]
    return drive_grpc(
        messages, address=running.grpc_address, calls=1, key=running.key, duration_s=seconds, keep_heads=True
    )


def figures_of(outcome: Outcome) -> dict[str, float]:
    """Added latency p50 and p99, and the whole p50 [ms]; RuntimeError where nothing tells the engine's span."""
    added_s = sorted(
        latency_s - model_s for latency_s, head in outcome.heads if (model_s := model_span_s(head)) is not None
    )
    if not added_s:
        raise RuntimeError(f"{outcome.answers} answers, {outcome.failures} failures, none with a `model` span")
    return {
        "p50_ms": quantile_ms(added_s, 0.5),
        "p99_ms": quantile_ms(added_s, 0.99),
        "total_p50_ms": outcome.quantile_ms(0.5),
        "answers": float(len(added_s)),
        "failures": float(outcome.failures),
    }


def model_span_s(head: bytes) -> float | None:
    """The engine's span [s] that `Server-Timing` tells, None where it does not."""
    found = MODEL_SPAN.search(head)
    return None if found is None else float(found[1]) / 1e3


def quantile_ms(sorted_s: Sequence[float], share: float) -> float:
    """A quantile of sorted times, in ms."""
    return 1e3 * sorted_s[min(len(sorted_s) - 1, int(share * len(sorted_s)))]


def sync_times_s() -> list[float]:
    """How long this disk takes [s] to append and sync as many bytes as an entry has, sorted."""
    times_s = []
    with NamedTemporaryFile(prefix="bench-", dir=Path.cwd()) as file:
        for _ in range(SYNCS):
            started_s = time.perf_counter()
            file.write(b"x" * SYNCED_BYTES)
            file.flush()
            os.fdatasync(file.fileno())
            times_s.append(time.perf_counter() - started_s)
    return sorted(times_s)
