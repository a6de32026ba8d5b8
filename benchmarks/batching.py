"""`python -m benchmarks.batching`: GreenBatch beside other servers' batching, simulated on measured times and joules.

Every policy sees the same arrivals, lengths and noise; the rivals' sizes and times are searched, ours has none to set.
"""

import csv
import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from greenserve.host import describe_host
from greenserve.manifest import Manifest, Profile, load_manifest
from greenserve.serve.batching.cost import CostModel
from greenserve.serve.batching.lane import Lane, LaneSettings
from greenserve.serve.batching.policy import Policy
from greenserve.serve.batching.regression import Regression
from greenserve.serve.batching.rivals import Cork, Greedy, Rival, ServeBatch, Timer
from greenserve.serve.batching.simulate import Arrival, Outcome, Truth, simulate_policy, simulate_rival
from greenserve.units import NS_PER_S

MANIFEST = Path("variants/sentiment/manifest.json")
RESULTS = Path("benchmarks/results")
TRACE = Path("../shared/data/arrivals_azure_llm_2023_code.csv.gz")
VARIANT = "int8-dyn"
SLO_S = 0.2
MAX_BATCH = 32
MAX_QUEUED = 512
REQUESTS = 6_000
LOADS = (0.5, 0.8, 1.1, 3.0)
SIZES = (2, 4, 8, 16, 32, 64)
TIMEOUTS_S = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)
NOISE = 0.08
BURST, BURST_SHARE, BURST_S = 5.0, 0.1, 0.5
SEED = 7

Floats = np.ndarray[Any, np.dtype[np.float64]]


def poisson(random: np.random.Generator, rate: float) -> Floats:
    """Arrival times [s] of a Poisson process."""
    return np.cumsum(random.exponential(1.0 / rate, REQUESTS))


def mmpp(random: np.random.Generator, rate: float) -> Floats:
    """Arrival times [s] that switch between calm and bursts of five times the calm rate, a tenth of the time."""
    calm = rate / (1.0 + (BURST - 1.0) * BURST_SHARE)
    times: list[float] = []
    now_s, burst = 0.0, False
    while len(times) < REQUESTS:
        mean_s = BURST_S if burst else BURST_S * (1.0 - BURST_SHARE) / BURST_SHARE
        end_s = now_s + random.exponential(mean_s)
        at_s = now_s + random.exponential(1.0 / (calm * BURST if burst else calm))
        while at_s < end_s:
            times.append(at_s)
            at_s += random.exponential(1.0 / (calm * BURST if burst else calm))
        now_s, burst = end_s, not burst
    return np.array(times[:REQUESTS])


def daily(random: np.random.Generator, rate: float) -> Floats:
    """Arrival times [s] whose rate swings by 60 % around its mean, once over the run."""
    whole_s = REQUESTS / rate
    grid = np.linspace(0.0, whole_s, 2_000)
    done = rate * (grid - 0.6 * whole_s / (2 * np.pi) * (np.cos(2 * np.pi * grid / whole_s) - 1.0))
    return np.interp(np.cumsum(random.exponential(1.0, REQUESTS - 100)), done, grid)


def azure(random: np.random.Generator, rate: float) -> Floats:
    """The Azure code trace [s], sped up until its mean rate is `rate`: bursts of 26 times the mean."""
    with gzip.open(TRACE, "rt", encoding="utf-8") as file:
        offsets = np.array([float(row["offset_s"]) for row in csv.DictReader(file)])
    offsets -= offsets[0]
    sped_up: Floats = offsets * (len(offsets) / offsets[-1] / rate)
    return sped_up


SOURCES: dict[str, Callable[[np.random.Generator, float], Floats]] = {
    "poisson": poisson,
    "mmpp": mmpp,
    "daily": daily,
    "azure": azure,
}


def lengths_of(random: np.random.Generator, count: int, longest: int) -> list[int]:
    """Tokens of texts like the demo's tweets: median 33, 95 % under 52."""
    drawn = np.exp(random.normal(np.log(33.0), np.log(52 / 33) / 1.645, count))
    return [int(value) for value in np.clip(np.round(drawn), 3, longest)]


