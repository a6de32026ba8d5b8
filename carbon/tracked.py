"""What a tracked programme emitted, line by line, and its sums: pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isqrt

from greenserve.carbon.emissions import accounted_ng, facility_uj, summed_ng
from greenserve.carbon.energy_report import EnergyReport, shown_joules
from greenserve.carbon.uncertainty import BASIS_POINTS, bounds
from greenserve.records import IntensityReading, Tier
from greenserve.units import MG_PER_G, grams_from_ng

ASSUMED_PUE_MILLI = 1_560
ASSUMED_PUE_BP = 3_600
"""Without a PUE of the site: a survey's average, as wide as reaches down to 1.0 (no overhead at all)."""
ASSUMED_SOURCE = "assumed: an average of data centres; give the site's own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pue:
    """Site energy over IT energy [1/1000], who says so, and its half width [1/100 %]; a given one counts as exact."""

    milli: int = ASSUMED_PUE_MILLI
    source: str = ASSUMED_SOURCE
    half_width_bp: int = ASSUMED_PUE_BP


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedLine:
    """One sample: IT energy [uJ] over [start_us, end_us) UTC, within one grid slot; the whole machine's known devices.

    `energy_uj` None: nothing was metered. `intensity` None: no source knows the zone at that time, and `emissions_ng`
    [ng CO2e] is None too, never 0.
    """

    start_us: int
    end_us: int
    energy_uj: int | None
    facility_uj: int | None
    tier: Tier | None
    intensity: IntensityReading | None
    emissions_ng: int | None


