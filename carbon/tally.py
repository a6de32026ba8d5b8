"""Sums over a tenant's usage lines, with what they do not cover beside them."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from math import isqrt
from types import MappingProxyType
from typing import Any

import orjson

from greenserve.carbon.entries import UNMETERED
from greenserve.records import TIERS
from greenserve.units import decimal_grams, decimal_joules, decimal_kwh

BASIS_POINTS = 10_000
REQUEST_BP = 1_000
CLASS_BP = 300
GRID_BP = MappingProxyType({"observed": 500, "estimated": 1_000, "forecast": 1_500, "recorded": 3_000, "annual": 4_000})
"""Half widths of 90 % intervals [1/100 %]: one request's share, a class of requests, the grid by origin (E12)."""
TIER_RANK: Mapping[str, int] = MappingProxyType({tier: rank for rank, tier in enumerate(TIERS)})
COLUMNS = ("loc_lifecycle_ng", "loc_direct_ng")
INTEGERS = (
    "requests",
    "not_charged",
    "open",
    "unmetered",
    "provisional",
    "unreconciled",
    "rows",
    "tokens",
    "tokens_unknown",
    "active_uj",
    "held_uj",
    "host_uj",
    "low_uj",
    "high_uj",
    "facility_uj",
    "facility_unknown_uj",
    "provisional_uj",
    "unreconciled_uj",
    "loc_lifecycle_ng",
    "loc_lifecycle_covered",
    "loc_lifecycle_uncovered_uj",
    "loc_direct_ng",
    "loc_direct_covered",
    "loc_direct_uncovered_uj",
    "market_ng",
    "market_covered",
    "market_unknown_uj",
    "embodied_ng",
    "embodied_covered",
    "ci_unknown_uj",
)
"""Sums. `open` are lines that wait for their settled one, charged or not; `_covered` are the requests with a figure in
that column. `ci_unknown_uj` and `market_unknown_uj` are site energy (IT energy without a PUE) without lifecycle or
market emissions; `_uncovered_uj` is IT energy."""
COUNTERS = ("outcomes", "cache", "tiers", "by_tier", "by_origin", "intensities", "flags", "histogram")
_BY_NUMBER = frozenset(("intensities", "histogram"))
_FRACTION_BITS = 4
_NULLABLE = ("active_uj", "facility_uj", "loc_lifecycle_ng", "loc_direct_ng", "market_ng", "embodied_ng")


