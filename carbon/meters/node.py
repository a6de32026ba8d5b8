"""The one reader of a node's meters: reads each at its period and journals the intervals between."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from greenserve.carbon.intervals import MW_NS_PER_UJ, Dropped, Estimate, IntervalMaker, Row
from greenserve.carbon.meters.foreign import Foreign
from greenserve.carbon.meters.journal import Journal
from greenserve.carbon.meters.pace import Pace
from greenserve.carbon.meters.pick import Picked
from greenserve.errors import LedgerUnavailable, MeterUnavailable
from greenserve.records import Reading
from greenserve.trouble import Trouble
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock, EnergyMeter

log = logging.getLogger("greenserve.meters")
GIVE_UP_NS = 10 * NS_PER_S
"""After so long without a good reading another meter is looked for."""
ROWS_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterChange:
    """A device got another meter at run time: when [monotonic ns], which, and what was wrong with the one before."""

    device: str
    at_ns: int
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterState:
    """How one device's metering goes: its period [ns], how often it was slowed, what was dropped, the present fault."""

    device: str
    name: str
    tier: str
    period_ns: int
    slowed: int
    segment: int
    dropped: Dropped
    fault: str | None


class _Device:
    """One device: its meter, pace and intervals. Guarded by its own lock, so that a slow board delays no other."""

    def __init__(self, picked: Picked, first_segment: int, journal: Journal | None) -> None:
        self.lock = threading.Lock()
        self.picked = picked
        self.pace = Pace(picked.period_ns)
        self.maker = IntervalMaker(device=picked.device, limits=picked.limits, segment=first_segment)
        self.journal = journal
        self.rows: deque[Row] = deque(maxlen=ROWS_KEPT)
        self.due_ns: int | None = None
        self.good_ns: int | None = None
        self.fault: str | None = None
        self.base: Reading | None = None
        self.learned = False