def tracked_line(
    *,
    start_us: int,
    end_us: int,
    energy_uj: int | None,
    tier: Tier | None,
    intensity: IntensityReading | None,
    pue_milli: int,
) -> TrackedLine:
    """A sample with E9 and E11 applied; ValueError for a marginal intensity."""
    site_uj = None if energy_uj is None else facility_uj(energy_uj, pue_milli)
    return TrackedLine(
        start_us=start_us,
        end_us=end_us,
        energy_uj=energy_uj,
        facility_uj=site_uj,
        tier=tier,
        intensity=intensity,
        emissions_ng=None if site_uj is None else accounted_ng(site_uj, intensity),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonReport:
    """Energy and location-based emissions of a tracked programme, average intensity alone.

    `state` is `running` while it is tracked. `low_ng` and `high_ng` bound 90 % by meter, grid and PUE (E12); None where
    one of them has no half width. `uncovered_uj` [uJ] is the site's energy whose intensity is unknown: it is in no
    emissions. `remarks` say what is missing and what to do.
    """

    label: str
    zone: str
    state: str
    energy: EnergyReport
    pue: Pue
    lines: tuple[TrackedLine, ...]
    remarks: tuple[str, ...] = ()

    @property
    def energy_uj(self) -> int | None:
        """IT energy of the lines [uJ]; None where none is known."""
        return _known_sum(line.energy_uj for line in self.lines)

    @property
    def facility_uj(self) -> int | None:
        """The same at the site's meter [uJ] (E9)."""
        return _known_sum(line.facility_uj for line in self.lines)

    @property
    def tier(self) -> Tier | None:
        """The weakest tier of the energy."""
        return self.energy.tier

    @property
    def emissions_ng(self) -> int | None:
        """Emissions [ng CO2e] of the lines whose intensity is known; None where none is."""
        known = [(line.facility_uj, line.intensity) for line in self.lines if line.facility_uj is not None]
        return summed_ng([(site_uj, reading) for site_uj, reading in known])[0] if known else None

    @property
    def uncovered_uj(self) -> int:
        """Site energy [uJ] of lines whose intensity is not known."""
        return sum(line.facility_uj or 0 for line in self.lines if line.intensity is None)

    @property
    def low_ng(self) -> int | None:
        """Lower 90 % bound of the emissions [ng CO2e]."""
        found = self._interval()
        return None if found is None else found[0]

    @property
    def high_ng(self) -> int | None:
        """Upper 90 % bound of the emissions [ng CO2e]."""
        found = self._interval()
        return None if found is None else found[1]

    def as_dict(self) -> dict[str, object]:
        """All figures with their units in the names, for JSON."""
        totals = ("energy_uj", "facility_uj", "emissions_ng", "low_ng", "high_ng", "uncovered_uj", "tier")
        return {
            "label": self.label,
            "zone": self.zone,
            "state": self.state,
            **{name: getattr(self, name) for name in totals},
            "pue": asdict(self.pue),
            "energy": self.energy.as_dict(),
            "lines": [asdict(line) for line in self.lines],
            "remarks": list(self.remarks),
        }

    def __str__(self) -> str:
        grams = self.emissions_ng
        shown = "unknown gCO2e" if grams is None else f"{grams_from_ng(grams):.4g} gCO2e"
        if grams is not None:
            low, high = self.low_ng, self.high_ng
            known = low is not None and high is not None
            shown += f" [{grams_from_ng(low or 0):.4g}, {grams_from_ng(high or 0):.4g}]" if known else " [unknown]"
        return "\n".join(
            [
                f"{self.label} in {self.zone}: {shown}",
                f"  energy   {shown_joules(self.energy_uj, self.energy.low_uj, self.energy.high_uj)}, "
                f"{self.tier or 'no tier'}, x PUE {self.pue.milli / 1000:g} ({self.pue.source})",
                *(f"  grid     {said}" for said in _grids(self.lines)),
                *(f"  remark   {remark}" for remark in self.remarks),
            ]
        )

    def _interval(self) -> tuple[int, int] | None:
        """E12 over the run: the meter's width is that of the whole, the grid's the widest of the lines."""
        emissions, energy = self.emissions_ng, self.energy
        grids = [line.intensity.u_grid_bp for line in self.lines if line.intensity is not None]
        if not emissions or not energy.energy_uj or energy.low_uj is None or energy.high_uj is None or None in grids:
            return None
        widths = [max(width for width in grids if width is not None), self.pue.half_width_bp]
        down, up = (
            _root([*widths, -(-abs(edge - energy.energy_uj) * BASIS_POINTS // energy.energy_uj)])
            for edge in (energy.low_uj, energy.high_uj)
        )
        low, high = bounds(emissions, down), bounds(emissions, up)
        return None if low is None or high is None else (low[0], high[1])


CSV_COLUMNS = (
    *("start_us", "end_us", "energy_uj", "facility_uj", "tier", "zone", "mg_per_kwh", "basis", "level", "u_grid_bp"),
    *("provider", "emissions_ng"),
)


def csv_rows(report: CarbonReport) -> list[list[object]]:
    """The lines for a CSV file behind its header; what is unknown is empty."""
    rows: list[list[object]] = [list(CSV_COLUMNS)]
    for line in report.lines:
        own = asdict(line) | (asdict(line.intensity) if line.intensity is not None else {})
        own |= {"start_us": line.start_us, "end_us": line.end_us, "zone": report.zone}
        rows.append(["" if own.get(name) is None else own[name] for name in CSV_COLUMNS])
    return rows


def _grids(lines: Sequence[TrackedLine]) -> list[str]:
    found: dict[str, None] = {}
    for line in lines:
        reading = line.intensity
        if reading is None:
            found["unknown"] = None
        else:
            width = "unknown" if reading.u_grid_bp is None else f"{reading.u_grid_bp / 100:g}%"
            found[
                f"{reading.mg_per_kwh / MG_PER_G:g} g/kWh +-{width}, {reading.origin}, {reading.basis}, "
                f"{reading.provider}"
            ] = None
    return list(found)


def _known_sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _root(widths: Sequence[int]) -> int:
    square = sum(width * width for width in widths)
    root = isqrt(square)
    return root + (root * root < square)
