"""Where the node's metered energy of a period went, and how one tenant's total follows from it: to the microjoule."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from greenserve.carbon.entries import LATER_POOLS, PLATFORM, UNMETERED, counted_us, it_uj
from greenserve.carbon.hours import PARTS
from greenserve.units import decimal_joules

POOLS = ("idle_uj", "load_uj", "background_uj", "foreign_uj", "gap_uj", "waste_uj")
OVERHEAD = "overhead_uj"
PERCENT_PLACES = Decimal(1).scaleb(-3)


def pools_of(body: Mapping[str, Any]) -> dict[str, int]:
    """The energy [uJ] of an interval or a closed hour by pool; older ones do not tell all of LATER_POOLS apart, and
    only those of the node have an overhead, where it is known."""
    pools = {pool: body[pool] for pool in POOLS if body.get(pool) is not None or pool not in LATER_POOLS}
    if body.get(OVERHEAD) is not None:
        pools[OVERHEAD] = body[OVERHEAD]
    return pools


class Sensor:
    """What a device's meter said in a period. State: sums that `take` alone changes."""

    def __init__(self) -> None:
        self.intervals = self.metered_uj = self.time_ns = self.unmetered_ns = 0
        self.sources: set[str] = set()
        self.tiers: set[str] = set()
        self.boots: set[str] = set()
        self.flags: Counter[str] = Counter()

    def take(self, body: Mapping[str, Any]) -> None:
        """Add an interval."""
        self.intervals += body["intervals"]
        self.metered_uj += body["metered_uj"]
        self.time_ns += body["end_ns"] - body["start_ns"]
        self.unmetered_ns += body["unmetered_ns"]
        self.sources.add(body["source"])
        self.tiers.add(body["tier"])
        self.boots.add(body["boot_id"])
        self.flags.update(body["flags"])

    def take_hour(self, body: Mapping[str, Any]) -> None:
        """Add all intervals of a closed hour."""
        self.intervals += body["intervals"]
        self.metered_uj += body["metered_uj"]
        self.time_ns += body["time_ns"]
        self.unmetered_ns += body["unmetered_ns"]
        self.sources.update(body["sources"])
        self.tiers.update(body["tiers"])
        self.boots.update(body["boots"])
        self.flags.update(body["flags"])

    def document(self, device: str) -> dict[str, object]:
        """One line of the sensor sheet; coverage in percent of the time between first and last reading."""
        covered = None
        if self.time_ns:
            share = Decimal(100 * max(0, self.time_ns - self.unmetered_ns)) / self.time_ns
            covered = f"{share.quantize(PERCENT_PLACES):f}"
        return {
            "device": device,
            "sources": sorted(self.sources),
            "tiers": sorted(self.tiers),
            "metered_joules": decimal_joules(self.metered_uj),
            "readings": self.intervals,
            "time_ns": self.time_ns,
            "unmetered_time_ns": self.unmetered_ns,
            "covered_pct": covered,
            "boots": len(self.boots),
            "flags": dict(sorted(self.flags.items())),
        }


