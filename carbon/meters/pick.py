"""Which meters this machine gets, and why not the others."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greenserve.carbon.intervals import Limits
from greenserve.carbon.meters.boards import CounterMeter, SamplesMeter
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.meters.known_boards import known
from greenserve.carbon.meters.mig import MigWatch, list_instances
from greenserve.carbon.meters.mig_meters import InstanceMeter, MigSplit, RestMeter
from greenserve.carbon.meters.nvml import Board, FieldReader, list_boards, load_nvml
from greenserve.carbon.meters.pace import board_period_ns
from greenserve.carbon.meters.rapl import POWERCAP, open_rapl
from greenserve.carbon.meters.replay import ReplayMeter
from greenserve.carbon.power_model import CpuPower
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock, EnergyMeter

METERS = ("nvml", "rapl", "external", "cpu-time", "replay")
AUTO = ("nvml", "rapl", "external", "cpu-time")
"""Best evidence first; a replayed series only by name."""
BOARD_METERS = frozenset({"nvml"})
CPU = "cpu"
EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where to look for what a meter needs: files, and how NVML is loaded; `wait` sleeps for seconds."""

    stat_file: Path = Path("/proc/stat")
    powercap: Path = POWERCAP
    nvml: Callable[[], Any] = load_nvml
    wait: Callable[[float], object] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The CPU-time model of this machine: its powers (None: a class average) and E1's exponent."""

    power: CpuPower | None = None
    alpha: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The meter that reads a device, its name, and (name, reason) of each that was tried before it.

    `period_ns` [ns] is how often it is read, `limits` what is plausible for the device; `stand_in` reads along to
    estimate stretches that the meter misses; `power_mw` gives the device's power [mW] at the last reading, None where
    the meter knows none; `flags` are those of the present reading; `learned_ns` is the counter's publication period
    [ns] where the meter found it out while reading, None before.
    """

    name: str
    meter: "EnergyMeter"
    rejected: tuple[tuple[str, str], ...]
    device: str = CPU
    period_ns: int = NS_PER_S
    limits: Limits = field(default_factory=Limits)
    stand_in: "EnergyMeter | None" = None
    power_mw: Callable[[], int | None] = lambda: None
    flags: Callable[[], frozenset[str]] = frozenset
    learned_ns: Callable[[], int | None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedNode:
    """The meters of a node's devices, (name, reason) of all that were rejected, and the boards that are read.

    `mig` are the watches of divided boards: who reads the node starts and stops them; until then their instances share
    by slices.
    """

    devices: tuple[Picked, ...]
    rejected: tuple[tuple[str, str], ...]
    boards: tuple[Board, ...] = ()
    nvml: Any = None
    mig: tuple[MigWatch, ...] = ()

    @property
    def instances(self) -> Mapping[str, str]:
        """The UUIDs of the MIG instances that are read, each with its board's."""
        parents = ((picked.device, picked.meter.describe().get("mig_parent")) for picked in self.devices)
        return {device: str(board) for device, board in parents if board is not None}


