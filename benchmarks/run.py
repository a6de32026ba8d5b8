"""`make bench`: the numbers that the README names, measured in one run and recorded with the machine.

Every figure is a median of rounds; a ratio is of two figures of the same round, since the machine is noisy.
"""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks.bare import bare_per_s
from benchmarks.closed_loop import Outcome, drive, request_of, unique_texts
from benchmarks.gateway import Running, gateway, greenserve, stop
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.host import describe_host
from greenserve.manifest import load_manifest
from greenserve.serve.supervisor import processes_below

MANIFEST = Path("variants/sentiment/manifest.json")
RESULTS = Path("benchmarks/results")
ROUNDS, ROUND_S, CONNECTIONS = 5, 8.0, 32
VARIANT = "int8-dyn"


def main() -> None:
    """Measure everything, print it, write it."""
    if not MANIFEST.is_file():
        subprocess.run(
            [sys.executable, "-m", "greenserve.cli.main", "optimize", "demo:minilm", "--data", "tweets"], check=True
        )
    started = datetime.now(UTC)
    results: dict[str, Any] = {
        "schema": "greenserve.bench/1",
        "at": started.isoformat(timespec="seconds"),
        "machine": describe_host(),
        "load_average_before": os.getloadavg(),
        "help_s": help_s(),
        "variants": variants(),
    }
    print(f"greenserve --help          {results['help_s']:.2f} s (median of 9; bar 0.50)")
    for name, figures in results["variants"].items():
        print(
            f"{name:<26} accuracy {figures['accuracy']:.4f}  loss {figures['loss_points']:+.2f} points"
            f"  {figures['energy_ratio']:.1f}x less energy than fp32"
        )
    results["serve"] = serve()
    results["kill"] = kill()
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"bench-{started:%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    print(f"wrote {file}")


def help_s() -> float:
    """How long `greenserve --help` takes [s], process start included."""
    times = []
    for _ in range(9):
        started_s = time.perf_counter()
        greenserve("--help")
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


def variants() -> dict[str, dict[str, float]]:
    """What the manifest of this machine's last `greenserve optimize` measured."""
    manifest = load_manifest(MANIFEST)
    baseline = manifest.variant(manifest.baseline)
    figures = {}
    for entry in manifest.document["variants"]:
        variant = manifest.variant(entry["name"])
        figures[variant.name] = {
            "accuracy": variant.value,
            "loss_points": 100.0 * (baseline.value - variant.value),
            "energy_ratio": entry["profiles"][0]["headline"]["ratio_to_baseline"],
        }
    return figures


