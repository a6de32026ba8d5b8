"""The fallback chain's levels: what a reading is worth, by where its value comes from."""

from dataclasses import replace
from types import MappingProxyType

from greenserve.records import IntensityReading, Origin

LIVE, LAST_GOOD, FORECAST, LAST_WEEK, ANNUAL, UNKNOWN = range(6)
WORDS = ("live", "last good", "forecast", "same hour last week", "annual", "unknown")
LAST_GOOD_SLOTS = 2
"""How many slots old a value may be to stand in as the last good one."""
HALF_WIDTH_BP = MappingProxyType({LIVE: 500, LAST_GOOD: 1_000, FORECAST: 1_500, LAST_WEEK: 3_000, ANNUAL: 4_000})
"""Half width of the 90 % interval [1/100 %] by level, until a zone's own back-test replaces it."""
ESTIMATED_BP = 1_000
LEVEL_OF = MappingProxyType[Origin, int](
    {"observed": LIVE, "estimated": LIVE, "forecast": FORECAST, "recorded": LAST_WEEK, "annual": ANNUAL}
)
"""A recorded series is no live source, however well it fits: it stands in like last week's values."""


def graded(reading: IntensityReading, level: int | None = None) -> IntensityReading:
    """The reading with its level (default: its origin's) and half width."""
    found = LEVEL_OF[reading.origin] if level is None else level
    width_bp = ESTIMATED_BP if (found, reading.origin) == (LIVE, "estimated") else HALF_WIDTH_BP[found]
    seen_us = reading.start_us if found == LIVE and reading.observed_us is None else reading.observed_us
    return replace(reading, level=found, u_grid_bp=width_bp, observed_us=seen_us)


def stands_in(reading: IntensityReading | None) -> bool:
    """Whether another slot's value, a year's, or none stands where nobody told of this slot."""
    if reading is None:
        return True
    return reading.origin == "annual" or (reading.level in {LAST_GOOD, LAST_WEEK} and reading.origin != "recorded")


def moved(reading: IntensityReading, by_us: int, level: int) -> IntensityReading:
    """The value of another slot standing in `by_us` [us] later: an estimate there, and it says when it was seen."""
    return graded(
        replace(
            reading,
            start_us=reading.start_us + by_us,
            end_us=reading.end_us + by_us,
            origin="estimated",
            observed_us=reading.start_us if reading.observed_us is None else reading.observed_us,
        ),
        level,
    )
