"""What reading a node's meters costs: CPU time of the reader over real seconds, boards by a double of NVML.

The double does in Python what the module does (structures, value unions); a driver's own time is not in it: `make
gpu-check` measures that on a board.
"""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from greenserve.carbon.meters.journal import Journal
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.pick import Machine, pick_node
from greenserve.clock import ManualClock, SystemClock
from greenserve.units import MILLI
from tests.carbon.test_boards import a_characterisation
from tests.fake_nvml import FakeBoard, FakeNvml

RESULTS = Path("benchmarks") / "results"
BAR_PCT = 0.5
PERIOD_S = 0.1
LEARNT_S = 12.0
"""A hundred moves of the counter, after which a board that was not probed is read at its own period."""


class RealTime(ManualClock):
    """The machine's time for the double, which advances its clock by its calls."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def unix_us(self) -> int:
        return time.time_ns() // MILLI


class Working(FakeBoard):
    """A board whose counter moves every 100 ms."""

    def work(self) -> None:
        """Show the counter of now."""
        self.counter_mj = int(time.monotonic() / PERIOD_S) * 7_000


def cost_pct(
    names: Sequence[str], boards: int, seconds: float, *, probed: bool = True, settle_s: float = 0.5
) -> tuple[float, int]:
    """CPU time [% of a core] of a process in which only the reader works, and how many readings of boards it made.

    It is measured from `settle_s` [s] after the start on; a board that was not `probed` finds its period by then.
    """
    fakes = [Working(uuid="GPU-0000" if not number else f"GPU-{number}") for number in range(boards)]
    for board in fakes:
        board.before_read = board.work
    nvml = FakeNvml(*fakes, clock=RealTime())
    clock = SystemClock()
    known = [a_characterisation()] if probed else []
    picked = pick_node(names, clock=clock, machine=Machine(nvml=lambda: nvml), boards=known)
    with TemporaryDirectory(prefix="bench-", dir=".") as folder:
        node = NodeMeter(
            picked.devices, clock=clock, journal_of=lambda device: Journal(Path(folder), device, clock=clock)
        )
        node.start()
        time.sleep(settle_s)
        start_s, cpu_s = time.perf_counter(), time.process_time()
        readings = nvml.calls.get("fields", 0)
        time.sleep(seconds)
        found = 100 * (time.process_time() - cpu_s) / (time.perf_counter() - start_s)
        readings = nvml.calls.get("fields", 0) - readings
        node.stop()
    return found, readings


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    cases: dict[str, tuple[list[str], int, bool, float]] = {
        "CPU meter": (["cpu-time"], 0, True, 0.5),
        "one board, probed": (["nvml"], 1, True, 0.5),
        "one board, not probed": (["nvml"], 1, False, LEARNT_S),
        "CPU and one board": (["nvml", "cpu-time"], 1, True, 0.5),
        "first seconds, not probed": (["nvml"], 1, False, 0.5),
    }
    results = {}
    for name, (names, boards, probed, settle_s) in cases.items():
        lasting_s = LEARNT_S - 3 if name.startswith("first") else seconds
        pct, readings = cost_pct(names, boards, lasting_s, probed=probed, settle_s=settle_s)
        results[name] = {"core_pct": round(pct, 4), "board_readings": readings}
        print(f"{name:<25} {pct:6.3f} % of a core   bar {BAR_PCT} %   {readings} board readings in {lasting_s:g} s")
    document = {"schema": "greenserve.sampler/1", "seconds": seconds, "bar_pct": BAR_PCT, "results": results}
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"sampler-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(document, indent=2) + "\n")
    print(f"kept in {file}")


if __name__ == "__main__":
    main()
