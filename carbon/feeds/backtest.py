"""How wrong what stands in for the grid's intensity was: half widths of 90 % intervals from a recorded series. Pure.

The method is split conformal prediction: of n past errors, relative to the value that stood in, the
ceil(0.9 (n + 1))-th smallest bounds the next one in 90 % of cases as long as the times are alike. Whole
months (days, of short series) are held out in turn to see whether they are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from greenserve.carbon.feeds.levels import ANNUAL, FORECAST, LAST_GOOD, LAST_GOOD_SLOTS, LAST_WEEK
from greenserve.carbon.uncertainty import BASIS_POINTS
from greenserve.records import Basis, Scope
from greenserve.units import US_PER_S

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600 * US_PER_S
WEEK_US = 168 * HOUR_US
COVERED_NUMERATOR, COVERED_DENOMINATOR = 9, 10
LEAST_PAIRS, LEAST_FOLDS, LEAST_MONTHS = 100, 3, 6
WEEKS_OLD = (1, 4, 13, 26)
HORIZONS_H = (1, 3, 6, 12, 24, 48)
DAY_LETTERS, MONTH_LETTERS = "%Y-%m-%d", "%Y-%m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A slot's start [us UTC], what stood in for it and what it was [mg/kWh]."""

    at_us: int
    stood_in: int
    was: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GridWidth:
    """A half width [1/100 %] for readings of one zone, basis and level whose value is at most `age_us` [us] old.

    `scope` None: of any. `pairs` is how many errors it rests on; `held_out_bp` which part [1/100 %] of each fold the
    width of the other folds held, `forward_bp` the same with the folds before it alone. None: too few folds.
    """

    zone: str
    basis: Basis
    scope: Scope | None
    level: int
    age_us: int
    half_width_bp: int
    pairs: int
    held_out_bp: int | None
    forward_bp: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A zone's seen slots [mg/kWh] by their start [us UTC], `slot_us` [us] long each, and what was expected of slots:
    (start, when that was said [us UTC], mg/kWh)."""

    zone: str
    basis: Basis
    scope: Scope | None
    slot_us: int
    seen: Mapping[int, int]
    expected: Sequence[tuple[int, int, int]] = ()


def backtest(series: Series) -> list[GridWidth]:
    """The widths that a series is long enough for: last good by age, forecast by horizon, the same hour of earlier
    weeks, the mean of other months for the year's. A live value itself cannot be tested against itself."""
    found: list[GridWidth] = []
    for slots in range(1, LAST_GOOD_SLOTS + 1):
        age_us = slots * series.slot_us
        found += _width(series, LAST_GOOD, age_us, _earlier(series.seen, age_us))
    shorter_us = 0
    for hours in HORIZONS_H:
        found += _width(series, FORECAST, hours * HOUR_US, _forecasts(series, shorter_us, hours * HOUR_US))
        shorter_us = hours * HOUR_US
    for weeks in WEEKS_OLD:
        found += _width(series, LAST_WEEK, weeks * WEEK_US, _earlier(series.seen, weeks * WEEK_US))
    found += _width(series, ANNUAL, 0, _means(series.seen))
    return found


def half_width_bp(errors_bp: Sequence[int]) -> int:
    """The error [1/100 %] that bounds 90 % of further ones like these; ValueError for none."""
    if not errors_bp:
        raise ValueError("no error bounds nothing; at least one is needed")
    count = len(errors_bp)
    place = -(-COVERED_NUMERATOR * (count + 1) // COVERED_DENOMINATOR)
    return sorted(errors_bp)[min(place, count) - 1]


def error_bp(pair: Pair) -> int | None:
    """How far off what stood in was, relative to itself [1/100 %], rounded up; None where it was 0, which nothing is
    relative to."""
    if not pair.stood_in:
        return None
    return -(-abs(pair.was - pair.stood_in) * BASIS_POINTS // pair.stood_in)


def _width(series: Series, level: int, age_us: int, pairs: Iterable[Pair]) -> list[GridWidth]:
    known = [(pair.at_us, error) for pair in pairs if (error := error_bp(pair)) is not None]
    if len(known) < LEAST_PAIRS:
        return []
    folds = _folds(known)
    held_out, forward = _covered(folds)
    return [
        GridWidth(
            zone=series.zone,
            basis=series.basis,
            scope=series.scope,
            level=level,
            age_us=age_us,
            half_width_bp=half_width_bp([error for _, error in known]),
            pairs=len(known),
            held_out_bp=held_out,
            forward_bp=forward,
        )
    ]


def _folds(known: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Errors by month, or by day where there are too few months."""
    for letters in (MONTH_LETTERS, DAY_LETTERS):
        folds: defaultdict[str, list[int]] = defaultdict(list)
        for at_us, error in known:
            folds[f"{EPOCH + timedelta(microseconds=at_us):{letters}}"].append(error)
        if len(folds) >= LEAST_FOLDS:
            break
    return [folds[name] for name in sorted(folds)]


def _covered(folds: Sequence[Sequence[int]]) -> tuple[int | None, int | None]:
    if len(folds) < LEAST_FOLDS:
        return None, None
    inside = [0, 0]
    tried = [0, 0]
    for place, fold in enumerate(folds):
        before = [error for other in folds[:place] for error in other]
        after = [error for other in folds[place + 1 :] for error in other]
        for kind, known in enumerate((before + after, before if place >= LEAST_FOLDS - 1 else [])):
            if known:
                width_bp = half_width_bp(known)
                inside[kind] += sum(error <= width_bp for error in fold)
                tried[kind] += len(fold)
    shares = [part * BASIS_POINTS // whole if whole else None for part, whole in zip(inside, tried, strict=True)]
    return shares[0], shares[1]


def _earlier(seen: Mapping[int, int], age_us: int) -> Iterable[Pair]:
    return (
        Pair(at_us=at_us, stood_in=seen[at_us - age_us], was=was)
        for at_us, was in seen.items()
        if at_us - age_us in seen
    )


def _forecasts(series: Series, longer_us: int, up_to_us: int) -> Iterable[Pair]:
    return (
        Pair(at_us=at_us, stood_in=expected, was=series.seen[at_us])
        for at_us, said_us, expected in series.expected
        if at_us in series.seen and longer_us < at_us - said_us <= up_to_us
    )


def _means(seen: Mapping[int, int]) -> Iterable[Pair]:
    """Each slot beside the mean of all other months: what a table that cannot know it would have said."""
    months: defaultdict[str, list[int]] = defaultdict(list)
    names = {at_us: f"{EPOCH + timedelta(microseconds=at_us):{MONTH_LETTERS}}" for at_us in seen}
    for at_us, was in seen.items():
        months[names[at_us]].append(was)
    if len(months) < LEAST_MONTHS:
        return
    total, count = sum(seen.values()), len(seen)
    others = {name: (total - sum(part)) // (count - len(part)) for name, part in months.items()}
    for at_us, was in seen.items():
        yield Pair(at_us=at_us, stood_in=others[names[at_us]], was=was)
