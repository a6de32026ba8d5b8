"""The node's meters as the configuration wants them: one reader, its journal, and the watch for foreign work."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from greenserve.carbon.ledger.boards import Metered
from greenserve.carbon.meters.foreign import Foreign, ForeignWatch
from greenserve.carbon.meters.journal import Journal
from greenserve.carbon.meters.known_boards import FILE, meters_folder, read_boards
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.nvml import Board
from greenserve.carbon.meters.own_cpu import OwnCpu
from greenserve.carbon.meters.pick import METERS, Model, Picked, PickedNode, cpu_of, pick_node
from greenserve.carbon.node_overhead import DeclaredOverhead
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.ports import EnergyMeter
from greenserve.serve.external_meters import ExternalMeters
from greenserve.serve.replica import power_of
from greenserve.units import MILLI


def pick_configured_node(config: Config, external: ExternalMeters | None = None) -> PickedNode:
    """A meter for each device that the configuration's meters read, with the reasons against the others.

    `external` are external meters that somebody keeps asking; without them each is asked once, now.
    """
    if external is None:
        external = ExternalMeters(config)
        external.poller.once()
    return pick_node(
        config.energy.meters,
        clock=SystemClock(),
        model=Model(power=power_of(config), alpha=config.energy.cpu.alpha if config.energy.cpu else 1.0),
        boards=read_boards(meters_folder(config.ledger.path) / FILE),
        external=external.picked(),
    )


def pick_configured(config: Config) -> Picked:
    """The meter that settles what runs on this node's CPU."""
    return cpu_of(pick_configured_node(config), METERS if config.energy.meters == "auto" else config.energy.meters)


def engine_names(boards: Sequence[Board], *, masked: bool) -> Mapping[str, str]:
    """Engines' names of devices (`cuda:0`) to the boards' UUIDs; empty where a name may mean any of several boards.

    Where Ray hands boards to replicas (`masked`), each of them calls its own `cuda:0`; boards of several kinds are
    numbered by CUDA from the fastest on. A part on such a device stays unmetered, which its entry says; engines that
    give the UUID itself need no name. A divided board's work runs on its instances, which go by their UUIDs.
    """
    if len(boards) > 1 and (masked or len({board.name for board in boards}) > 1):
        return {}
    return {f"cuda:{board.index}": board.uuid for board in boards if not board.mig}


def foreign_on(seen: Callable[[str], Foreign | None], instances: Mapping[str, str], device: str) -> Foreign | None:
    """Who else works on a device. A board's processes are not told apart by its MIG instances (`instances`: their
    boards by UUID): where one is foreign, that of an instance is not known."""
    found = seen(instances.get(device, device))
    if device not in instances or found is None or not found.processes:
        return found
    return Foreign(at_ns=found.at_ns, processes=None, unmatched=0, reason="a board's instances are not told apart")


def declared_overhead(config: Config) -> DeclaredOverhead | None:
    """What the configuration says that the node draws beyond its devices; None where it says nothing."""
    told = config.energy.overhead
    if told is None:
        return None
    return DeclaredOverhead(
        power_mw=round(told.power_w * MILLI), half_width_pct=told.half_width_pct, source=told.source
    )


class Metering:
    """Reads all devices of this node while it runs; for who settles the CPU's meter is `cpu`, and all are `metered`.

    State: the threads of the reader and the watch; the picked meters belong to the reader.
    """

    def __init__(self, config: Config, *, root_pid: int) -> None:
        self._config = config
        clock = SystemClock()
        self._external = ExternalMeters(config)
        self._external.poller.once()
        picked = pick_configured_node(config, self._external)
        cpu = cpu_of(picked, METERS if config.energy.meters == "auto" else config.energy.meters)
        folder = meters_folder(config.ledger.path)
        self._watch: ForeignWatch | None = None
        if picked.boards:
            own = OwnCpu(root_pid)

            def ours() -> frozenset[int]:
                own.read_ns()
                return own.living

            self._watch = ForeignWatch(picked.nvml, picked.boards, ours=ours, clock=clock)
        self._mig = picked.mig
        self.node = NodeMeter(
            picked.devices,
            clock=clock,
            journal_of=lambda device: Journal(folder, device, clock=clock),
            foreign_on=partial(foreign_on, self._watch.seen, picked.instances) if self._watch else lambda device: None,
            pick_again=self._pick_again,
        )
        self.cpu: EnergyMeter = self.node.meter_of(cpu.device)
        masked = any(model.placement == "remote" and model.replicas.gpus for model in config.models)
        self.metered = Metered(
            reader=self.node,
            boards=[*(board.uuid for board in picked.boards), *picked.instances],
            probes=read_boards(folder / FILE),
            names=engine_names(picked.boards, masked=masked),
            overhead=declared_overhead(config),
        )

    def __repr__(self) -> str:
        return f"<Metering by {self.node!r}>"

    def start(self) -> None:
        """Begin to read, and to watch the boards."""
        self._external.poller.start()
        for mig in self._mig:
            mig.start()
        self.node.start()
        if self._watch is not None:
            self._watch.start()

    def stop(self) -> None:
        """Read no more; the journal is durable then."""
        self.node.stop()
        self._external.poller.stop()
        for mig in self._mig:
            mig.stop()
        if self._watch is not None:
            self._watch.stop()

    def _pick_again(self, device: str) -> Picked | None:
        """What reads the device now; None where nothing does."""
        return next(
            (one for one in pick_configured_node(self._config, self._external).devices if one.device == device), None
        )
