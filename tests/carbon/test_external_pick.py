"""Which external meters are taken, and why not the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.meters.pick import Machine, Picked, pick_node
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from tests.carbon.test_external import KEPLER, a_meter, gave


def picked(device: str, number: str | None) -> Picked:
    """An external meter that told a number, or nothing."""
    clock = ManualClock()
    meter = a_meter(KEPLER, clock=clock, device=device)
    if number is not None:
        gave(meter, clock, number)
    return Picked(name="external", meter=meter, rejected=(), device=device)


def a_machine(tmp_path: Path) -> Machine:
    """A machine with CPU times and nothing else."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 0 0 1 0 0 0\n")

    def nothing() -> Any:
        raise MeterUnavailable("no NVML")

    return Machine(stat_file=stat, powercap=tmp_path / "none", nvml=nothing)


Case = tuple[list[Picked], dict[str, str], str]


@pytest.mark.parametrize(
    "case",
    [
        lambda: ([picked("cpu", "5")], {"cpu": "external"}, "rapl"),
        lambda: ([picked("node", "5")], {"node": "external", "cpu": "cpu-time"}, "rapl"),
        lambda: ([picked("cpu", None)], {"cpu": "cpu-time"}, "it has not been asked yet"),
        lambda: ([picked("node", "1"), picked("node", "2")], {"node": "external", "cpu": "cpu-time"},
                 "node is read by external already"),
        lambda: ([], {"cpu": "cpu-time"}, "rapl"),
    ],
)  # fmt: skip
def test_an_external_meter_of_the_cpu_stands_between_rapl_and_the_model(
    case: Callable[[], Case], tmp_path: Path
) -> None:
    """That of the node is a device of its own; each that is not taken has its reason."""
    external, devices, words = case()

    node = pick_node(clock=ManualClock(), machine=a_machine(tmp_path), external=external)

    assert devices == {one.device: one.name for one in node.devices}
    assert any(words in f"{name} {reason}" for name, reason in node.rejected)


def test_an_external_meter_that_is_named_must_be_configured(tmp_path: Path) -> None:
    """The message names the key."""
    with pytest.raises(MeterUnavailable, match=r"energy\.external names no meter"):
        pick_node(["external"], clock=ManualClock(), machine=a_machine(tmp_path))
