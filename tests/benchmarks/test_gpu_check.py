"""The GPU check on a simulated board: what it finds, what it says without one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_attribution import Batch, attribute, errors, isolated_uj
from benchmarks.gpu_check import Check, Lengths, bars, main, run_parts, table
from benchmarks.gpu_models import Kind, Served
from greenserve.carbon.intervals import Row
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.pick import Machine, pick_node
from greenserve.clock import ManualClock
from tests.carbon.test_boards import a_characterisation
from tests.fake_nvml import FakeBoard, FakeNvml, FakeSensor

ROOT = Path(__file__).parents[2]
MS = 1_000_000
CLASSES = {"short": (6, 120_000), "middle": (20, 200_000), "long": (70, 260_000)}
"""Length [ms] and power above rest [mW]."""
SHORT = Lengths(alone_s=2.0, repeats=2, mixed_s=30.0, served_s=1.0, quiet_s=0.0)


class Bench:
    """A board whose classes are known, read by a node's reader while its clock moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sensor = FakeSensor(FakeBoard(limit_mw=500_000), self.clock, noise=0.005)
        nvml = FakeNvml(self.sensor.board, clock=self.clock)
        known = a_characterisation(idle_mw=self.sensor.idle_mw)
        picked = pick_node(["nvml"], clock=self.clock, machine=Machine(nvml=lambda: nvml), boards=[known])
        self.node = NodeMeter(picked.devices, clock=self.clock)
        self.check = Check(self.node, known, clock=self.clock, wait=self.wait, lengths=SHORT)

    def wait(self, seconds: float) -> None:
        end_ns = self.clock.monotonic_ns() + round(seconds * 1e9)
        while (left_ns := end_ns - self.clock.monotonic_ns()) > 0:
            self.node.step()
            self.clock.advance(duration_ns=min(2 * MS, left_ns))

    def runs(self, name: str) -> Callable[[], object]:
        length_ms, power_mw = CLASSES[name]

        def run() -> None:
            self.sensor.work(length_ms * MS, power_mw)
            self.wait(length_ms / 1_000)

        return run


def truth_uj(name: str) -> int:
    length_ms, power_mw = CLASSES[name]
    return length_ms * power_mw


def measured(bench: Bench) -> dict[str, Any]:
    kinds = [Kind(name=name, run=bench.runs(name)) for name in CLASSES]
    served = [Served(precision="fp16", rows=10, run=bench.runs("middle"))]
    said: list[str] = []
    result: dict[str, Any] = run_parts(bench.check, kinds, served, said.append)
    assert len(said) == 6
    return result


def test_the_check_finds_what_the_classes_cost() -> None:
    """Alone within 1.5 %; mixed within the bars of the issue for a simulated device: 3.5 % a batch, 2 % a class."""
    result = measured(Bench())

    for name in CLASSES:
        assert pytest.approx(truth_uj(name), rel=0.015) == result["isolated_uj"][name]
    assert {"busy", "60 %"} == set(result["mixed"])
    for found in result["mixed"].values():
        assert sorted(CLASSES) == [one["kind"] for one in found]
        assert all(one["median_pct"] <= 3.5 and abs(one["bias_pct"]) <= 2 for one in found)
    (served,) = result["served"]
    assert pytest.approx(500, rel=0.01) == served["requests_per_s"]
    assert pytest.approx(270 / 500 * 1_000, rel=0.02) == served["mj_per_request"]
    assert pytest.approx(200 / 500 * 1_000, rel=0.02) == served["dynamic_mj_per_request"]


def a_result() -> dict[str, Any]:
    one = {
        "kind": "short",
        "batches": 9,
        "isolated_uj": 1_000.0,
        "attributed_uj": 1_100.0,
        "median_pct": 10.0,
        "bias_pct": -10.0,
    }
    served = {"precision": "fp16", "rows": 1, "requests_per_s": 5.0, "mj_per_request": None}
    return {
        "characterisation": {
            name: getattr(a_characterisation(), name) for name in a_characterisation().__dataclass_fields__
        },
        "mixed": {"busy": [one]},
        "served": [served | {"dynamic_mj_per_request": None}],
        "sampler_cpu_pct": 0.2,
    }


def test_the_bars_say_what_is_met_missed_and_not_measured() -> None:
    """An unknown is neither met nor missed, and is printed as unknown."""
    assert [True, False, True, None] == [met for *_, met in bars(a_result())]
    text = "\n".join(table(a_result()))
    for word in ("MISSED", "not measured", "unknown", "short"):
        assert word in text


def test_a_recording_without_an_interval_inside_is_not_valid() -> None:
    """Too short a run gives an error, not a number."""
    with pytest.raises(ValueError, match="run the batches for longer"):
        isolated_uj([], [Batch(kind="short", start_ns=0, end_ns=5)], idle_mw=1, lag_ns=0)


def a_row(start_ns: int, end_ns: int, energy_uj: int | None, *flags: str) -> Row:
    known = energy_uj is not None
    return Row(
        device="gpu",
        segment=0,
        start_ns=start_ns,
        end_ns=end_ns,
        energy_uj=energy_uj,
        static_uj=0 if known else None,
        tier="measured" if known else None,
        source="counter",
        flags=frozenset(flags),
    )


def test_batches_that_a_gap_touches_are_left_out() -> None:
    """Only what a counter covers whole is compared; nothing is lost between the covered batches."""
    rows = [a_row(0, 100, 1_000), a_row(100, 200, None, "gap"), a_row(200, 300, 500)]
    batches = [
        Batch(kind="a", start_ns=10, end_ns=50),
        Batch(kind="a", start_ns=60, end_ns=120),
        Batch(kind="a", start_ns=210, end_ns=250),
    ]

    energy = attribute(rows, batches, idle_mw=0, lag_ns=0)

    assert [0, 2] == sorted(energy)
    assert 500 == energy[2]
    assert [] == errors({}, batches, {"a": 1.0})


def test_without_a_board_the_check_says_so_and_exits_6() -> None:
    """From a plain checkout, with nothing installed."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "benchmarks.gpu_check", "--quick"],
        cwd=ROOT,
        env={"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (6, "") == (done.returncode, done.stdout)
    assert "gpu-check: the Python module pynvml is not installed; install the package nvidia-ml-py" in done.stderr


def test_a_board_without_cuda_in_torch_and_a_wrong_name_exit_6(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No measurement begins, and no file appears."""
    nvml = FakeNvml(FakeBoard(), clock=ManualClock())

    codes = [main(["--device", "GPU-9", "--output", str(tmp_path)], load=lambda: nvml)]

    assert [6] == codes
    assert "no board's UUID starts with 'GPU-9'" in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_the_result_is_json() -> None:
    """What is kept can be read by anything."""
    assert a_result() == json.loads(json.dumps(a_result()))
