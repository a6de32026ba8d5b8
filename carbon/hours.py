"""A device's UTC hours in the ledger: what its intervals sum to, and whose requests they held (method: section 6).

An interval belongs to the hour in which it was written, and a settled line to the interval written behind it. Both
follow from the entries and their order alone, so whoever reads them gets the same sums.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from greenserve.carbon.entries import BY_SPANS, LATER_POOLS, POOLS, UNMETERED, US_PER_HOUR, it_uj
from greenserve.carbon.node_overhead import NODE
from greenserve.carbon.pools import closes_at_us
from greenserve.carbon.reservations import WHOLE_PPM, Reservation, reservations_of, reserved_on
from greenserve.carbon.shares import WHOLE_PPB
from greenserve.units import MILLI

PARTS = POOLS[:3]
"""What charged requests have of a device: active, held, host."""
BY_CPU_TIME = ""
"""Where a line waits that names no devices: for an interval of the device that is settled by CPU time."""
BASES = ("direct", "lifecycle")
GRID = ("it_uj", "facility_uj", *(f"{basis}_{unit}" for basis in BASES for unit in ("uj", "ng")))
"""What an hour's requests were priced by: IT energy with a known PUE and its site energy; by basis IT energy with a
known intensity and its emissions."""
HourName = tuple[str, int]
Body = Mapping[str, Any]
parts_of = attrgetter("active_uj", "held_uj", "host_uj", "facility_uj", "loc_direct_ng", "loc_lifecycle_ng")
"""A settled line's energies [uJ], site energy [uJ] and emissions [ng]: what `SettledLines` adds up."""


@dataclass(slots=True, kw_only=True)
class TenantPart:
    """What a tenant's requests had of a device in an hour: energies [uJ], time that they held it, as time on the whole
    device [ns], how many lines. `late_uj` is the part of lines that ended in an hour which was closed by then.
    `reserved_ns` is the device's time that was kept for the tenant [ns], used or not."""

    active_uj: int = 0
    held_uj: int = 0
    host_uj: int = 0
    late_uj: int = 0
    busy_ns: int = 0
    reserved_ns: int = 0
    lines: int = 0


class SettledLines:
    """Lines that wait for their device's next interval. State: the first one's index; by tenant and hour of their end
    the three parts [uJ], busy time [ns] and how many; the sums of GRID."""

    __slots__ = ("by_tenant", "first_index", "grid")

    def __init__(self, first_index: int) -> None:
        self.first_index = first_index
        self.by_tenant: dict[tuple[str, int], list[int]] = {}
        self.grid = [0] * len(GRID)

    def __repr__(self) -> str:
        return f"<SettledLines from entry {self.first_index} of {len(self.by_tenant)} tenants and hours>"

    def add(self, tenant: str, ended_hour: int, parts: tuple[int, int, int], busy_ns: int, lines: int = 1) -> None:
        """Lines of a tenant that ended in an hour: active, held and host energy [uJ], busy time [ns]."""
        sums = self.by_tenant.get((tenant, ended_hour))
        if sums is None:
            sums = self.by_tenant[tenant, ended_hour] = [0, 0, 0, 0, 0]
        sums[0] += parts[0]
        sums[1] += parts[1]
        sums[2] += parts[2]
        sums[3] += busy_ns
        sums[4] += lines

    def price(self, energy_uj: int, facility_uj: int | None, direct_ng: int | None, lifecycle_ng: int | None) -> None:
        """What a line was priced by: its IT energy and site energy [uJ], its emissions by basis [ng]."""
        grid = self.grid
        if facility_uj is not None:
            grid[0] += energy_uj
            grid[1] += facility_uj
        if direct_ng is not None:
            grid[2] += energy_uj
            grid[3] += direct_ng
        if lifecycle_ng is not None:
            grid[4] += energy_uj
            grid[5] += lifecycle_ng

    def take_all(self, tenant: str, ended_hour: int, lines: Sequence[Sequence[Any]]) -> None:
        """Add a tenant's lines that ended in an hour and ran on the CPU alone, and what they were priced by: `parts_of`
        each, and its busy time [ns] behind."""
        active_uj, held_uj, host_uj, *priced, busy_ns = zip(*lines, strict=True)
        self.add(tenant, ended_hour, (sum(active_uj), sum(held_uj), sum(host_uj)), sum(busy_ns), len(lines))
        energies_uj = list(map(sum, zip(active_uj, held_uj, host_uj, strict=True)))
        for place, amounts in enumerate(priced):
            pairs = zip(energies_uj, amounts, strict=True)
            known = [pair for pair in pairs if pair[1] is not None]
            if known:
                energies, figures = zip(*known, strict=True)
                self.grid[2 * place] += sum(energies)
                self.grid[2 * place + 1] += sum(figures)

    def join(self, other: "SettledLines") -> None:
        """Add the sums of others."""
        self.first_index = min(self.first_index, other.first_index)
        for (tenant, ended_hour), (active_uj, held_uj, host_uj, busy_ns, lines) in other.by_tenant.items():
            self.add(tenant, ended_hour, (active_uj, held_uj, host_uj), busy_ns, lines)
        self.grid = [own + more for own, more in zip(self.grid, other.grid, strict=True)]