class NodeMeter:
    """Reads the picked meters in one thread (or by `step`), and on demand through `meter_of`.

    State: a `_Device` per device, each changed under its own lock; `changes`, meters exchanged so far. Counters are
    cumulative: what a restart of this reader costs is resolution in time, not energy.
    """

    def __init__(
        self,
        devices: Sequence[Picked],
        *,
        clock: "Clock",
        journal_of: Callable[[str], Journal] | None = None,
        foreign_on: Callable[[str], Foreign | None] = lambda device: None,
        pick_again: Callable[[str], Picked | None] = lambda device: None,
    ) -> None:
        """`foreign_on` tells who else works on a device, `pick_again` finds another meter where one stays silent."""
        self._clock, self._foreign_on, self._pick_again = clock, foreign_on, pick_again
        self._devices: dict[str, _Device] = {}
        for picked in devices:
            journal = journal_of(picked.device) if journal_of else None
            self._devices[picked.device] = _Device(picked, journal.first_segment if journal else 0, journal)
        self.changes: list[MeterChange] = []
        # Held while the reader goes on: waiting for a lock costs half the CPU time of waiting for an event.
        self._going = threading.Lock()
        self._trouble = Trouble(log, "a step of the meters failed")
        self._going.acquire()
        self._thread = threading.Thread(target=self._run, name="node-meter", daemon=True)

    def __repr__(self) -> str:
        return f"<NodeMeter of {', '.join(self._devices) or 'nothing'}>"

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices that are read."""
        return tuple(self._devices)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; what was journaled is made durable."""
        if self._going.locked():
            self._going.release()
        if self._thread.is_alive():
            self._thread.join()
        for device in self._devices.values():
            with device.lock:
                if device.journal is not None:
                    device.journal.close()

    def meter_of(self, device: str) -> "EnergyMeter":
        """An EnergyMeter that reads the device through this reader; MeterUnavailable for a device it does not have."""
        if device not in self._devices:
            raise MeterUnavailable(f"no meter reads {device!r}; there are {', '.join(self._devices) or 'none'}")
        return _View(self, device)

    def read(self, device: str) -> Reading:
        """Read a device now; MeterUnavailable as its meter raises it."""
        one = self._devices[device]
        with one.lock:
            return self._read(one, self._clock.monotonic_ns())

    def describe(self, device: str) -> Mapping[str, object]:
        """What the device's present meter says about itself."""
        return self._devices[device].picked.meter.describe()

    def take(self, device: str) -> list[Row]:
        """The rows since the last call, at most 10,000; older ones are in the journal."""
        one = self._devices[device]
        with one.lock:
            rows = list(one.rows)
            one.rows.clear()
        return rows

    def states(self) -> tuple[MeterState, ...]:
        """How each device's metering goes, for metrics and `doctor`."""
        return tuple(
            MeterState(
                device=name,
                name=one.picked.name,
                tier=str(one.picked.meter.describe()["tier"]),
                period_ns=one.pace.period_ns,
                slowed=one.pace.slowed,
                segment=one.maker.segment,
                dropped=one.maker.dropped,
                fault=one.fault,
            )
            for name, one in self._devices.items()
        )

    def step(self) -> int:
        """Read the devices whose time has come; the time [ns] until the next one's."""
        now_ns, next_ns = self._clock.monotonic_ns(), None
        for one in self._devices.values():
            # A device that was read on demand meanwhile is due later; that is seen under its lock only.
            if one.due_ns is None or one.due_ns <= now_ns:
                with one.lock:
                    now_ns = self._clock.monotonic_ns()
                    if one.due_ns is None or one.due_ns <= now_ns:
                        try:
                            self._read(one, now_ns)
                        except MeterUnavailable as error:
                            self._failing(one, str(error))
            due_ns = now_ns if one.due_ns is None else one.due_ns
            next_ns = due_ns if next_ns is None or due_ns < next_ns else next_ns
        return NS_PER_S if next_ns is None else max(0, next_ns - self._clock.monotonic_ns())

    def _read(self, one: _Device, before_ns: int) -> Reading:
        one.due_ns = before_ns + one.pace.period_ns
        if one.good_ns is None:
            one.good_ns = before_ns
        try:
            reading = one.picked.meter.read()
        except MeterUnavailable as error:
            one.maker.failed()
            if one.fault is None:
                log.warning("%s is not metered: %s", one.picked.device, error)
            one.fault = str(error)
            raise
        after_ns = self._clock.monotonic_ns()
        one.pace.took(after_ns - before_ns)
        one.good_ns, one.fault = after_ns, None
        if one.maker.stands(reading):
            return reading
        learned_ns = None if one.learned else one.picked.learned_ns()
        if learned_ns is not None:
            one.learned = True
            if one.pace.learned(learned_ns):
                one.maker.limits = replace(one.maker.limits, edge_ns=2 * one.pace.period_ns)
        foreign = self._foreign_on(one.picked.device)
        estimate = _estimate(one, reading)
        row = one.maker.add(
            reading,
            estimate=estimate,
            flags=(foreign.flags if foreign else frozenset()) | one.picked.flags(),
        )
        if row is not None:
            one.rows.append(row)
            self._keep(one, row)
        return reading

    def _keep(self, one: _Device, row: Row) -> None:
        if one.journal is None:
            return
        try:
            one.journal.append(row)
        except LedgerUnavailable as error:
            log.error("%s", error)

    def _failing(self, one: _Device, reason: str) -> None:
        """Look for another meter where the present one has been silent for ten seconds."""
        now_ns = self._clock.monotonic_ns()
        if one.good_ns is None or now_ns - one.good_ns < GIVE_UP_NS:
            return
        one.good_ns = now_ns
        try:
            found = self._pick_again(one.picked.device)
        except MeterUnavailable as error:
            log.error("%s stays without a meter: %s", one.picked.device, error)
            return
        if found is None or found.name == one.picked.name:
            return
        log.warning("%s is read by %s from now on, not by %s: %s", found.device, found.name, one.picked.name, reason)
        self.changes.append(
            MeterChange(device=found.device, at_ns=now_ns, before=one.picked.name, after=found.name, reason=reason)
        )
        one.picked, one.pace, one.base, one.due_ns = found, Pace(found.period_ns), None, now_ns
        one.maker.limits, one.learned = found.limits, False

    def _run(self) -> None:
        wait_ns = 0
        while not self._going.acquire(timeout=wait_ns / NS_PER_S):
            try:
                wait_ns = self.step()
            except Exception as error:  # the sampler of all devices must outlive a fault of one
                self._trouble.met(error)
                wait_ns = NS_PER_S
            else:
                self._trouble.over()


class _View:
    """A device of a NodeMeter as an EnergyMeter."""

    def __init__(self, node: NodeMeter, device: str) -> None:
        self._node, self._device = node, device

    def __repr__(self) -> str:
        return f"<{self._device} of {self._node!r}>"

    def read(self) -> Reading:
        """The counter now, journaled as well."""
        return self._node.read(self._device)

    def describe(self) -> Mapping[str, object]:
        """What the present meter says about itself."""
        return self._node.describe(self._device)


def _estimate(one: _Device, reading: Reading) -> Estimate | None:
    """The mean power since the last point, should this reading turn out to open a segment; None where unknown.

    From the stand-in meter's difference (E1 for RAPL), else from the board's instant power.
    """
    if one.picked.stand_in is None:
        power_mw = one.picked.power_mw()
        return None if power_mw is None else Estimate(power_mw=power_mw)
    base = one.base
    try:
        now = one.base = one.picked.stand_in.read()
    except MeterUnavailable:
        one.base = None
        return None
    if base is None or now.at_ns <= base.at_ns or now.energy_uj < base.energy_uj:
        return None
    power_mw = (now.energy_uj - base.energy_uj) * MW_NS_PER_UJ // (now.at_ns - base.at_ns)
    return Estimate(power_mw=power_mw, tier=now.tier)
