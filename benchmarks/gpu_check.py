"""`make gpu-check`: what the energy figures of this machine's NVIDIA board are worth. From a plain checkout.

Needs python3 with torch and nvidia-ml-py. Exit codes: 0 done, 3 a bar is missed, 6 no board, package or free board,
7 the measurement is not valid.
"""

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu_attribution import Batch, Error, attribute, dynamic_uj, errors, isolated_uj, trusted
from benchmarks.gpu_models import Kind, Served, make
from greenserve.carbon.meters.characterise import MILLI, Characterisation
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.nvml import Board, list_boards, load_nvml
from greenserve.carbon.meters.pick import Machine, pick_node
from greenserve.carbon.meters.probe import Plan, Probe
from greenserve.cli.gpu_work import gpu_work, import_torch, own_processes
from greenserve.cli.sampler import sampling
from greenserve.clock import SystemClock
from greenserve.errors import DependencyMissing, MeterUnavailable
from greenserve.units import NS_PER_S

RESULTS = Path("benchmarks") / "results"
BATCH_BAR_PCT, BIAS_BAR_PCT, CPU_BAR_PCT, SLOWDOWN_BAR_MILLI = 10.0, 3.0, 0.5, 1005
MISSED, MISSING, INVALID = 3, 6, 7
SEED = 20_261


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long each part runs [s], and how many repeats of each class run alone."""

    alone_s: float = 5.0
    repeats: int = 10
    mixed_s: float = 60.0
    served_s: float = 3.0
    quiet_s: float = 10.0


QUICK = Lengths(alone_s=2.0, repeats=3, mixed_s=15.0, served_s=1.0, quiet_s=5.0)
QUICK_PLAN = Plan(idle_ns=6 * NS_PER_S, wave_ns=12 * NS_PER_S, steady_ns=6 * NS_PER_S)


class Check:
    """Runs the parts on one board. State: none but the board's own; the reader works beside it."""

    def __init__(
        self,
        node: NodeMeter,
        found: Characterisation,
        *,
        clock: Any,
        wait: Callable[[float], object],
        lengths: Lengths,
    ) -> None:
        self._node, self._found, self._clock, self._wait, self._lengths = node, found, clock, wait, lengths

    def alone(self, kind: Kind) -> float:
        """Dynamic energy [uJ] of a batch of the class: the mean of the repeats, each back to back for some seconds."""
        per_batch = []
        for _ in range(self._lengths.repeats):
            self._node.take(self._found.uuid)
            batches = self._batches([kind], self._lengths.alone_s, gap_s=0.0)
            per_batch.append(isolated_uj(self._rows(), batches, idle_mw=self._found.idle_mw, lag_ns=self._found.lag_ns))
        return sum(per_batch) / len(per_batch)

    def mixed(self, kinds: Sequence[Kind], isolated: dict[str, float], *, gap_s: float) -> list[Error]:
        """The error of attributed batches against isolated ones, in a random mix with pauses of `gap_s` [s] at most."""
        self._node.take(self._found.uuid)
        batches = self._batches(kinds, self._lengths.mixed_s, gap_s=gap_s)
        energy = attribute(self._rows(), batches, idle_mw=self._found.idle_mw, lag_ns=self._found.lag_ns)
        return errors(energy, batches, isolated)

    def served(self, one: Served) -> dict[str, object]:
        """Energy of a request [mJ], all and dynamic, and its throughput [1/s]; None where no interval lies inside."""
        one.run()
        self._node.take(self._found.uuid)
        batches = self._batches([Kind(name="served", run=one.run)], self._lengths.served_s, gap_s=0.0)
        start_ns, end_ns = batches[0].start_ns, batches[-1].end_ns
        inside = [row for row in trusted(self._rows()) if start_ns <= row.start_ns and row.end_ns <= end_ns]
        per_s = len(batches) * one.rows * NS_PER_S / (end_ns - start_ns)
        result: dict[str, object] = {"precision": one.precision, "rows": one.rows, "requests_per_s": per_s}
        seconds = sum(row.end_ns - row.start_ns for row in inside) / NS_PER_S
        if not inside:
            return result | {"mj_per_request": None, "dynamic_mj_per_request": None}
        # Known: only rows that a counter covers are trusted.
        whole_uj = sum(row.energy_uj or 0 for row in inside)
        dynamic = sum(dynamic_uj(row, self._found.idle_mw) for row in inside)
        return result | {
            "mj_per_request": whole_uj / seconds / per_s / MILLI,
            "dynamic_mj_per_request": dynamic / seconds / per_s / MILLI,
        }

    def _batches(self, kinds: Sequence[Kind], seconds: float, *, gap_s: float) -> list[Batch]:
        order = random.Random(SEED)
        end_ns = self._clock.monotonic_ns() + round(seconds * NS_PER_S)
        batches: list[Batch] = []
        while (start_ns := self._clock.monotonic_ns()) < end_ns:
            kind = order.choice(kinds)
            kind.run()
            batches.append(Batch(kind=kind.name, start_ns=start_ns, end_ns=self._clock.monotonic_ns()))
            if gap_s:
                self._wait(order.uniform(0, gap_s))
        return batches

    def _rows(self) -> list[Any]:
        # The counter shows the last batch a period and its lag later.
        self._wait(3 * (self._found.period_ns + self._found.lag_ns) / NS_PER_S)
        return self._node.take(self._found.uuid)


