"""What an amount of CO2e is as much as, for people: a factor, its source and its range; never part of a total. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from greenserve.units import MG_PER_G, NG_PER_G

BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalentFactor:
    """One `unit` is worth `factor` [g CO2e, or kWh where `per` is kWh], between `low` and `high`, each with its
    source; `counts` says what is in it. The range spans published values: it is no confidence interval."""

    name: str
    unit: str
    per: Literal["g", "kWh"]
    low: Decimal
    factor: Decimal
    high: Decimal
    counts: str
    source: str
    low_source: str
    high_source: str

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.factor <= self.high:
            raise ValueError(f"{self.name}: 0 < low <= factor <= high is needed, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridValue:
    """The intensity [mg/kWh] by which kWh are priced, its half width [1/100 %] (None: unknown), and who says so."""

    mg_per_kwh: int
    half_width_bp: int | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """`count` units of `grams` [g CO2e] each, between `low` and `high` (None: unknown); no count where something is
    `missing`, which says what is needed for it."""

    factor: EquivalentFactor
    count: Decimal | None
    low: Decimal | None
    high: Decimal | None
    grams: Decimal | None
    missing: str | None = None


def equivalents_of(
    emissions_ng: int, factors: Sequence[EquivalentFactor], grid: GridValue | None = None
) -> list[Equivalent]:
    """The amount [ng CO2e] in the units of each factor; those that need a grid intensity are unknown without one.

    The most of a unit comes of the smallest factor, so `high` is by `factor.low`. An intensity widens the range by its
    half width; ValueError for a negative amount.
    """
    if emissions_ng < 0:
        raise ValueError(f"emissions are >= 0, got {emissions_ng} ng")
    grams = Decimal(emissions_ng) / NG_PER_G
    return [_equivalent(grams, factor, grid) for factor in factors]


def _equivalent(grams: Decimal, factor: EquivalentFactor, grid: GridValue | None) -> Equivalent:
    if factor.per == "g":
        low_g, value_g, high_g = factor.low, factor.factor, factor.high
    elif grid is None or not grid.mg_per_kwh:
        missing = "needs a grid intensity over 0: give --intensity or --zone"
        return Equivalent(factor=factor, count=None, low=None, high=None, grams=None, missing=missing)
    else:
        per_kwh = Decimal(grid.mg_per_kwh) / MG_PER_G
        value_g = factor.factor * per_kwh
        if grid.half_width_bp is None:
            return Equivalent(factor=factor, count=grams / value_g, low=None, high=None, grams=value_g)
        width = Decimal(min(grid.half_width_bp, BASIS_POINTS)) / BASIS_POINTS
        low_g, high_g = factor.low * per_kwh * (1 - width), factor.high * per_kwh * (1 + width)
    return Equivalent(
        factor=factor,
        count=grams / value_g,
        low=grams / high_g,
        # A half width of 100 % or more leaves no upper end.
        high=grams / low_g if low_g else None,
        grams=value_g,
    )
