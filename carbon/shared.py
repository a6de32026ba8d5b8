"""What a statement says of closed hours: whose idle, load and overhead energy it was, and how many hours are open."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from greenserve.carbon.entries import PLATFORM, US_PER_HOUR
from greenserve.carbon.hours import BASES, HourName
from greenserve.carbon.scope import EVERYBODY, Scope
from greenserve.records import TIERS
from greenserve.units import decimal_grams, decimal_joules

POOLS = ("idle_uj", "load_uj", "overhead_uj")
PRICED = ("facility_uj", *(f"loc_{basis}_ng" for basis in BASES))


class Shared:
    """State, by `interval`, `hour` and `share` alone: sums over the period's closed hours, and the hours of devices
    that are open. A tenant's sums are those of its shares, the operator's those of whole hours.

    An hour is in the period where its beginning is.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._open: dict[HourName, int] = {}
        self._sums: Counter[str] = Counter()
        self._unpriced_uj: Counter[str] = Counter()
        self._known: set[str] = set()
        self._tiers: set[str] = set()
        self._platform_uj = self._late_uj = self.hours = 0

    @property
    def open_hours(self) -> int:
        """Devices' hours of the period whose intervals are not all in a closed hour."""
        return len(self._open)

    @property
    def tier(self) -> str | None:
        """The weakest evidence of the closed hours, None without any."""
        return max(self._tiers, key=[str(tier) for tier in TIERS].index, default=None)

    def interval(self, index: int, body: Mapping[str, Any]) -> None:
        """A device's interval: its hour is open until a closing holds it."""
        hour = body["at_us"] // US_PER_HOUR
        if self._scope.holds(hour * US_PER_HOUR):
            self._open[body["device"], hour] = index

    def hour(self, body: Mapping[str, Any]) -> None:
        """A `device_hour`."""
        if not self._scope.holds(body["hour"] * US_PER_HOUR):
            return
        name = (body["device"], body["hour"])
        if self._open.get(name, -1) <= body["last_index"]:
            self._open.pop(name, None)
        self.hours += body["revision"] == 0
        self._tiers.add(body["tier"])
        if self._scope.tenant == EVERYBODY:
            self._add(body)

    def share(self, body: Mapping[str, Any]) -> None:
        """A `share`, of any tenant."""
        if not self._scope.holds(body["hour"] * US_PER_HOUR):
            return
        if body["tenant"] == self._scope.tenant:
            self._add(body)
        if body["tenant"] == PLATFORM:
            self._platform_uj += _pooled_uj(body)

    def pool_uj(self, name: str) -> int | None:
        """The part of a pool [uJ]; None where no closed hour tells it. A tenant without a share of a closed hour has
        0 of its idle energy."""
        known = name in self._known or (name == "idle_uj" and self.hours > 0)
        return self._sums[name] if known else None

    def all_in_uj(self, requests_uj: int) -> int | None:
        """Requests and pools together [uJ], without overhead that nobody measures; None while an hour is open."""
        if self.open_hours or not self.hours:
            return None
        return requests_uj + sum(self._sums[name] for name in POOLS)

    def document(self) -> dict[str, object]:
        """The statement's member: joules by pool, and what they were at the site and in emissions."""
        pooled_uj = sum(self._sums[name] for name in POOLS)
        operator = self._scope.tenant == EVERYBODY
        lines: dict[str, object] = {"hours_closed": self.hours, "hours_open": self.open_hours}
        for name in POOLS:
            lines[f"{name.removesuffix('_uj')}_joules"] = _joules(self.pool_uj(name))
        lines["pooled_joules"] = _joules(pooled_uj if self.hours else None)
        lines["of_platform_joules"] = _joules(self._platform_uj if self.hours and operator else None)
        lines["late_joules"] = _joules(self._late_uj if self.hours else None)
        lines["facility_joules"] = _joules(self._sums["facility_uj"] if "facility_uj" in self._known else None)
        lines["facility_unknown_joules"] = decimal_joules(self._unpriced_uj["facility_uj"])
        for basis in BASES:
            name = f"loc_{basis}_ng"
            lines[f"loc_{basis}_gco2e"] = decimal_grams(self._sums[name]) if name in self._known else None
            lines[f"loc_{basis}_uncovered_joules"] = decimal_joules(self._unpriced_uj[name])
        return lines | {"tier": self.tier}

    def _add(self, body: Mapping[str, Any]) -> None:
        pooled_uj = _pooled_uj(body)
        self._late_uj += body["late_uj"]
        for name in (*POOLS, *PRICED):
            if body[name] is not None:
                self._sums[name] += body[name]
                self._known.add(name)
            elif name in PRICED:
                self._unpriced_uj[name] += pooled_uj


def _pooled_uj(body: Mapping[str, Any]) -> int:
    return sum(body[name] or 0 for name in POOLS)


def _joules(energy_uj: int | None) -> str | None:
    return None if energy_uj is None else decimal_joules(energy_uj)