def pick_node(
    names: Sequence[str] | Literal["auto"] = "auto",
    *,
    clock: "Clock",
    model: Model | None = None,
    replay: Iterable[Reading] = (),
    machine: Machine | None = None,
    boards: Iterable[Characterisation] = (),
    external: Iterable[Picked] = (),
) -> PickedNode:
    """A meter for each device: every board that NVML shows, and the first meter of the CPU that gives a reading here.

    `auto` means nvml, rapl, external, cpu-time. `model` replaces the model of this machine, `replay` is the series of
    a replay meter, `boards` is what probes found out, `external` are meters of the CPU or of the whole node that have
    been asked. Raises ConfigInvalid for an unknown name and MeterUnavailable, with each reason, where no device is
    read.
    """
    wanted = _wanted(names)
    machine, model, probed = machine or Machine(), model or Model(), tuple(boards)
    devices: list[Picked] = []
    rejected: list[tuple[str, str]] = []
    open_boards: tuple[Board, ...] = ()
    nvml = None
    watches: list[MigWatch] = []
    for name in wanted:
        try:
            if name in BOARD_METERS:
                nvml = machine.nvml()
                open_boards, faults = list_boards(nvml)
                rejected += faults
                for board in open_boards:
                    found = known(probed, uuid=board.uuid, driver=board.driver)
                    own = _board(nvml, board, clock, found, rejected)
                    devices += _divided(nvml, board, clock, own, (watches, rejected)) if board.mig else own
            elif name == EXTERNAL:
                devices += _external(tuple(external), names != "auto", devices, rejected)
            elif all(picked.device != CPU and picked.name != "replay" for picked in devices):
                devices.append(_of_cpu(name, clock, model, tuple(replay), machine, rejected))
        except MeterUnavailable as reason:
            rejected.append((name, str(reason)))
    if not devices:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected)
        raise MeterUnavailable(f"no meter of {', '.join(wanted)} can be read here ({reasons}); add 'cpu-time' on Linux")
    read = {picked.device for picked in devices}
    return PickedNode(
        devices=tuple(devices),
        rejected=tuple(rejected),
        boards=tuple(board for board in open_boards if board.uuid in read),
        nvml=nvml,
        mig=tuple(watches),
    )


def pick_meter(
    names: Sequence[str] | Literal["auto"] = "auto",
    *,
    clock: "Clock",
    power: CpuPower | None = None,
    replay: Iterable[Reading] = (),
    machine: Machine | None = None,
) -> Picked:
    """The meter of this node's CPU, by the same rules and errors as `pick_node`."""
    node = pick_node(names, clock=clock, model=Model(power=power), replay=replay, machine=machine)
    return cpu_of(node, _wanted(names))


def cpu_of(node: PickedNode, wanted: Sequence[str]) -> Picked:
    """The meter that settles what ran on the CPU; MeterUnavailable where `wanted` names none that reads it."""
    for picked in node.devices:
        if picked.device == CPU or picked.name == "replay":
            return picked
    reasons = "; ".join(f"{name}: {reason}" for name, reason in node.rejected) or "only boards are named"
    raise MeterUnavailable(
        f"no meter of {', '.join(wanted)} can be read here for the CPU ({reasons}); add 'cpu-time' on Linux"
    )


def _wanted(names: Sequence[str] | str) -> tuple[str, ...]:
    wanted = AUTO if names == "auto" else (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in wanted if name not in METERS]
    if unknown or not wanted:
        raise ConfigInvalid(
            f"energy.meters names {', '.join(map(repr, unknown)) or 'nothing'}; "
            f"allowed are 'auto' or a list of {', '.join(map(repr, METERS))}"
        )
    return wanted


def _board(
    nvml: Any, board: Board, clock: "Clock", found: Characterisation | None, rejected: list[tuple[str, str]]
) -> list[Picked]:
    """The counter, else the power samples; nothing, with the reasons, where neither reads."""
    period_ns = board_period_ns(found.period_ns if found else None)
    limits = Limits(
        power_limit_mw=board.power_limit_mw,
        publication_ns=found.period_ns if found else None,
        edge_ns=2 * period_ns,
    )
    try:
        meter = _counter(nvml, board, clock, found)
    except MeterUnavailable as reason:
        rejected.append((f"nvml counter of gpu {board.index}", str(reason)))
    else:
        return [
            Picked(
                name="nvml",
                meter=meter,
                rejected=(),
                device=board.uuid,
                period_ns=period_ns,
                limits=limits,
                power_mw=lambda: meter.power_mw,
                flags=lambda: frozenset({meter.agreement.flag} if meter.agreement.flag else ()),
                learned_ns=lambda: meter.learned_ns,
            )
        ]
    try:
        samples = SamplesMeter(nvml, board, clock=clock)
        samples.read()
    except MeterUnavailable as reason:
        rejected.append((f"nvml power samples of gpu {board.index}", str(reason)))
        return []
    return [Picked(name="nvml", meter=samples, rejected=tuple(rejected[-1:]), device=board.uuid, limits=limits)]