def process_cpu_pct(seconds: float) -> float:
    """CPU time [% of a core] that this process uses for some seconds in which only its reader works."""
    start_s, cpu_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return 100 * (time.process_time() - cpu_s) / (time.perf_counter() - start_s)


def bars(result: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """(what, figure, bar, met) of each bar; met is None where it could not be measured."""
    rows: list[tuple[str, str, str, bool | None]] = []
    for load, found in result["mixed"].items():
        worst = max((one["median_pct"] for one in found), default=None)
        bias = max((abs(one["bias_pct"]) for one in found), default=None)
        rows.append(_bar(f"batch against isolated, {load}, median %", worst, BATCH_BAR_PCT))
        rows.append(_bar(f"class against isolated, {load}, mean %", bias, BIAS_BAR_PCT))
    rows.append(_bar("sampler, % of a core", result["sampler_cpu_pct"], CPU_BAR_PCT))
    slowdown = result["characterisation"]["slowdown_milli"]
    rows.append(_bar("fixed job beside the sampler, 1/1000", slowdown, SLOWDOWN_BAR_MILLI))
    return rows


def _bar(what: str, value: float | None, bar: float) -> tuple[str, str, str, bool | None]:
    return what, "unknown" if value is None else f"{value:.2f}", f"<= {bar:g}", None if value is None else value <= bar


def table(result: dict[str, Any]) -> list[str]:
    """The result for people, a line each."""
    known = result["characterisation"]
    lines = [
        f"{known['board']}, driver {known['driver']}: a value every {known['period_ns'] / 1e6:.1f} ms, sensor sees "
        f"{known['share_milli'] / 10:.0f} %, {known['lag_ns'] / 1e6:.0f} ms late, R2 {known['r2_milli'] / MILLI:.3f}"
        f"{', duty unknown' if known['duty_unknown'] else ''}; static {known['idle_mw'] / MILLI:.1f} W",
        "",
        f"{'mix':<10}{'class':<10}{'batches':>8}{'alone mJ':>12}{'mixed mJ':>12}{'median %':>10}{'bias %':>9}",
    ]
    for load, found in result["mixed"].items():
        lines += [
            f"{load:<10}{one['kind']:<10}{one['batches']:>8}{one['isolated_uj'] / MILLI:>12.1f}"
            f"{one['attributed_uj'] / MILLI:>12.1f}{one['median_pct']:>10.2f}{one['bias_pct']:>+9.2f}"
            for one in found
        ]
    lines += ["", f"{'precision':<10}{'rows':>6}{'requests/s':>13}{'mJ/request':>13}{'dynamic mJ':>13}"]
    for one in result["served"]:
        mj, dynamic = one["mj_per_request"], one["dynamic_mj_per_request"]
        lines.append(
            f"{one['precision']:<10}{one['rows']:>6}{one['requests_per_s']:>13.0f}"
            f"{'unknown' if mj is None else f'{mj:.2f}':>13}{'unknown' if dynamic is None else f'{dynamic:.2f}':>13}"
        )
    lines += [""]
    words = {True: "met", False: "MISSED", None: "not measured"}
    return lines + [f"{what:<46}{figure:>10}  {bar:<10}{words[met]}" for what, figure, bar, met in bars(result)]


def run_parts(
    check: Check, kinds: Sequence[Kind], served: Sequence[Served], said: Callable[[str], object]
) -> dict[str, Any]:
    """All parts after the probe, in their order."""
    isolated: dict[str, float] = {}
    for kind in kinds:
        said(f"class {kind.name} alone")
        isolated[kind.name] = check.alone(kind)
    mixed = {}
    for name, gap_s in (("busy", 0.003), ("60 %", 0.040)):
        said(f"three classes mixed, {name}")
        mixed[name] = [asdict(one) for one in check.mixed(kinds, isolated, gap_s=gap_s)]
    rows = []
    for one in served:
        said(f"{one.precision}, {one.rows} rows")
        rows.append(check.served(one))
    return {"isolated_uj": isolated, "mixed": mixed, "served": rows}


def measure(nvml: Any, board: Board, torch: Any, *, quick: bool) -> dict[str, Any]:
    """Everything on one board."""
    clock, lengths = SystemClock(), QUICK if quick else Lengths()
    print(f"probing {board.name} ({board.uuid})", file=sys.stderr)
    found = Probe(
        nvml,
        board,
        clock=clock,
        wait=time.sleep,
        work=gpu_work(torch, board.uuid),
        plan=QUICK_PLAN if quick else None,
        ours=own_processes(),
        sampler=lambda: sampling(nvml, board),
    ).run(said=_say)
    kinds, served = make(torch, board.uuid)
    picked = pick_node(["nvml"], clock=clock, machine=Machine(nvml=lambda: nvml), boards=[found])
    node = NodeMeter([one for one in picked.devices if one.device == board.uuid], clock=clock)
    node.start()
    try:
        cpu_pct = process_cpu_pct(lengths.quiet_s)
        check = Check(node, found, clock=clock, wait=time.sleep, lengths=lengths)
        result = run_parts(check, kinds, served, _say)
    finally:
        node.stop()
    return {
        "schema": "greenserve.gpu-check/1",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seed": SEED,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cpus": os.cpu_count(),
        "lengths_s": asdict(lengths),
        "tier": "measured_raw" if found.duty_unknown else "measured",
        "characterisation": asdict(found),
        "sampler_cpu_pct": cpu_pct,
    } | result


def main(arguments: Sequence[str] | None = None, *, load: Callable[[], Any] = load_nvml) -> int:
    """Measure the first board (or `--device`), print one table, keep the JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute and a half instead of eight, wider errors")
    parser.add_argument("--device", default="", help="the UUID of a board, or its start")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the JSON file")
    chosen = parser.parse_args(arguments)
    try:
        nvml = load()
        boards, _ = list_boards(nvml)
        board = next((one for one in boards if one.uuid.startswith(chosen.device)), None)
        if board is None:
            raise MeterUnavailable(f"no board's UUID starts with {chosen.device!r}")
        result = measure(nvml, board, import_torch(), quick=chosen.quick)
    except (MeterUnavailable, DependencyMissing) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return MISSING
    except ValueError as error:
        print(f"gpu-check: the measurement is not valid: {error}", file=sys.stderr)
        return INVALID
    print("\n".join(table(result)))
    chosen.output.mkdir(parents=True, exist_ok=True)
    file = chosen.output / f"gpu-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"kept in {file}", file=sys.stderr)
    return MISSED if any(met is False for *_, met in bars(result)) else 0


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