class Reconciliation:
    """Folds settled lines and device intervals in order of index; an interval closes the lines before it.

    State: energy [uJ] by place for the intervals that closed within [start_us, end_us), and the tenant's own lines
    by whether they ended in the period and whether their interval closed in it; what those intervals gave to requests,
    and whether lines were lost; by how much own lines were restated. `everybody`: all lines are own.
    """

    def __init__(self, *, tenant: str, start_us: int, end_us: int, everybody: bool = False) -> None:
        self._tenant, self._start_us, self._end_us = tenant, start_us, end_us
        self._everybody = everybody
        self._since: list[tuple[str, int, bool]] = []
        self._pools: Counter[str] = Counter()
        self._over_uj: int | None = None
        self._metering_uj: int | None = None
        self._before_uj: dict[str, int] = {}
        self._after_uj: dict[str, int] = {}
        self.intervals = self.unmetered_ns = 0
        self.metered_uj = self.own_uj = self.others_uj = self.platform_uj = 0
        self.own_of_other_periods_uj = self.own_closed_elsewhere_uj = 0
        self._parts_uj, self._kept_uj, self._lost = 0, 0, False
        self.restated_uj = 0
        self.sensors: dict[str, Sensor] = {}

    def settle(self, body: Mapping[str, Any]) -> None:
        """Take a settled line; what no meter saw or nobody is charged for is not a tenant's part."""
        energy_uj = it_uj(body)
        if body["charged"] and energy_uj is not None and UNMETERED not in body["flags"]:
            self._since.append((body["tenant"], energy_uj, self._within(counted_us(body))))

    def close(self, body: Mapping[str, Any]) -> None:
        """Take a device interval: the lines settled since the one before it are its own."""
        lines, self._since = self._since, []
        here = self._within(body["at_us"])
        for name, energy_uj, ended_here in lines:
            self.place(name, energy_uj, ended_here=ended_here, closed_here=here)
        if here:
            self._take(body)

    def lose(self, kept_uj: int = 0) -> None:
        """Lines were erased, whose settled energy [uJ] in the sums is now `kept_uj`: what they had of the intervals is
        what these gave to requests, less what all others had."""
        self._lost = True
        self._kept_uj += kept_uj

    def fill(self) -> None:
        """After the last entry: give what erased lines had to others, or where all lines are own to these."""
        if not self._lost:
            return
        rest_uj = self._parts_uj - self.own_uj - self.others_uj - self.platform_uj
        self._lost = False
        if self._everybody:
            self.own_uj += rest_uj
            self.restated_uj += self._kept_uj - rest_uj
        else:
            self.others_uj += rest_uj

    def place(self, tenant: str, energy_uj: int, *, ended_here: bool, closed_here: bool) -> None:
        """Take settled energy [uJ] of a tenant, by whether it ended and whether its interval closed in the period."""
        if not closed_here:
            self.own_closed_elsewhere_uj += energy_uj if self._is_own(tenant) and ended_here else 0
        elif self._is_own(tenant):
            self.own_uj += energy_uj
            self.own_of_other_periods_uj += 0 if ended_here else energy_uj
        elif tenant == PLATFORM:
            self.platform_uj += energy_uj
        else:
            self.others_uj += energy_uj

    def restate(self, tenant: str, more_uj: int) -> None:
        """Requests of the period were restated by so much energy [uJ]; the intervals stay as they were read."""
        self.restated_uj += more_uj if self._is_own(tenant) else 0

    def take_hour(self, body: Mapping[str, Any]) -> None:
        """Take a closed hour of the period instead of its intervals; whoever asks places the lines itself."""
        self._add(body)
        self.sensors.setdefault(body["device"], Sensor()).take_hour(body)

    def _take(self, body: Mapping[str, Any]) -> None:
        self._add(body)
        self.sensors.setdefault(body["device"], Sensor()).take(body)

    def _add(self, body: Mapping[str, Any]) -> None:
        device = body["device"]
        self._parts_uj += sum(body[name] for name in PARTS)
        self._before_uj.setdefault(device, body["pending_before_uj"])
        self._after_uj[device] = body["pending_after_uj"]
        self._pools.update(pools_of(body))
        if body.get("over_attributed_uj") is not None:
            self._over_uj = (self._over_uj or 0) + body["over_attributed_uj"]
        if body.get("metering_uj") is not None:
            self._metering_uj = (self._metering_uj or 0) + body["metering_uj"]
        self.intervals += body["intervals"]
        self.unmetered_ns += body["unmetered_ns"]
        self.metered_uj += body["metered_uj"]

    def pool_uj(self, name: str) -> int | None:
        """The node's energy in one of POOLS or its overhead [uJ]; None where no interval told that pool apart."""
        return self._pools.get(name, None if name in LATER_POOLS or name == OVERHEAD else 0)

    def difference_uj(self) -> int:
        """Metered minus placed [uJ]; 0 in a ledger that verifies."""
        placed = self.own_uj + self.others_uj + self.platform_uj + self._pools.total()
        return self.metered_uj + sum(self._before_uj.values()) - placed - sum(self._after_uj.values())

    def document(self) -> dict[str, object]:
        """The lines of the statement: metered + pending before = all the others, difference 0."""
        platform_uj = self.platform_uj + self._pools["waste_uj"]
        lines: dict[str, int | None] = {
            "metered": self.metered_uj,
            "pending_before": sum(self._before_uj.values()),
            "this_tenant": self.own_uj,
            "other_tenants": self.others_uj,
            "platform": platform_uj,
            **{name.removesuffix("_uj"): self.pool_uj(name) for name in POOLS if name != "waste_uj"},
            "pending_after": sum(self._after_uj.values()),
            "difference": self.difference_uj(),
        }
        # Statements without these stay, byte for byte, what they were before they were known.
        if OVERHEAD in self._pools:
            lines["overhead"] = self._pools[OVERHEAD]
        if self._metering_uj is not None:
            lines["of_background_metering"] = self._metering_uj
        return {f"{name}_joules": None if uj is None else decimal_joules(uj) for name, uj in lines.items()} | {
            "peers_served_joules": None,
            "over_attributed_joules": None if self._over_uj is None else decimal_joules(self._over_uj),
            "intervals": self.intervals,
            "unmetered_time_ns": self.unmetered_ns,
            "sources": sorted({source for sensor in self.sensors.values() for source in sensor.sources}),
        }

    def bridge(self, *, total_uj: int, provisional_uj: int, unreconciled_uj: int) -> dict[str, object]:
        """From the tenant's line above to its total: what settled in another period, not yet, or never."""
        explained = self.own_uj - self.own_of_other_periods_uj + self.own_closed_elsewhere_uj + self.restated_uj
        lines = {
            "reconciled_here": self.own_uj,
            "of_requests_of_other_periods": -self.own_of_other_periods_uj,
            "reconciled_in_other_periods": self.own_closed_elsewhere_uj,
            "provisional": provisional_uj,
            "unreconciled": unreconciled_uj,
            **({"restated": self.restated_uj} if self.restated_uj else {}),
            "total": total_uj,
            "difference": total_uj - explained - provisional_uj - unreconciled_uj,
        }
        return {f"{name}_joules": decimal_joules(uj) for name, uj in lines.items()}

    def _is_own(self, tenant: str) -> bool:
        return self._everybody or tenant == self._tenant

    def _within(self, at_us: int) -> bool:
        return self._start_us <= at_us < self._end_us
