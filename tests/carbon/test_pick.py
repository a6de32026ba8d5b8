"""Which meter a machine gets, and what is said about the others."""

from pathlib import Path

import pytest

from greenserve.carbon.meters.pick import Machine, pick_meter
from greenserve.carbon.power_model import CpuPower
from greenserve.clock import ManualClock
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading

READING = Reading(device="cpu", energy_uj=1, static_uj=1, at_ns=1, source="series", tier="metered")
STAT = "cpu  100 10 30 5000 600 7 3 900 50 5\n"


def a_machine(folder: Path, *, stat: str = STAT, domains: int = 0, boards: int = 0) -> Machine:
    (folder / "stat").write_text(stat)
    for kind, count in (("powercap", domains), ("nvidia", boards)):
        (folder / kind).mkdir()
        for number in range(count):
            (folder / kind / f"{kind}:{number}").mkdir()
    return Machine(stat_file=folder / "stat", powercap=folder / "powercap", nvidia=folder / "nvidia")


def test_auto_takes_the_cpu_time_model_and_says_why_nothing_better(tmp_path: Path) -> None:
    """Better meters are not in this version; whether their hardware is there is said too."""
    picked = pick_meter("auto", clock=ManualClock(), machine=a_machine(tmp_path))

    assert "cpu-time" == picked.name
    assert ("nvml", "not in this version; no NVIDIA device is present") == picked.rejected[0]
    assert "rapl" == picked.rejected[1][0]
    assert picked.rejected[1][1].startswith("not in this version; no RAPL domain is present in ")


def test_hardware_that_is_seen_is_named(tmp_path: Path) -> None:
    """An operator learns what a later version could read."""
    picked = pick_meter("auto", clock=ManualClock(), machine=a_machine(tmp_path, domains=2, boards=1))

    assert "an NVIDIA device is present" in picked.rejected[0][1]
    assert "RAPL domains are present" in picked.rejected[1][1]


def test_a_given_power_model_is_used(tmp_path: Path) -> None:
    """Configuration wins over the class average."""
    power = CpuPower(idle_mw=7, dynamic_mw_per_cpu=9, tier="modelled", half_width_pct=35, source="test")

    picked = pick_meter(["cpu-time"], clock=ManualClock(), power=power, machine=a_machine(tmp_path))

    assert () == picked.rejected
    assert 7 == picked.meter.describe()["idle_mw"]


def test_replay_comes_only_by_name(tmp_path: Path) -> None:
    """Never a fallback of `auto`; by name it is taken and stamped simulated."""
    machine = a_machine(tmp_path, stat="nothing")

    with pytest.raises(MeterUnavailable, match="no meter of nvml, rapl, cpu-time can be read here"):
        pick_meter("auto", clock=ManualClock(), replay=[READING], machine=machine)

    picked = pick_meter("replay", clock=ManualClock(), replay=[READING], machine=machine)
    assert "simulated" == picked.meter.read().tier


@pytest.mark.parametrize("names", [["rappl"], [], "cpu"])
def test_an_unknown_name_is_refused_with_the_allowed_ones(tmp_path: Path, names: list[str] | str) -> None:
    """A misspelt meter must not fall through to another one."""
    with pytest.raises(ConfigInvalid, match="allowed are 'auto' or a list of 'nvml', 'rapl', 'cpu-time', 'replay'"):
        pick_meter(names, clock=ManualClock(), machine=a_machine(tmp_path))
