"""Sums over a tenant's usage lines, with what they do not cover beside them."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from math import isqrt
from types import MappingProxyType

from greenserve.carbon.counters import Counters
from greenserve.records import TIERS, Basis
from greenserve.units import decimal_grams, decimal_joules, decimal_kwh

BASIS_POINTS = 10_000
REQUEST_BP = 1_000
CLASS_BP = 300
GRID_BP = MappingProxyType({"observed": 500, "estimated": 1_000, "forecast": 1_500, "recorded": 3_000, "annual": 4_000})
"""Half widths of 90 % intervals [1/100 %]: one request's share, a class of requests, the grid by origin (E12)."""
TIER_RANK: Mapping[str, int] = MappingProxyType({tier: rank for rank, tier in enumerate(TIERS)})
COLUMNS = MappingProxyType[str, Basis]({"loc_lifecycle_ng": "lifecycle", "loc_direct_ng": "direct"})
UNKNOWN_LEVEL = "unknown"


class Tally(Counters):
    """The sums of a tenant, a period or an hour, and what follows from them."""

    __slots__ = ()

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

    @property
    def levels_uj(self) -> dict[str, int]:
        """IT energy [uJ] by level of the fallback chain, `unknown` where the line tells none; empty where none does."""
        levels: Counter[str] = Counter()
        for grade, energy_uj in self.grades.items():
            levels[grade.split()[2].replace("-", UNKNOWN_LEVEL)] += energy_uj
        if not any(levels.values()):
            return {}
        levels[UNKNOWN_LEVEL] += self.energy_uj - levels.total()
        return {level: energy_uj for level, energy_uj in levels.items() if energy_uj}

    def half_width_bp(self, *, grid: Basis | None) -> int:
        """Half width of the 90 % interval of the sum [1/100 %], by E12: of its energy (`grid` None), or of its
        emissions in a basis. The meter's and the grid's parts are common to all lines."""
        energy_uj = self.energy_uj
        if not energy_uj:
            return 0
        meter = (self.high_uj - self.low_uj) * BASIS_POINTS // (2 * energy_uj)
        squares = meter**2 + REQUEST_BP**2 // max(1, self.requests - self.unmetered) + CLASS_BP**2
        if grid is not None:
            squares += self._grid_bp(grid) ** 2
        return isqrt(squares)

    def _grid_bp(self, basis: Basis) -> int:
        """The mean of the lines' half widths by energy [1/100 %]: by the reading in that basis, or by its origin where
        it carries none; 0 where no grid is known."""
        rest_uj = Counter({origin: self.by_origin[origin] for origin in GRID_BP})
        known_uj = weighted = 0
        for counter in (self.grades, self.other_grades):
            for grade, energy_uj in counter.items():
                of_basis, origin, _, told = grade.split()
                if counter is self.grades:
                    rest_uj[origin] -= energy_uj
                if of_basis == basis:
                    known_uj += energy_uj
                    weighted += energy_uj * (GRID_BP[origin] if told == "-" else int(told))
        known_uj += rest_uj.total()
        weighted += sum(GRID_BP[origin] * energy_uj for origin, energy_uj in rest_uj.items())
        return weighted // known_uj if known_uj else 0

    def document(self) -> dict[str, object]:
        """All figures as members: quantities as decimal strings with the unit in the name, unknown as None."""
        energy_low, energy_high = _range(self.energy_uj, self.half_width_bp(grid=None))
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
        for column, basis in COLUMNS.items():
            name = column.removesuffix("_ng")
            total: int | None = getattr(self, column)
            if not getattr(self, f"{name}_covered") and self.requests:
                total = None
            low, high = (None, None) if total is None else _range(total, self.half_width_bp(grid=basis))
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


def decimal_g_per_kwh(mg_per_kwh: int) -> str:
    """Intensity [mg/kWh] as an exact decimal string in g/kWh."""
    return f"{Decimal(mg_per_kwh).scaleb(-3):f}"


def _range(total: int, half_width_bp: int) -> tuple[int, int]:
    low = total * max(0, BASIS_POINTS - half_width_bp) // BASIS_POINTS
    return low, -(-total * (BASIS_POINTS + half_width_bp) // BASIS_POINTS)