def a_lane(manifest: Manifest, profile: Profile) -> Lane:
    """The lane as the gateway builds it, its costs from the manifest."""
    assert manifest.preprocessing is not None
    buckets = manifest.preprocessing.buckets
    cost = CostModel(
        seconds=profile.t_s, joules=profile.e_dynamic_j, q=profile.q99, buckets=buckets, explored=[(16, 128)]
    )
    return Lane(VARIANT, LaneSettings(buckets=buckets, max_batch=MAX_BATCH, slo_s=SLO_S), cost)


def capacity_per_s(lane: Lane, lengths: Sequence[int]) -> float:
    """Rows per second at full batches of each bucket."""
    return 1.0 / float(np.mean([lane.row_s(lane.queue.bucket_of(length)) for length in lengths]))


def rivals() -> dict[str, list[tuple[str, Callable[[], Rival]]]]:
    """By name: the settings that are searched, each with what builds the policy."""

    def serve(size: int, timeout_s: float) -> Callable[[], Rival]:
        return lambda: ServeBatch(size=size, timeout_s=timeout_s, max_queued=MAX_QUEUED)

    def timer(size: int, timeout_s: float) -> Callable[[], Rival]:
        return lambda: Timer(size=size, timeout_s=timeout_s, max_queued=MAX_QUEUED)

    def greedy(size: int) -> Callable[[], Rival]:
        return lambda: Greedy(size=size, max_queued=MAX_QUEUED)

    def cork(size: int) -> Callable[[], Rival]:
        return lambda: Cork(size=size, limit_s=SLO_S, max_queued=MAX_QUEUED)

    both = [(size, timeout_s) for size in SIZES for timeout_s in TIMEOUTS_S]
    return {
        "serve_batch": [(f"{size} rows, {1e3 * wait:g} ms", serve(size, wait)) for size, wait in both],
        "timer": [(f"{size} rows, {1e3 * wait:g} ms", timer(size, wait)) for size, wait in both],
        "greedy": [(f"{size} rows", greedy(size)) for size in SIZES],
        "cork": [(f"{size} rows", cork(size)) for size in SIZES],
    }


def figures(outcome: Outcome) -> dict[str, Any]:
    """What a run is compared by."""
    return {
        "offered": outcome.offered,
        "goodput_per_s": outcome.goodput_per_s,
        "good_share": outcome.good / outcome.offered,
        "late_share": outcome.late / max(1, outcome.answered),
        "refused": outcome.refused,
        "dropped": outcome.dropped,
        "mj_per_answer": _milli(outcome.j_per_answer),
        "mj_per_good": _milli(outcome.j_per_good),
        "wait_p50_ms": _milli(outcome.wait_s(0.5)),
        "wait_p99_ms": _milli(outcome.wait_s(0.99)),
        "padding": outcome.padding,
        "rows_per_batch": outcome.rows_per_batch,
        "busy": outcome.busy_s / outcome.duration_s,
        "misfit": outcome.misfit,
        "over_high": outcome.over_high,
    }


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value


def compare(source: str, load: float, manifest: Manifest, profile: Profile) -> dict[str, Any]:
    """All policies over one arrival process at a share of the capacity; a rival's best setting is by goodput."""
    random = np.random.default_rng([SEED, len(source), int(load * 10)])
    lane = a_lane(manifest, profile)
    probe = lengths_of(random, 2_000, lane.settings.buckets[-1])
    capacity = capacity_per_s(lane, probe)
    times_s = SOURCES[source](random, load * capacity)
    lengths = lengths_of(random, len(times_s), lane.settings.buckets[-1])
    arrivals = [Arrival(NS_PER_S + int(at_s * NS_PER_S), length) for at_s, length in zip(times_s, lengths, strict=True)]
    noise = np.exp(random.normal(0.0, NOISE, 4_096)).tolist()
    truth = Truth(seconds=Regression(profile.t_s), joules=Regression(profile.e_dynamic_j), noise=noise)
    found: dict[str, Any] = {"source": source, "load": load, "capacity_per_s": capacity, "policies": {}}
    for patience in ("balanced", "green", "latency"):
        policy = Policy([a_lane(manifest, profile)], max_queued=MAX_QUEUED)
        policy.overhead_ns = 0
        outcome = simulate_policy(policy, VARIANT, arrivals, truth, slo_s=SLO_S, patience=patience)
        found["policies"][f"greenbatch {patience}"] = figures(outcome) | {"setting": patience}
    for name, settings in rivals().items():
        runs = [
            figures(simulate_rival(build(), arrivals, truth, slo_s=SLO_S)) | {"setting": setting}
            for setting, build in settings
        ]
        found["policies"][name] = max(runs, key=lambda run: (round(run["good_share"], 3), -run["mj_per_answer"]))
    return found