class DeviceHour:
    """A device's hour that is not closed yet. State, by `take` alone: sums over its intervals [uJ, ns], what they say
    of their meter, the index of the first row that belongs to it, and its tenants' parts.

    `load_uj`, `over_attributed_uj` and `metering_uj` are None where no interval tells them. `whole` is False where a
    line was erased: its tenants are then not known. `reserved_known` is False where an entry of reservations may be
    gone. `grid` sums what the hour's requests were priced by: IT and site
    energy [uJ], and by basis IT energy [uJ] and emissions [ng]. Only the hours of `node` have `overhead_uj` (None: not
    known of any stretch), the metered energy of the whole node `node_uj`, and what the devices had more than that
    (`deficit_uj`).
    """

    def __init__(self, device: str, hour: int, start_index: int) -> None:
        self.device, self.hour, self.start_index = device, hour, start_index
        self.first_index = self.last_index = -1
        self.sums: Counter[str] = Counter()
        self.pending_before_uj = self.pending_after_uj = self.entries = 0
        self.load_uj: int | None = None
        self.over_attributed_uj: int | None = None
        self.metering_uj: int | None = None
        self.overhead_uj: int | None = None
        self.node_uj: int | None = None
        self.deficit_uj = self.device_ns = 0
        self.tiers: set[str] = set()
        self.sources: set[str] = set()
        self.boots: set[str] = set()
        self.flags: Counter[str] = Counter()
        self.settled_by: str | None = None
        self.tenants: dict[str, TenantPart] = {}
        self.grid: Counter[str] = Counter()
        self.whole = self.reserved_known = True

    def __repr__(self) -> str:
        return f"<DeviceHour {self.device} {self.hour}: {self.entries} intervals, {len(self.tenants)} tenants>"

    def take(self, index: int, body: Body, settled: list[SettledLines]) -> None:
        """Add an interval and the lines that it holds."""
        if not self.entries:
            self.first_index, self.pending_before_uj = index, body["pending_before_uj"]
        self.last_index, self.pending_after_uj = index, body["pending_after_uj"]
        self.entries += 1
        sums = self.sums
        for name in ("metered_uj", "static_uj", "intervals", "unmetered_ns"):
            sums[name] += body[name]
        for pool in POOLS:
            if pool not in LATER_POOLS:
                sums[pool] += body[pool]
        sums["time_ns"] += body["end_ns"] - body["start_ns"]
        sums["pending_change_uj"] += body["pending_after_uj"] - body["pending_before_uj"]
        self.load_uj = _plus(self.load_uj, body.get("load_uj"))
        self.over_attributed_uj = _plus(self.over_attributed_uj, body.get("over_attributed_uj"))
        self.metering_uj = _plus(self.metering_uj, body.get("metering_uj"))
        self.overhead_uj = _plus(self.overhead_uj, body.get("overhead_uj"))
        self.node_uj = _plus(self.node_uj, body.get("node_uj"))
        self.deficit_uj = body.get("deficit_after_uj", 0)
        self.tiers.add(body["tier"])
        self.sources.add(body["source"])
        self.boots.add(body["boot_id"])
        self.flags.update(body["flags"])
        self.settled_by = body.get("settled_by")
        for one in settled:
            self._hold(one, body["at_us"])

    def use_of(self, devices: Iterable["DeviceHour"]) -> None:
        """Take from the node's devices who used them: the tenants' time on all of them, what priced their requests."""
        for one in devices:
            self.whole &= one.whole
            self.reserved_known &= one.reserved_known
            self.grid.update(one.grid)
            self.device_ns += one.sums["time_ns"]
            for tenant, part in one.tenants.items():
                own = self.tenants.setdefault(tenant, TenantPart())
                own.busy_ns += part.busy_ns
                own.reserved_ns += part.reserved_ns

    def reserve(self, shares_ppm: Mapping[str, int], duration_ns: int) -> None:
        """So long [ns] these parts [1/10^6] of the device were kept for these tenants."""
        for tenant, share_ppm in shares_ppm.items():
            part = self.tenants.setdefault(tenant, TenantPart())
            part.reserved_ns += share_ppm * duration_ns // WHOLE_PPM

    def _hold(self, settled: SettledLines, at_us: int) -> None:
        self.grid.update(dict(zip(GRID, settled.grid, strict=True)))
        for (tenant, ended_hour), (active_uj, held_uj, host_uj, busy_ns, lines) in settled.by_tenant.items():
            part = self.tenants.setdefault(tenant, TenantPart())
            part.active_uj += active_uj
            part.held_uj += held_uj
            part.host_uj += host_uj
            part.busy_ns += busy_ns
            part.lines += lines
            part.late_uj += active_uj + held_uj + host_uj if at_us >= closes_at_us(ended_hour) else 0


