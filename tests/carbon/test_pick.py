"""Which meters a machine gets, and what is said about the others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynvml
import pytest

from greenserve.carbon.meters.nvml import start
from greenserve.carbon.meters.pick import Machine, Model, PickedNode, pick_meter, pick_node
from greenserve.carbon.power_model import CpuPower
from greenserve.clock import ManualClock
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading
from tests.carbon.test_boards import a_characterisation
from tests.carbon.test_rapl import a_zone
from tests.fake_nvml import COUNTER, FakeBoard, FakeNvml

READING = Reading(device="cpu", energy_uj=1, static_uj=1, at_ns=1, source="series", tier="metered")
STAT = "cpu  100 10 30 5000 600 7 3 900 50 5\n"
POWER = CpuPower(idle_mw=7, dynamic_mw_per_cpu=9, tier="modelled", half_width_pct=35, source="test")


def loaded(nvml: FakeNvml) -> Callable[[], Any]:
    """What loads and starts this NVML."""

    def load() -> Any:
        start(nvml)
        return nvml

    return load


def a_machine(folder: Path, *boards: FakeBoard, stat: str = STAT, rapl: bool = False) -> Machine:
    (folder / "stat").write_text(stat)
    if rapl:
        a_zone(folder / "powercap", "intel-rapl:0", "package-0")
    nvml = FakeNvml(*boards, clock=ManualClock(), starts=bool(boards))
    return Machine(
        stat_file=folder / "stat", powercap=folder / "powercap", nvml=loaded(nvml), wait=lambda seconds: None
    )


def by_device(node: PickedNode) -> dict[str, str]:
    return {picked.device: picked.name for picked in node.devices}


def test_auto_takes_the_cpu_time_model_and_says_why_nothing_better(tmp_path: Path) -> None:
    """Each better meter is named with what it lacks."""
    picked = pick_meter("auto", clock=ManualClock(), machine=a_machine(tmp_path))

    assert "cpu-time" == picked.name
    assert ["nvml", "rapl"] == [name for name, _ in picked.rejected]
    assert picked.rejected[0][1].startswith("NVML does not start (NVML Shared Library Not Found)")
    assert picked.rejected[1][1].startswith("no RAPL package in ")


def test_readable_rapl_is_better_than_the_model(tmp_path: Path) -> None:
    """The model stands in for what RAPL misses, and gives it the power at rest."""
    node = pick_node("auto", clock=ManualClock(), machine=a_machine(tmp_path, rapl=True), model=Model(power=POWER))

    assert {"cpu": "rapl"} == by_device(node)
    assert 7 == node.devices[0].meter.describe()["static_mw"]
    assert node.devices[0].stand_in is not None


def test_every_board_gets_a_meter_beside_the_cpus(tmp_path: Path) -> None:
    """Boards and the CPU are devices of their own; an unprobed board is read every 50 ms."""
    boards = (FakeBoard(), FakeBoard(uuid="GPU-1", mig=True))

    node = pick_node(clock=ManualClock(), machine=a_machine(tmp_path, *boards))

    assert {"GPU-0000": "nvml", "GPU-1": "nvml", "cpu": "cpu-time"} == by_device(node)
    assert [50_000_000, 300_000] == [node.devices[0].period_ns, node.devices[0].limits.power_limit_mw]
    assert ["MIG instances of gpu 1", "rapl"] == [name for name, _ in node.rejected]
    assert ["GPU-0000", "GPU-1"] == [board.uuid for board in node.boards]


@pytest.mark.parametrize(("driver", "tier"), [("580.1", "measured"), ("570.0", "measured_raw")])
def test_what_a_probe_found_holds_for_its_driver(tmp_path: Path, driver: str, tier: str) -> None:
    """Another driver may publish otherwise: the board is raw again until it is probed."""
    known = [replace(a_characterisation(), driver=driver)]

    node = pick_node(clock=ManualClock(), machine=a_machine(tmp_path, FakeBoard()), boards=iter(known))

    assert tier == node.devices[0].meter.describe()["tier"]


@pytest.mark.parametrize(
    ("board", "reason"),
    [
        (FakeBoard(fails={COUNTER: pynvml.NVML_ERROR_NOT_SUPPORTED}, samples=[(5, 70_000)]), "Not Supported"),
        (FakeBoard(counter_mj=0, samples=[(5, 70_000)]), "draws 70000 mW and its counter stands at 0"),
    ],
)
def test_a_board_without_a_counter_is_metered_by_its_samples(tmp_path: Path, board: FakeBoard, reason: str) -> None:
    """Older boards and virtual GPUs; a counter that stands at 0 on a busy board counts nothing."""
    node = pick_node(clock=ManualClock(), machine=a_machine(tmp_path, board))

    assert str(node.devices[0].meter.describe()["source"]).startswith("nvml power samples")
    assert reason in node.rejected[0][1]


def test_a_board_that_reads_nothing_is_left_out_with_both_reasons(tmp_path: Path) -> None:
    """Unmetered, and said so; the CPU is read all the same."""
    silent = FakeBoard(fails={COUNTER: pynvml.NVML_ERROR_NOT_SUPPORTED})

    node = pick_node(clock=ManualClock(), machine=a_machine(tmp_path, silent))

    assert {"cpu": "cpu-time"} == by_device(node)
    assert ["nvml counter of gpu 0", "nvml power samples of gpu 0", "rapl"] == [name for name, _ in node.rejected]
    assert () == node.boards


def test_a_given_power_model_is_used(tmp_path: Path) -> None:
    """Configuration wins over the class average."""
    picked = pick_meter(["cpu-time"], clock=ManualClock(), power=POWER, machine=a_machine(tmp_path))

    assert () == picked.rejected
    assert 7 == picked.meter.describe()["idle_mw"]


def test_replay_comes_only_by_name(tmp_path: Path) -> None:
    """Never a fallback of `auto`; by name it is taken and stamped simulated."""
    machine = a_machine(tmp_path, stat="nothing")

    with pytest.raises(MeterUnavailable, match="no meter of nvml, rapl, external, cpu-time can be read here"):
        pick_meter("auto", clock=ManualClock(), replay=[READING], machine=machine)

    picked = pick_meter("replay", clock=ManualClock(), replay=[READING], machine=machine)
    assert "simulated" == picked.meter.read().tier


def test_boards_alone_settle_nothing_that_ran_on_the_cpu(tmp_path: Path) -> None:
    """The message names what to add."""
    machine = a_machine(tmp_path, FakeBoard())

    assert {"GPU-0000": "nvml"} == by_device(pick_node(["nvml"], clock=ManualClock(), machine=machine))
    with pytest.raises(MeterUnavailable, match=r"for the CPU \(only boards are named\); add 'cpu-time'"):
        pick_meter(["nvml"], clock=ManualClock(), machine=machine)


@pytest.mark.parametrize("names", [["rappl"], [], "cpu"])
def test_an_unknown_name_is_refused_with_the_allowed_ones(tmp_path: Path, names: list[str] | str) -> None:
    """A misspelt meter must not fall through to another one."""
    with pytest.raises(ConfigInvalid, match="a list of 'nvml', 'rapl', 'external', 'cpu-time', 'replay'"):
        pick_meter(names, clock=ManualClock(), machine=a_machine(tmp_path))