def show(results: Sequence[dict[str, Any]]) -> None:
    """One table, a line per policy."""
    table = Table(title=f"{VARIANT}, objective {1e3 * SLO_S:g} ms, simulated on this manifest's t(b, L) and e(b, L)")
    for heading in ("arrivals", "load", "policy", "setting", "good/s", "good", "late", "mJ/answer", "mJ/good"):
        table.add_column(heading, no_wrap=True)
    for heading in ("wait p50", "p99 ms", "padding", "rows"):
        table.add_column(heading, no_wrap=True)
    for result in results:
        for name, run in result["policies"].items():
            table.add_row(
                result["source"],
                f"{result['load']:g}",
                name,
                run["setting"],
                f"{run['goodput_per_s']:.0f}",
                f"{run['good_share']:.1%}",
                f"{run['late_share']:.1%}",
                _shown(run["mj_per_answer"], 2),
                _shown(run["mj_per_good"], 2),
                _shown(run["wait_p50_ms"], 1),
                _shown(run["wait_p99_ms"], 1),
                _shown(run["padding"], 3),
                _shown(run["rows_per_batch"], 1),
            )
        table.add_section()
    Console(width=170).print(table)


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Ours over `@serve.batch` at its best."""
    ours, theirs = result["policies"]["greenbatch balanced"], result["policies"]["serve_batch"]
    return {
        "goodput": ours["goodput_per_s"] / max(theirs["goodput_per_s"], 1e-9),
        "j_per_answer": ours["mj_per_answer"] / theirs["mj_per_answer"],
        "j_per_good": ours["mj_per_good"] / theirs["mj_per_good"] if theirs["mj_per_good"] else 0.0,
    }


def main() -> None:
    """Simulate everything, print it, write it."""
    if not MANIFEST.is_file():
        sys.exit(f"no manifest at {MANIFEST}; build one with `greenserve optimize demo:minilm`")
    manifest = load_manifest(MANIFEST)
    profile = manifest.variant(VARIANT).profiles[0]
    started, begun_s = datetime.now(UTC), time.perf_counter()
    sources = [name for name in SOURCES if name != "azure" or TRACE.is_file()]
    if "azure" not in sources:
        print(f"left out: azure, since {TRACE} is not here")
    results = [compare(source, load, manifest, profile) for source in sources for load in LOADS]
    show(results)
    for result in results:
        result["ratios_to_serve_batch"] = ratios(result)
        shown = "  ".join(f"{name} {value:.2f}x" for name, value in result["ratios_to_serve_batch"].items())
        print(f"{result['source']:<8} {result['load']:g} x capacity: {shown}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"batching-{started:%Y%m%dT%H%M%SZ}.json"
    document = {
        "schema": "greenserve.bench-batching/1",
        "at": started.isoformat(timespec="seconds"),
        "took_s": time.perf_counter() - begun_s,
        "machine": describe_host(),
        "manifest": manifest.digest,
        "variant": VARIANT,
        "energy": {"part": "dynamic", "source": "simulated from the manifest's e(b, L)", "profile_tier": profile.tier},
        "slo_s": SLO_S,
        "noise": NOISE,
        "seed": SEED,
        "results": results,
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
