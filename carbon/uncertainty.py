"""How far a figure may be off: half widths of 90 % intervals, in hundredths of a percent (method: E12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from types import MappingProxyType

from greenserve.records import Tier

BASIS_POINTS = 10_000
REQUEST_BP, PROVISIONAL_REQUEST_BP, CLASS_BP = 1_000, 1_500, 300
"""One request's share of its batch (settled, provisional) and a class of requests, until residuals replace them."""
NORMAL_90_MILLI = 1_645
METER_BP: Mapping[Tier, int | None] = MappingProxyType(
    {
        "metered": 500,
        "measured": 500,
        "measured_raw": 1_000,
        "modelled": 3_500,
        "class_average": 6_000,
        "simulated": None,
    }
)
"""A device's energy by tier until the machine has its own figure; a simulated one has none."""
RAW_CLASS_BP = 8_000
"""Between classes on a sensor whose observed part of time is unknown (worst case simulated)."""
GRID_LEVEL_BP = (500, 1_000, 1_500, 3_000, 4_000)
"""The grid by level of fallback: live observed, last good, forecast, same hour last week, annual."""
LIVE_ESTIMATED_BP = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfWidths:
    """The parts of E12 [1/100 %]. `meter`, `grid` and `pue` are common to all lines, `request` shrinks with their
    number, `of_class` with neither. None = unknown: the figure then has no interval where that part counts."""

    meter: int | None
    request: int = REQUEST_BP
    of_class: int = CLASS_BP
    grid: int | None = None
    pue: int | None = None

    def __post_init__(self) -> None:
        if any(
            part is not None and part < 0 for part in (self.meter, self.request, self.of_class, self.grid, self.pue)
        ):
            raise ValueError(f"half widths are >= 0 or unknown (None), got {self!r}")


def energy_half_width_bp(widths: HalfWidths, requests: int = 1) -> int | None:
    """E12 of the IT energy of `requests` lines [1/100 %], rounded up; None where the meter's own is unknown."""
    return None if widths.meter is None else _root(widths.meter**2 + widths.of_class**2, widths.request, requests)


def emissions_half_width_bp(widths: HalfWidths, requests: int = 1) -> int | None:
    """E12 of emissions: with grid and PUE [1/100 %], rounded up; None where one of the parts is unknown."""
    if widths.meter is None or widths.grid is None or widths.pue is None:
        return None
    common = widths.meter**2 + widths.of_class**2 + widths.grid**2 + widths.pue**2
    return _root(common, widths.request, requests)


def grid_bp(level: int, *, estimated: bool = False) -> int | None:
    """The grid's half width at a level of the fallback chain (0 live .. 4 annual) [1/100 %]; None at 5, unknown."""
    if not 0 <= level <= len(GRID_LEVEL_BP):
        raise ValueError(f"fallback levels are 0..{len(GRID_LEVEL_BP)}, got {level}")
    if level == len(GRID_LEVEL_BP):
        return None
    return max(GRID_LEVEL_BP[level], LIVE_ESTIMATED_BP if estimated else 0)


def bounds(amount: int, half_width_bp: int | None) -> tuple[int, int] | None:
    """The interval around an amount: low rounded down and never negative, high rounded up; None where unknown."""
    if amount < 0:
        raise ValueError(f"amounts are >= 0, got {amount}")
    if half_width_bp is None:
        return None
    low = amount * max(0, BASIS_POINTS - half_width_bp) // BASIS_POINTS
    return low, -(-amount * (BASIS_POINTS + half_width_bp) // BASIS_POINTS)


def _root(common: int, request: int, requests: int) -> int:
    """sqrt(common + request^2 / requests), rounded up."""
    if requests < 1:
        raise ValueError(f"an interval belongs to at least one request, got {requests}")
    square = -(-(common * requests + request**2) // requests)
    root = isqrt(square)
    return root + (root * root < square)
