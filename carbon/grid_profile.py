"""A year of a zone's grid intensity by hour of day, month and weekday: pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from fractions import Fraction
from statistics import median_low
from types import MappingProxyType

from greenserve.units import US_PER_S

HOURS, MONTHS, WEEKDAYS = 24, 12, 7
HOUR_US = 3_600 * US_PER_S
MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
PERCENTS = (5, 25, 50, 75, 95)
FULL_DAY_US = 20 * HOUR_US
"""What must be known of a day for its swing to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Average intensity [mg/kWh] over [start_us, end_us) UTC, at most an hour."""

    start_us: int
    end_us: int
    mg_per_kwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GridProfile:
    """Means over time [mg/kWh] of a zone in one local year; None where nothing is known, never 0.

    `cells` has a row for each hour of the day with a column for each month. `percentiles` and the extremes are of
    slots weighted by their time. `day_swing` [mg/kWh] is the median over days of highest minus lowest hour. `known_us`
    of `year_us` [us] is covered.
    """

    zone: str
    year: int
    cells: tuple[tuple[int | None, ...], ...]
    by_hour: tuple[int | None, ...]
    by_month: tuple[int | None, ...]
    by_weekday: tuple[int | None, ...]
    known_cells_us: tuple[tuple[int, ...], ...]
    mean: int
    percentiles: Mapping[int, int]
    lowest: int
    highest: int
    day_swing: int | None
    known_us: int
    year_us: int


def profile_of(zone: str, slots: Iterable[Slot], year: int, clock_of: tzinfo = UTC) -> GridProfile | None:
    """The profile of the year as `clock_of` counts hours, days and months; None where no slot touches that year.

    A slot that reaches over the edge of a local hour (half-hour time zones) counts in both by its time.
    """
    sums: dict[tuple[int, int], _Mean] = defaultdict(_Mean)
    weekdays = [_Mean() for _ in range(WEEKDAYS)]
    days: dict[int, dict[int, _Mean]] = defaultdict(lambda: defaultdict(_Mean))
    weights: dict[int, int] = defaultdict(int)
    for at, lasts_us, mg_per_kwh in _pieces(slots, clock_of):
        if at.year != year:
            continue
        sums[at.hour, at.month - 1].add(mg_per_kwh, lasts_us)
        weekdays[at.weekday()].add(mg_per_kwh, lasts_us)
        days[at.timetuple().tm_yday][at.hour].add(mg_per_kwh, lasts_us)
        weights[mg_per_kwh] += lasts_us
    if not weights:
        return None
    ordered = sorted(weights.items())
    whole = _joined(sums.values())
    return GridProfile(
        zone=zone,
        year=year,
        cells=tuple(tuple(sums[hour, month].value for month in range(MONTHS)) for hour in range(HOURS)),
        by_hour=tuple(_joined(sums[hour, month] for month in range(MONTHS)).value for hour in range(HOURS)),
        by_month=tuple(_joined(sums[hour, month] for hour in range(HOURS)).value for month in range(MONTHS)),
        by_weekday=tuple(one.value for one in weekdays),
        known_cells_us=tuple(tuple(sums[hour, month].lasts_us for month in range(MONTHS)) for hour in range(HOURS)),
        mean=round(Fraction(whole.product, whole.lasts_us)),
        percentiles=MappingProxyType({percent: _percentile(ordered, percent) for percent in PERCENTS}),
        lowest=ordered[0][0],
        highest=ordered[-1][0],
        day_swing=_swing(days.values()),
        known_us=whole.lasts_us,
        year_us=_start_us(year + 1, clock_of) - _start_us(year, clock_of),
    )


def years_of(slots: Iterable[Slot], clock_of: tzinfo = UTC) -> dict[int, int]:
    """How much time [us] is known of each local year, by the start of each slot; in order."""
    found: dict[int, int] = defaultdict(int)
    for slot in slots:
        found[_local(slot.start_us, clock_of).year] += slot.end_us - slot.start_us
    return dict(sorted(found.items()))


def ranked(means: Sequence[int | None]) -> list[int]:
    """Places of the known means from the lowest (best) to the highest (worst); of equal ones the earlier is first."""
    known = [(value, place) for place, value in enumerate(means) if value is not None]
    return [place for _, place in sorted(known)]


def extremes(profile: GridProfile) -> tuple[tuple[int, int], tuple[int, int]]:
    """(hour, month) of the lowest and of the highest cell."""
    known = [
        (value, hour, month)
        for hour, row in enumerate(profile.cells)
        for month, value in enumerate(row)
        if value is not None
    ]
    lowest, highest = min(known), max(known)
    return lowest[1:], highest[1:]


class _Mean:
    """A sum of intensity times time and of time. State: both, changed by `add`."""

    __slots__ = ("lasts_us", "product")

    def __init__(self) -> None:
        self.product = 0
        self.lasts_us = 0

    def add(self, mg_per_kwh: int, lasts_us: int) -> None:
        self.product += mg_per_kwh * lasts_us
        self.lasts_us += lasts_us

    @property
    def value(self) -> int | None:
        return round(Fraction(self.product, self.lasts_us)) if self.lasts_us else None


def _joined(means: Iterable[_Mean]) -> _Mean:
    whole = _Mean()
    for one in means:
        whole.product += one.product
        whole.lasts_us += one.lasts_us
    return whole


def _pieces(slots: Iterable[Slot], clock_of: tzinfo) -> Iterator[tuple[datetime, int, int]]:
    """(local start, time [us], mg/kWh) of the parts of each slot that lie within one local hour."""
    for slot in slots:
        at_us = slot.start_us
        while at_us < slot.end_us:
            at = _local(at_us, clock_of)
            rest_us = HOUR_US - (at.minute * 60 + at.second) * US_PER_S - at.microsecond
            lasts_us = min(rest_us, slot.end_us - at_us)
            yield at, lasts_us, slot.mg_per_kwh
            at_us += lasts_us


def _local(at_us: int, clock_of: tzinfo) -> datetime:
    seconds, rest_us = divmod(at_us, US_PER_S)
    return datetime.fromtimestamp(seconds, tz=clock_of).replace(microsecond=rest_us)


def _start_us(year: int, clock_of: tzinfo) -> int:
    return round(datetime(year, 1, 1, tzinfo=clock_of).timestamp()) * US_PER_S


def _percentile(ordered: Sequence[tuple[int, int]], percent: int) -> int:
    """Nearest rank by time: the smallest value below or at which the intensity lay for that part of the time."""
    whole_us = sum(lasts_us for _, lasts_us in ordered)
    so_far_us = 0
    for value, lasts_us in ordered:
        so_far_us += lasts_us
        if so_far_us * 100 >= whole_us * percent:
            return value
    raise AssertionError("the times sum to the whole")


def _swing(days: Iterable[Mapping[int, _Mean]]) -> int | None:
    swings = []
    for hours in days:
        if sum(one.lasts_us for one in hours.values()) >= FULL_DAY_US:
            means = [value for one in hours.values() if (value := one.value) is not None]
            swings.append(max(means) - min(means))
    return median_low(swings) if swings else None