class Tally:
    """Sums of merged usage bodies, integers only. State: counters that `add` and `merge` alone change.

    Energies are IT energy [uJ]. `outcomes`, `cache`, `tiers` and `flags` count requests; `by_tier` and `by_origin` hold
    IT energy; `intensities` maps mg/kWh to site energy; `histogram` counts requests by `bucket_of` their energy. A line
    that is taken away again leaves nothing behind, so that sums over settled lines do not depend on their estimates.
    """

    __slots__ = (*INTEGERS, *COUNTERS)
    requests: int
    not_charged: int
    open: int
    unmetered: int
    provisional: int
    unreconciled: int
    rows: int
    tokens: int
    tokens_unknown: int
    active_uj: int
    held_uj: int
    host_uj: int
    low_uj: int
    high_uj: int
    facility_uj: int
    facility_unknown_uj: int
    provisional_uj: int
    unreconciled_uj: int
    loc_lifecycle_ng: int
    loc_lifecycle_covered: int
    loc_lifecycle_uncovered_uj: int
    loc_direct_ng: int
    loc_direct_covered: int
    loc_direct_uncovered_uj: int
    market_ng: int
    market_covered: int
    market_unknown_uj: int
    embodied_ng: int
    embodied_covered: int
    ci_unknown_uj: int

    def __init__(self) -> None:
        for name in INTEGERS:
            setattr(self, name, 0)
        self.outcomes: Counter[str] = Counter()
        self.cache: Counter[str] = Counter()
        self.tiers: Counter[str] = Counter()
        self.by_tier: Counter[str] = Counter()
        self.by_origin: Counter[str] = Counter()
        self.intensities: Counter[int] = Counter()
        self.flags: Counter[str] = Counter()
        self.histogram: Counter[int] = Counter()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        return f"<Tally of {self.requests} requests, {self.energy_uj} uJ>"

    @property
    def energy_uj(self) -> int:
        """IT energy of all metered requests [uJ]."""
        return self.active_uj + self.held_uj + self.host_uj

    @property
    def min_mg_per_kwh(self) -> int | None:
        """The lowest intensity of any request [mg/kWh]; None where none was known."""
        return min(self.intensities, default=None)

    @property
    def max_mg_per_kwh(self) -> int | None:
        """The highest intensity of any request [mg/kWh]; None where none was known."""
        return max(self.intensities, default=None)

    @property
    def tier(self) -> str | None:
        """The weakest tier of the parts, None where nothing was metered."""
        return max(self.tiers, key=lambda tier: TIER_RANK[tier]) if self.tiers else None

    def add(self, body: Mapping[str, Any], sign: int = 1) -> None:
        """Count one request by its newest line, merged over the ones before; with -1 take it away again.

        A line that is not charged counts only as such.
        """
        if body["state"] == "provisional":
            self.open += sign
        if not body["charged"]:
            self.not_charged += sign
            return
        self.requests += sign
        _count(self.outcomes, body["outcome"], sign)
        _count(self.cache, body["cache"], sign)
        self.rows += sign * body["rows"]
        tokens = body["tokens_in"]
        if tokens is None:
            self.tokens_unknown += sign
        else:
            self.tokens += sign * tokens
        for flag in body["flags"]:
            _count(self.flags, flag, sign)
        self._add_energy(body, sign)

    def replace(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """A settled line `new` takes the place of `old`, what it does not hold stands as in `old`.

        The same as taking `old` away and adding `old` merged with `new`, in half the time.
        """
        if old["state"] == "provisional":
            self.open -= 1
        if new["state"] == "provisional":
            self.open += 1
        if old["charged"] != new["charged"]:
            raise ValueError(f"a later line charges as the first one did, got {new!r:.80}")
        if not old["charged"]:
            return
        if old["flags"] or new["flags"]:
            for flag in old["flags"]:
                _count(self.flags, flag, -1)
            for flag in new["flags"]:
                _count(self.flags, flag, 1)
        unknown = [old[name] is None for name in _NULLABLE]
        if unknown[0] or unknown != [new[name] is None for name in _NULLABLE]:
            self._add_energy(old, -1)
            self._add_energy(new, 1, old)
        else:
            self._move_energy(old, new)

    def merge(self, other: "Tally") -> None:
        """Add all sums of another tally."""
        for name in INTEGERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in COUNTERS:
            own = getattr(self, name)
            for key, value in getattr(other, name).items():
                _count(own, key, value)

    def to_json(self) -> bytes:
        """The sums as canonical JSON: members in order of name, those that are zero or empty left out."""
        members: dict[str, object] = {name: value for name in INTEGERS if (value := getattr(self, name))}
        for name in COUNTERS:
            counter = getattr(self, name)
            if counter:
                members[name] = {str(key): value for key, value in counter.items()} if name in _BY_NUMBER else counter
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> "Tally":
        """The tally that `to_json` wrote; ValueError for a member that it does not know."""
        tally = cls()
        for name, value in orjson.loads(data).items():
            if name not in cls.__slots__:
                raise ValueError(f"a tally has no {name}; this version knows {', '.join(cls.__slots__)}")
            if name in COUNTERS:
                value = Counter({int(key): one for key, one in value.items()} if name in _BY_NUMBER else value)
            setattr(tally, name, value)
        return tally

    def _move_energy(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """From the figures of `old` to those of `new`, where the same ones are known in both."""
        active_uj, held_uj, host_uj = new["active_uj"], new["held_uj"], new["host_uj"]
        more_active_uj, more_held_uj = active_uj - old["active_uj"], held_uj - old["held_uj"]
        more_host_uj = host_uj - old["host_uj"]
        energy_uj, more_uj = active_uj + held_uj + host_uj, more_active_uj + more_held_uj + more_host_uj
        old_uj = energy_uj - more_uj
        self.active_uj += more_active_uj
        self.held_uj += more_held_uj
        self.host_uj += more_host_uj
        self.low_uj += new["low_uj"] - old["low_uj"]
        self.high_uj += new["high_uj"] - old["high_uj"]
        if old["tier"] == new["tier"]:
            _count(self.by_tier, new["tier"], more_uj)
        else:
            self._count_tier(old["tier"], old_uj, -1)
            self._count_tier(new["tier"], energy_uj, 1)
        before, after = bucket_of(old_uj), bucket_of(energy_uj)
        if before != after:
            _count(self.histogram, before, -1)
            _count(self.histogram, after, 1)
        self._count_state(old, old_uj, -1)
        self._count_state(new, energy_uj, 1)
        reading, more_site_uj = old["ci"], more_uj
        if new["facility_uj"] is None:
            self.facility_unknown_uj += more_uj
        else:
            more_site_uj = new["facility_uj"] - old["facility_uj"]
            self.facility_uj += more_site_uj
            if reading is not None:
                _count(self.intensities, reading["mg_per_kwh"], more_site_uj)
        _count(self.by_origin, "unknown" if reading is None else reading["origin"], more_uj)
        if new["loc_lifecycle_ng"] is None:
            self.loc_lifecycle_uncovered_uj += more_uj
            self.ci_unknown_uj += more_site_uj
        else:
            self.loc_lifecycle_ng += new["loc_lifecycle_ng"] - old["loc_lifecycle_ng"]
        if new["loc_direct_ng"] is None:
            self.loc_direct_uncovered_uj += more_uj
        else:
            self.loc_direct_ng += new["loc_direct_ng"] - old["loc_direct_ng"]
        if new["market_ng"] is None:
            self.market_unknown_uj += more_site_uj
        else:
            self.market_ng += new["market_ng"] - old["market_ng"]
        if new["embodied_ng"] is not None:
            self.embodied_ng += new["embodied_ng"] - old["embodied_ng"]

    def _count_tier(self, tier: str, energy_uj: int, sign: int) -> None:
        _count(self.tiers, tier, sign)
        _count(self.by_tier, tier, sign * energy_uj)

    def _count_state(self, body: Mapping[str, Any], energy_uj: int, sign: int) -> None:
        if body["state"] == "provisional":
            self.provisional += sign
            self.provisional_uj += sign * energy_uj
        elif UNMETERED in body["flags"]:
            self.unreconciled += sign
            self.unreconciled_uj += sign * energy_uj

    def _add_energy(self, body: Mapping[str, Any], sign: int, first: Mapping[str, Any] | None = None) -> None:
        active_uj = body["active_uj"]
        if active_uj is None:
            self.unmetered += sign
            return
        held_uj, host_uj = body["held_uj"], body["host_uj"]
        energy_uj = active_uj + held_uj + host_uj
        signed_uj = sign * energy_uj
        self.active_uj += sign * active_uj
        self.held_uj += sign * held_uj
        self.host_uj += sign * host_uj
        self.low_uj += sign * body["low_uj"]
        self.high_uj += sign * body["high_uj"]
        self._count_tier(body["tier"], energy_uj, sign)
        _count(self.histogram, bucket_of(energy_uj), sign)
        self._count_state(body, energy_uj, sign)
        self._add_carbon(body, signed_uj, sign, (first or body)["ci"])

    def _add_carbon(
        self, body: Mapping[str, Any], energy_uj: int, sign: int, reading: Mapping[str, Any] | None
    ) -> None:
        site_uj = energy_uj
        if body["facility_uj"] is None:
            self.facility_unknown_uj += energy_uj
        else:
            site_uj = sign * body["facility_uj"]
            self.facility_uj += site_uj
        if reading is None:
            _count(self.by_origin, "unknown", energy_uj)
        else:
            _count(self.by_origin, reading["origin"], energy_uj)
            if body["facility_uj"] is not None:
                _count(self.intensities, reading["mg_per_kwh"], site_uj)
        lifecycle, direct = body["loc_lifecycle_ng"], body["loc_direct_ng"]
        if lifecycle is None:
            self.loc_lifecycle_uncovered_uj += energy_uj
            self.ci_unknown_uj += site_uj
        else:
            self.loc_lifecycle_ng += sign * lifecycle
            self.loc_lifecycle_covered += sign
        if direct is None:
            self.loc_direct_uncovered_uj += energy_uj
        else:
            self.loc_direct_ng += sign * direct
            self.loc_direct_covered += sign
        if body["market_ng"] is None:
            self.market_unknown_uj += site_uj
        else:
            self.market_ng += sign * body["market_ng"]
            self.market_covered += sign
        if body["embodied_ng"] is not None:
            self.embodied_ng += sign * body["embodied_ng"]
            self.embodied_covered += sign

    def half_width_bp(self, *, grid: bool) -> int:
        """Half width of the 90 % interval of the sum [1/100 %], by E12; the meter's part is common to all lines."""
        energy_uj = self.energy_uj
        if not energy_uj:
            return 0
        meter = (self.high_uj - self.low_uj) * BASIS_POINTS // (2 * energy_uj)
        squares = meter**2 + REQUEST_BP**2 // max(1, self.requests - self.unmetered) + CLASS_BP**2
        known_uj = sum(self.by_origin[origin] for origin in GRID_BP)
        if grid and known_uj:
            squares += (sum(GRID_BP[origin] * self.by_origin[origin] for origin in GRID_BP) // known_uj) ** 2
        return isqrt(squares)

    def document(self) -> dict[str, object]:
        """All figures as members: quantities as decimal strings with the unit in the name, unknown as None."""
        energy_low, energy_high = _range(self.energy_uj, self.half_width_bp(grid=False))
        energy_known = self.requests == 0 or self.requests > self.unmetered
        counts: dict[str, object] = {
            "requests": self.requests,
            **{f"requests_{name}": self.outcomes[name] for name in ("ok", "error", "cancelled")},
            **{f"cache_{name}": self.cache[name] for name in ("hit", "joined", "miss", "off")},
            "rows": self.rows,
            "tokens_in": self.tokens,
            "tokens_unknown_requests": self.tokens_unknown,
        }
        energy = {
            "active_joules": decimal_joules(self.active_uj),
            "held_joules": decimal_joules(self.held_uj),
            "host_joules": decimal_joules(self.host_uj),
            "energy_joules": decimal_joules(self.energy_uj),
            "energy_low_joules": decimal_joules(energy_low),
            "energy_high_joules": decimal_joules(energy_high),
            "energy_kwh": decimal_kwh(self.energy_uj),
            "facility_joules": decimal_joules(self.facility_uj),
            "facility_kwh": decimal_kwh(self.facility_uj),
        }
        rest: dict[str, object] = {
            "facility_unknown_joules": decimal_joules(self.facility_unknown_uj),
            "tier": self.tier,
            "unmetered_requests": self.unmetered,
            "provisional_requests": self.provisional,
            "provisional_joules": decimal_joules(self.provisional_uj),
            "unreconciled_requests": self.unreconciled,
            "unreconciled_joules": decimal_joules(self.unreconciled_uj),
        }
        shown: dict[str, object] = dict(energy) if energy_known else dict.fromkeys(energy)
        if self.facility_unknown_uj and not self.facility_uj:
            shown |= dict.fromkeys(("facility_joules", "facility_kwh"))
        return counts | shown | self._carbon() | self._intensity() | rest

    def _carbon(self) -> dict[str, object]:
        shown: dict[str, object] = {}
        for column in COLUMNS:
            name = column.removesuffix("_ng")
            total: int | None = getattr(self, column)
            if not getattr(self, f"{name}_covered") and self.requests:
                total = None
            low, high = (None, None) if total is None else _range(total, self.half_width_bp(grid=True))
            shown[f"{name}_gco2e"] = None if total is None else decimal_grams(total)
            shown[f"{name}_low_gco2e"] = None if low is None else decimal_grams(low)
            shown[f"{name}_high_gco2e"] = None if high is None else decimal_grams(high)
            shown[f"{name}_uncovered_joules"] = decimal_joules(getattr(self, f"{name}_uncovered_uj"))
        return shown | {"market_gco2e": None, "embodied_gco2e": None}

    def _intensity(self) -> dict[str, object]:
        weight = sum(self.intensities.values())
        known = sorted(self.intensities)
        mean = None
        if weight:
            mean = decimal_g_per_kwh(sum(value * part for value, part in self.intensities.items()) // weight)
        return {
            "intensity_min_gco2e_per_kwh": decimal_g_per_kwh(known[0]) if known else None,
            "intensity_mean_gco2e_per_kwh": mean,
            "intensity_max_gco2e_per_kwh": decimal_g_per_kwh(known[-1]) if known else None,
        }


def bucket_of(energy_uj: int) -> int:
    """The histogram's bucket of an energy [uJ]: 16 x bit length + the next four bits, at most 6.25 % wide."""
    length = energy_uj.bit_length()
    if length <= _FRACTION_BITS:
        return (length << _FRACTION_BITS) | (energy_uj << (_FRACTION_BITS + 1 - length) & 15 if length else 0)
    return (length << _FRACTION_BITS) | ((energy_uj >> (length - 1 - _FRACTION_BITS)) & 15)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The energies [uJ] of a bucket: the first one, and the first one behind it."""
    length, fraction = bucket >> _FRACTION_BITS, bucket & 15
    if not length:
        return 0, 1
    shift = length - 1 - _FRACTION_BITS
    if shift < 0:
        return (16 + fraction) >> -shift, ((16 + fraction) >> -shift) + 1
    return (16 + fraction) << shift, (17 + fraction) << shift


def _count(counter: Counter[Any], key: str | int, value: int) -> None:
    """Add to a counter; what comes to nothing leaves no trace."""
    if value:
        total = counter.get(key, 0) + value
        if total:
            counter[key] = total
        else:
            del counter[key]


def decimal_g_per_kwh(mg_per_kwh: int) -> str:
    """Intensity [mg/kWh] as an exact decimal string in g/kWh."""
    return f"{Decimal(mg_per_kwh).scaleb(-3):f}"


def _range(total: int, half_width_bp: int) -> tuple[int, int]:
    low = total * max(0, BASIS_POINTS - half_width_bp) // BASIS_POINTS
    return low, -(-total * (BASIS_POINTS + half_width_bp) // BASIS_POINTS)
