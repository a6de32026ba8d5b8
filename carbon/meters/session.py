"""The meters of this process while something is measured: one reader for all blocks, and no thread between them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from greenserve.carbon.energy_report import EnergyReport, MeterFacts, devices_of
from greenserve.carbon.intervals import Row
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.meters.family_cpu import FamilyCpu
from greenserve.carbon.meters.foreign import ForeignWatch
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.pick import CPU, Machine, Model, Picked, PickedNode, pick_node
from greenserve.carbon.sharing import Block, Sharing, Stretch, Tally
from greenserve.clock import SystemClock
from greenserve.errors import MeterUnavailable
from greenserve.records import Reading
from greenserve.trouble import Trouble
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

log = logging.getLogger("greenserve.meters")
MS = 1_000_000
PUBLICATION_NS = 100 * MS
"""How often a board's counter moves where no probe has found it out."""
RAPL_EDGE_NS = MS
SETTLE_NS = 300 * MS
"""How long the end of a block waits for a board's counter to move behind it."""
SETTLE_STEP_S = 0.01


class MeterSession:
    """Reads this machine's meters while blocks are open, and shares their energy among these.

    Blocks of one session share what they overlap in; those of two sessions, or of two processes, know nothing of each
    other. State, all under `_lock`: the picked meters (from the first block on), the reader and its thread (while a
    block is open), `_sharing`, the family's CPU time at the last row. In a fork everything is picked anew.
    """

    _node: PickedNode | None

    def __init__(
        self,
        meters: Sequence[str] | Literal["auto"] = "auto",
        *,
        clock: "Clock | None" = None,
        model: Model | None = None,
        machine: Machine | None = None,
        replay: Iterable[Reading] = (),
        boards: Iterable[Characterisation] = (),
        own_cpu: Callable[[], Callable[[], int]] | None = None,
    ) -> None:
        """`meters`, `model`, `machine`, `replay` and `boards` as in `pick_node`; nothing is opened before the first
        block. `own_cpu` makes what reads our CPU time [ns]; default: this process's and its descendants'."""
        self._clock: Clock = clock or SystemClock()
        self._machine = machine or Machine()
        self._pick: Callable[[], PickedNode] = partial(
            pick_node,
            meters,
            clock=self._clock,
            model=model,
            replay=tuple(replay),
            machine=self._machine,
            boards=tuple(boards),
        )
        self._own_cpu = own_cpu
        self._begin_anew()

    def __repr__(self) -> str:
        devices = ", ".join(f"{one.device} by {one.name}" for one in self._node.devices) if self._node else "not opened"
        return f"<MeterSession {devices}: {len(self._sharing.present)} open>"

    def open(self, label: str, parent: Block | None = None) -> Block:
        """Begin a block, inside `parent` where it is given and of this session.

        Raises MeterUnavailable, with each reason, where nothing on this machine can be read, and ConfigInvalid for an
        unknown meter.
        """
        if self._pid != os.getpid():
            self._begin_anew()
        block = Block(label=label, parent=parent)
        with self._lock:
            node = self._node = self._node or self._pick()
            if self._thread is None:
                self._start(node)
            self._read_all()
            self._sharing.open(block, self._clock.monotonic_ns())
        return block

    def is_ours(self, block: Block) -> bool:
        """Whether the block is open here, in this process."""
        return self._pid == os.getpid() and block in self._sharing.present

    def close(self, block: Block) -> None:
        """End a block. On a machine with boards this waits until their counters have moved past it, 0.3 s at most.

        ValueError where it is not open here. A meter that fails now leaves time that is not known, and no exception.
        """
        with self._lock:
            at_ns = self._clock.monotonic_ns()
            self._sharing.close(block, at_ns)
            self._read_all()
            lagging = self._lagging(at_ns)
        if lagging:
            self._settle(at_ns)
        ended: list[threading.Thread] = []
        with self._lock:
            if not self._sharing.present:
                ended = self._stop()
        for thread in ended:
            thread.join()

    def read(self, block: Block) -> Mapping[str, Tally]:
        """What the block has of each device by now; the meters are read for it."""
        with self._lock:
            if self.is_ours(block):
                self._read_all()
            return {device: tally.copy() for device, tally in block.tallies.items()}

    def report(self, block: Block, *, start_us: int, raised: str | None = None) -> EnergyReport:
        """The figures of a block: final once it is closed, up to now before."""
        tallies = self.read(block)
        now_ns = self._clock.monotonic_ns() if block.end_ns is None else block.end_ns
        duration_ns = now_ns - (now_ns if block.start_ns is None else block.start_ns)
        return EnergyReport(
            label=block.label,
            start_us=start_us,
            duration_ns=duration_ns,
            devices=devices_of(self.facts(), tallies, duration_ns),
            unmetered=self._node.rejected if self._node else (),
            parent=block.parent.label if block.parent else None,
            shared_ns=max((tally.shared_ns for tally in tallies.values()), default=0),
            raised=raised,
        )

    def facts(self) -> tuple[MeterFacts, ...]:
        """The meters that are read and how far they may be off; empty before the first block."""
        return tuple(_facts_of(picked) for picked in self._node.devices) if self._node else ()

    def now_us(self) -> int:
        """Civil time by the session's clock [us UTC]."""
        return self._clock.unix_us()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._trouble = Trouble(log, "a step of the meters failed")
        self._sharing = Sharing()
        self._node = None
        self._reader: NodeMeter | None = None
        self._watch: ForeignWatch | None = None
        self._family: FamilyCpu | None = None
        self._own: Callable[[], int] | None = None
        self._busy: CpuTimeMeter | None = None
        self._last_own_ns: int | None = None
        self._last_busy_ns: int | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def _start(self, node: PickedNode) -> None:
        """Begin to read; nothing is left of an earlier reader but the meters."""
        if self._own_cpu is not None:
            self._own = self._own_cpu()
        else:
            self._family = FamilyCpu(os.getpid())
            self._own = self._family.read_ns
        self._last_own_ns, self._last_busy_ns = self._own(), None
        if any(picked.device == CPU and picked.name == "rapl" for picked in node.devices):
            self._busy = CpuTimeMeter(host_power(), clock=self._clock, stat_file=self._machine.stat_file)
            self._last_busy_ns = self._busy.read().busy_ns
        if node.boards:
            family = self._family or FamilyCpu(os.getpid())
            self._watch = ForeignWatch(node.nvml, node.boards, ours=partial(_living, family), clock=self._clock)
            self._watch.look()
            self._watch.start()
        for mig in node.mig:
            mig.start()
        watch = self._watch
        self._reader = NodeMeter(
            node.devices, clock=self._clock, foreign_on=watch.seen if watch else lambda device: None
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._reader, self._stopping), name="greenserve-session", daemon=True
        )
        self._thread.start()

    def _stop(self) -> list[threading.Thread]:
        """End reading; the thread that has yet to be joined, once the lock is let go."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.stop()
        for mig in self._node.mig if self._node else ():
            mig.stop()
        thread, self._thread, self._reader, self._watch = self._thread, None, None, None
        return [thread] if thread is not None else []

    def _run(self, reader: NodeMeter, stopping: threading.Event) -> None:
        wait_ns = 0
        while not stopping.wait(wait_ns / NS_PER_S):
            with self._lock:
                if stopping.is_set():
                    return
                try:
                    wait_ns = max(MS, reader.step())
                    self._take(reader)
                except Exception as error:  # measuring must outlive a fault of one reading, and the measured code both
                    self._trouble.met(error)
                    wait_ns = NS_PER_S
                else:
                    self._trouble.over()

    def _read_all(self) -> None:
        if self._reader is None:
            return
        for device in self._reader.devices:
            try:
                self._reader.read(device)
            except MeterUnavailable as error:
                log.info("%s is not read at this edge: %s", device, error)
        self._take(self._reader)

    def _lagging(self, at_ns: int) -> list[str]:
        """Boards whose counter has not moved past a time; other meters answer at once or not at all."""
        if self._node is None:
            return []
        parents = self._node.instances
        reached = {board.uuid: self._sharing.reach(board.uuid) or 0 for board in self._node.boards}
        for instance, board in parents.items():
            reached[board] = max(reached.get(board, 0), self._sharing.reach(instance) or 0)
        return [device for device, reach_ns in reached.items() if reach_ns < at_ns]

    def _settle(self, at_ns: int) -> None:
        until_ns = time.monotonic_ns() + SETTLE_NS
        while time.monotonic_ns() < until_ns:
            self._machine.wait(SETTLE_STEP_S)
            with self._lock:
                self._read_all()
                if not self._lagging(at_ns):
                    return

    def _take(self, reader: NodeMeter) -> None:
        """Give the rows that were closed to the open blocks."""
        reached = []
        for device in reader.devices:
            for row in reader.take(device):
                self._sharing.add(self._stretch(row))
            reached.append(self._sharing.reach(device))
        known = [reach for reach in reached if reach is not None]
        if known:
            # What lags behind for long belongs to a device that is not read any more.
            self._sharing.forget(max(min(known), max(known) - 60 * NS_PER_S))

    def _stretch(self, row: Row) -> Stretch:
        if row.energy_uj is None or row.static_uj is None:
            return _stretch(row, None, None, row.flags)
        dynamic_uj = row.energy_uj - row.static_uj
        if row.device != CPU or row.tier == "simulated":
            return _stretch(row, dynamic_uj, 0, row.flags)
        own_ns, busy_ns = self._cpu_times(row)
        if own_ns is None or busy_ns is None:
            return _stretch(row, dynamic_uj, 0, row.flags | {"foreign_unknown"})
        ours_uj = dynamic_uj * min(own_ns, busy_ns) // busy_ns if busy_ns else dynamic_uj
        return _stretch(row, ours_uj, dynamic_uj - ours_uj, row.flags)

    def _cpu_times(self, row: Row) -> tuple[int | None, int | None]:
        """Our CPU time and that of all [ns] since the last row of the CPU; None where one is not known."""
        try:
            own_ns = self._own() if self._own else None
            busy_ns = self._busy.read().busy_ns if self._busy and row.busy_ns is None else None
        except MeterUnavailable as error:
            log.info("whose the CPU's work is cannot be told: %s", error)
            return None, None
        last_own_ns, self._last_own_ns = self._last_own_ns, own_ns
        last_busy_ns, self._last_busy_ns = self._last_busy_ns, busy_ns
        own = None if own_ns is None or last_own_ns is None else own_ns - last_own_ns
        counted = None if busy_ns is None or last_busy_ns is None else busy_ns - last_busy_ns
        return own, counted if row.busy_ns is None else row.busy_ns


def _stretch(row: Row, active_uj: int | None, foreign_uj: int | None, flags: frozenset[str]) -> Stretch:
    return Stretch(
        device=row.device,
        start_ns=row.start_ns,
        end_ns=row.end_ns,
        static_uj=row.static_uj,
        active_uj=active_uj,
        foreign_uj=foreign_uj,
        tier=row.tier,
        source=row.source,
        flags=flags,
    )


def _living(family: FamilyCpu) -> frozenset[int]:
    family.read_ns()
    return family.living


def _facts_of(picked: Picked) -> MeterFacts:
    """A meter's bounds. A board's counter moves once in a publication period, /proc/stat in ticks of every CPU."""
    described = picked.meter.describe()
    width = described.get("half_width_pct")
    edge_ns, edge_mw = picked.limits.publication_ns or PUBLICATION_NS, None
    if picked.name == "cpu-time":
        per_cpu_mw = described["dynamic_mw_per_cpu"]
        assert isinstance(per_cpu_mw, int)
        edge_ns, edge_mw = NS_PER_S // os.sysconf("SC_CLK_TCK"), per_cpu_mw * (os.cpu_count() or 1)
    elif picked.name == "rapl":
        edge_ns = RAPL_EDGE_NS
    return MeterFacts(
        device=picked.device,
        name=picked.name,
        half_width_pct=width if isinstance(width, int) else None,
        edge_ns=edge_ns,
        edge_mw=edge_mw,
    )