def _external(
    given: tuple[Picked, ...], wanted: bool, devices: Sequence[Picked], rejected: list[tuple[str, str]]
) -> list[Picked]:
    """Those that gave a reading, one for each device that nothing better reads; MeterUnavailable where `wanted` by
    name and none is configured."""
    if wanted and not given:
        raise MeterUnavailable("energy.external names no meter")
    found: list[Picked] = []
    for picked in given:
        label = str(picked.meter.describe()["source"])
        reader = next((one.name for one in [*devices, *found] if one.device == picked.device), None)
        if reader is not None:
            rejected.append((label, f"{picked.device} is read by {reader} already"))
            continue
        try:
            picked.meter.read()
        except MeterUnavailable as reason:
            rejected.append((label, str(reason)))
            continue
        found.append(replace(picked, rejected=tuple(rejected)))
    return found


def _divided(
    nvml: Any,
    board: Board,
    clock: "Clock",
    own: list[Picked],
    found: tuple[list[MigWatch], list[tuple[str, str]]],
) -> list[Picked]:
    """A meter for each MIG instance and one for the rest, in place of the board's; as it was, with the reason, where
    the board has no counter or its instances cannot be told."""
    watches, rejected = found
    meter = own[0].meter if own else None
    try:
        if not isinstance(meter, CounterMeter):
            raise MeterUnavailable("only a board with an energy counter is shared over its instances")
        instances, all_slices = list_instances(nvml, board)
        if not instances:
            raise MeterUnavailable("it has no instance; its energy is the board's")
    except MeterUnavailable as reason:
        rejected.append((f"MIG instances of gpu {board.index}", str(reason)))
        return own
    watch = MigWatch(nvml, board, instances, clock=clock)
    watches.append(watch)
    split = MigSplit(meter, instances, all_slices=all_slices, activity=watch.activity, clock=clock)
    shared = [replace(own[0], meter=InstanceMeter(split, one), device=one.uuid, name="nvml mig") for one in instances]
    return [replace(own[0], meter=RestMeter(split, board.uuid)), *shared]


def _counter(nvml: Any, board: Board, clock: "Clock", found: Characterisation | None) -> CounterMeter:
    meter = CounterMeter(board, FieldReader(nvml, board, clock=clock), characterisation=found)
    first = meter.read()
    if not first.energy_uj and meter.power_mw:
        raise MeterUnavailable(f"{board.name} ({board.uuid}) draws {meter.power_mw} mW and its counter stands at 0")
    return meter


def _of_cpu(
    name: str,
    clock: "Clock",
    model: Model,
    replay: tuple[Reading, ...],
    machine: Machine,
    rejected: list[tuple[str, str]],
) -> Picked:
    before = tuple(rejected)
    if name == "replay":
        played = ReplayMeter(replay)
        return Picked(name=name, meter=played, rejected=before, device=str(played.describe()["device"]))
    if name == "cpu-time":
        return Picked(name=name, meter=_cpu_time(machine, clock, model), rejected=before)
    static_mw = model.power.idle_mw if model.power else None
    meter = open_rapl(clock=clock, wait=machine.wait, powercap=machine.powercap, static_mw=static_mw)
    meter.read()
    try:
        stand_in: EnergyMeter | None = _cpu_time(machine, clock, model)
    except MeterUnavailable:
        stand_in = None
    limits = Limits(publication_ns=NS_PER_S)
    return Picked(name=name, meter=meter, rejected=before, limits=limits, stand_in=stand_in)


def _cpu_time(machine: Machine, clock: "Clock", model: Model) -> CpuTimeMeter:
    meter = CpuTimeMeter(model.power or host_power(), clock=clock, stat_file=machine.stat_file, alpha=model.alpha)
    meter.read()
    return meter