class Hours:
    """Folds settled lines, device intervals and reservations, in order of index. State: lines by the device whose
    interval they wait for, hours that are not closed, by hour those that one moment closes, the reservations in force,
    and how many lines were lost, in all and before each device's last interval; changed by the public methods alone."""

    def __init__(self) -> None:
        self._settled: dict[str, SettledLines] = {}
        self._open: dict[HourName, DeviceHour] = {}
        self._closing_us: int | None = None
        self._closed: dict[int, list[DeviceHour]] = {}
        self._reserved: tuple[Reservation, ...] = ()
        self._reserved_known = True
        self._lost = 0
        self._lost_before: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Hours: {len(self._open)} open>"

    @property
    def open_hours(self) -> tuple[HourName, ...]:
        """Devices and hours that are not closed, in order of hour and device; the node behind its devices."""
        return tuple(sorted(self._open, key=lambda name: (name[1], name[0] == NODE, name[0])))

    def settle(self, index: int, body: Body, first: Body) -> None:
        """Take a settled line and its first one. What no meter saw or nobody is charged for has no part."""
        energy_uj = it_uj(body)
        if energy_uj is None or not body["charged"] or UNMETERED in body["flags"]:
            return
        if "devices" not in body:
            self._hold(BY_CPU_TIME, index, body, body, first["held_ns"] or 0)
            return
        for device, part, busy_ns in _parts(body, first):
            self._hold(device, index, body, part, busy_ns)

    def take_lines(self, settled: SettledLines) -> None:
        """As `settle` for lines that ran on the CPU alone, by their sums."""
        waiting = self._settled.setdefault(BY_CPU_TIME, settled)
        if waiting is not settled:
            waiting.join(settled)

    def _hold(self, device: str, index: int, body: Body, part: Body, busy_ns: int) -> None:
        waiting = self._settled.get(device)
        if waiting is None:
            waiting = self._settled[device] = SettledLines(index)
        parts = (part["active_uj"], part["held_uj"], part["host_uj"])
        waiting.add(body["tenant"], body["ended_us"] // US_PER_HOUR, parts, busy_ns)
        waiting.price(it_uj(body) or 0, body["facility_uj"], body["loc_direct_ng"], body["loc_lifecycle_ng"])

    def reserve(self, body: Body) -> None:
        """Take an entry of reservations: it holds for the intervals behind it."""
        self._reserved, self._reserved_known = reservations_of(body), True

    def lose_reservations(self) -> None:
        """An entry of reservations was erased, or may be: which are in force is not known until the next one."""
        self._reserved_known = False

    def lose(self) -> None:
        """A settled line was erased: who had a part of each device's next interval is not known any more."""
        self._lost += 1

    def close(self, index: int, body: Body, *, known: bool = False) -> None:
        """Take a device's interval; `known` says that a closed hour holds it already."""
        device, hour = body["device"], body["at_us"] // US_PER_HOUR
        settled = [self._settled.pop(device, None)]
        if device != NODE and body.get("settled_by") != BY_SPANS:
            settled.append(self._settled.pop(BY_CPU_TIME, None))
        lost = self._lost > self._lost_before.get(device, 0)
        self._lost_before[device] = self._lost
        if known:
            return
        held = [one for one in settled if one is not None]
        found = self._open.get((device, hour))
        if found is None:
            start_index = min([index, *(one.first_index for one in held)])
            found = self._open[device, hour] = DeviceHour(device, hour, start_index)
        found.take(index, body, held)
        found.whole &= not lost
        found.reserved_known &= self._reserved_known
        if self._reserved and device != NODE:
            found.reserve(reserved_on(device, self._reserved), body["end_ns"] - body["start_ns"])

    def take(self, name: HourName, at_us: int) -> DeviceHour | None:
        """A device's hour, to be closed at a moment [us UTC]: what comes for it later is a further part. None where
        nothing is open. The node's goes by the use of the devices whose hour the same moment has closed."""
        closing = self._open.pop(name, None)
        if at_us != self._closing_us:
            self._closing_us, self._closed = at_us, {}
        if closing is not None:
            closed = self._closed.setdefault(closing.hour, [])
            if closing.device == NODE:
                closing.use_of(closed)
            else:
                closed.append(closing)
        return closing

    def due(self, now_us: int) -> list[HourName]:
        """The open hours that close by now [us UTC]."""
        return [name for name in self.open_hours if now_us >= closes_at_us(name[1])]

    def resume_index(self, next_index: int) -> int:
        """From which row on a reader must begin to know all open hours; `next_index` where none is open."""
        starts = [hour.start_index for hour in self._open.values()]
        return min([next_index, *starts, *(settled.first_index for settled in self._settled.values())])


def _parts(body: Body, first: Body) -> list[tuple[str, Body, int]]:
    """The parts of a settled line of several devices: device, its energies, time on the whole device [ns]."""
    batches = {share["batch"]: share for share in first.get("spans", ())}
    parts = []
    for part in body["devices"]:
        busy_ns = first["held_ns"] or 0
        if part["batch"] is not None:
            busy_ns = _span_ns(batches[part["batch"]])
        parts.append((part["device"], part, busy_ns))
    return parts


def _span_ns(share: Body) -> int:
    """A request's part of a batch's time, as time on the whole device [ns]."""
    whole: int = max(0, share["end_ns"] - share["start_ns"]) * share["share_milli"] * share["weight_ppb"]
    return whole // (MILLI * WHOLE_PPB)


def _plus(sum_so_far: int | None, amount: int | None) -> int | None:
    return sum_so_far if amount is None else (sum_so_far or 0) + amount
