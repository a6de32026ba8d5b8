"""Which meter this machine gets, and why not the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.meters.replay import ReplayMeter
from greenserve.carbon.power_model import CpuPower
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock, EnergyMeter

METERS = ("nvml", "rapl", "cpu-time", "replay")
AUTO = ("nvml", "rapl", "cpu-time")
"""Best evidence first; a replayed series only by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where to look for what a meter needs."""

    stat_file: Path = Path("/proc/stat")
    powercap: Path = Path("/sys/class/powercap")
    nvidia: Path = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The meter that reads, its name, and (name, reason) of each that was tried before it."""

    name: str
    meter: "EnergyMeter"
    rejected: tuple[tuple[str, str], ...]


def pick_meter(
    names: Sequence[str] | Literal["auto"] = "auto",
    *,
    clock: "Clock",
    power: CpuPower | None = None,
    replay: Iterable[Reading] = (),
    machine: Machine | None = None,
) -> Picked:
    """The first meter of `names` that gives a reading here; `auto` means nvml, rapl, cpu-time.

    `power` replaces the model of this machine, `replay` is the series of a replay meter. Raises ConfigInvalid for an
    unknown name and MeterUnavailable, with each reason, where none reads.
    """
    wanted = AUTO if names == "auto" else (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in wanted if name not in METERS]
    if unknown or not wanted:
        raise ConfigInvalid(
            f"energy.meters names {', '.join(map(repr, unknown)) or 'nothing'}; "
            f"allowed are 'auto' or a list of {', '.join(map(repr, METERS))}"
        )
    machine = machine or Machine()
    rejected: list[tuple[str, str]] = []
    for name in wanted:
        if name == "replay":
            return Picked(name=name, meter=ReplayMeter(replay), rejected=tuple(rejected))
        try:
            meter = _cpu_time(machine, clock, power) if name == "cpu-time" else _not_yet(name, machine)
        except MeterUnavailable as reason:
            rejected.append((name, str(reason)))
        else:
            return Picked(name=name, meter=meter, rejected=tuple(rejected))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected)
    raise MeterUnavailable(f"no meter of {', '.join(wanted)} can be read here ({reasons}); add 'cpu-time' on Linux")


def _cpu_time(machine: Machine, clock: "Clock", power: CpuPower | None) -> "EnergyMeter":
    meter = CpuTimeMeter(power or host_power(), clock=clock, stat_file=machine.stat_file)
    meter.read()
    return meter


def _not_yet(name: str, machine: Machine) -> "EnergyMeter":
    """Say what was seen of a device whose meter this version does not have."""
    if name == "nvml":
        seen = "an NVIDIA device is present" if _holds_something(machine.nvidia) else "no NVIDIA device is present"
    elif _holds_something(machine.powercap):
        seen = f"RAPL domains are present in {machine.powercap}"
    else:
        seen = f"no RAPL domain is present in {machine.powercap}"
    raise MeterUnavailable(f"not in this version; {seen}")


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False