def serve() -> dict[str, Any]:
    """Requests per second at 32 connections beside bare ONNX Runtime, rounds interleaved; then the accounts."""
    rounds = []
    with gateway() as running:
        print(f"ready                      {running.ready_s:.1f} s after `greenserve serve` (bar 15)")
        for number in range(ROUNDS):
            requests = requests_for(running, seed=number)
            bare = bare_per_s(batch_size=CONNECTIONS // 2, duration_s=ROUND_S / 2)
            outcome = drive(requests, address=running.address, connections=CONNECTIONS, duration_s=ROUND_S)
            rounds.append(
                {
                    "bare_per_s": bare,
                    "gateway_per_s": outcome.per_s,
                    "ratio": outcome.per_s / bare,
                    "p50_ms": outcome.quantile_ms(0.5),
                    "p99_ms": outcome.quantile_ms(0.99),
                    "failures": outcome.failures,
                    "mj_per_request": mj_per_request(outcome),
                }
            )
            print(
                f"round {number + 1}                    gateway {outcome.per_s:,.0f}/s   bare {bare:,.0f}/s"
                f"   ratio {outcome.per_s / bare:.2f}   p50 {rounds[-1]['p50_ms']:.1f} ms"
            )
        single = drive(requests_for(running, seed=ROUNDS), address=running.address, connections=1, duration_s=ROUND_S)
        stop()
        accounts = reconciliation(running.ledger)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(
        f"{CONNECTIONS} connections, {VARIANT}   {medians['gateway_per_s']:,.0f}/s (bar 900), "
        f"{medians['ratio']:.2f} of bare ONNX Runtime in two processes, {sum(one['failures'] for one in rounds)} failed"
    )
    print(f"1 connection               p50 {single.quantile_ms(0.5):.2f} ms   p99 {single.quantile_ms(0.99):.2f} ms")
    print(
        f"accounting                 metered {accounts['metered_uj']:,} uJ - attributed "
        f"{accounts['attributed_uj']:,} uJ = {accounts['difference_uj']} uJ; "
        f"{accounts['entries']:,} entries, findings: {accounts['findings'] or 'none'}"
    )
    return {
        "ready_s": running.ready_s,
        "connections": CONNECTIONS,
        "variant": VARIANT,
        "rounds": rounds,
        "medians": medians,
        "single_p50_ms": single.quantile_ms(0.5),
        "single_p99_ms": single.quantile_ms(0.99),
        "accounting": accounts,
    }


def requests_for(running: Running, *, seed: int) -> list[bytes]:
    """Prepared requests of twelve tokens, all different between rounds too, so that no cache answers."""
    host = f"{running.address[0]}:{running.address[1]}"
    return [
        request_of(text=text, key=running.key, model="sentiment", variant=VARIANT, host=host)
        for text in unique_texts(seed)
    ]


def mj_per_request(outcome: Outcome) -> float:
    """The mean of the energy [mJ] that the answers carried."""
    if outcome.energy_uj is None:
        raise RuntimeError("no answer carried its energy; the bench tenant is made with `--exposure exact`")
    return outcome.energy_uj / outcome.answers / 1e3


def reconciliation(ledger: Path) -> dict[str, Any]:
    """Metered against attributed energy over the whole ledger, and what `ledger verify` finds."""
    book = SqliteLedger(ledger, must_exist=True)
    pools = ("active_uj", "held_uj", "host_uj", "idle_uj", "waste_uj", "background_uj", "foreign_uj", "gap_uj")
    metered = attributed = settled = pending = entries = 0
    for _, entry in book.entries():
        entries += 1
        body: Any = entry.body
        if entry.kind == "device_interval":
            metered += body["metered_uj"]
            attributed += sum(body[pool] for pool in pools[3:]) + (body.get("overhead_uj") or 0)
            pending = body["pending_after_uj"]
        elif entry.kind == "usage" and body["state"] == "settled" and is_metered(body):
            settled += body["active_uj"] + body["held_uj"] + body["host_uj"]
    findings = list(book.verify())
    book.close()
    attributed += settled + pending
    return {
        "entries": entries,
        "metered_uj": metered,
        "settled_uj": settled,
        "attributed_uj": attributed,
        "difference_uj": metered - attributed,
        "findings": findings,
    }


def is_metered(body: Any) -> bool:
    """Whether a settled line holds a charged share of what the meter saw."""
    return body["charged"] and body["active_uj"] is not None and "unmetered" not in body["flags"]


def kill() -> dict[str, Any]:
    """kill -9 of a gateway replica during load: which answered requests are missing from the ledger."""
    with gateway() as running:
        victims = [pid for pid in processes_below(os.getpid()) if is_gateway(pid)]
        killing = threading.Timer(4.0, lambda: os.kill(victims[0], signal.SIGKILL))
        killing.start()
        outcome: Outcome = drive(
            requests_for(running, seed=0),
            address=running.address,
            connections=CONNECTIONS,
            duration_s=10.0,
            keep="ids",
        )
        killing.join()
        stop()
        book = SqliteLedger(running.ledger, must_exist=True)
        recorded = {entry.key for _, entry in book.entries() if entry.kind == "usage"}
        findings = list(book.verify())
        book.close()
    missing = len(set(outcome.request_ids) - recorded)
    print(
        f"kill -9 of a replica       {len(outcome.request_ids):,} answered, {missing} missing from the ledger, "
        f"{outcome.lost_connections} connections lost; findings: {findings or 'none'}"
    )
    return {
        "answered": len(outcome.request_ids),
        "missing": missing,
        "lost_connections": outcome.lost_connections,
        "findings": findings,
    }


def is_gateway(pid: int) -> bool:
    """Whether a process is a gateway replica, by the title that Ray gives it."""
    try:
        return b"ServeReplica:greenserve:Gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    main()
