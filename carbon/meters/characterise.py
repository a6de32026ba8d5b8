"""What the samples of a probe say about a board's energy counter: pure analysis (method: accounting, section 2.1).

A counter is published every so often; its sensor may look at a part of each period only, and some time late. A square
wave of load that does not repeat with the period shows each phase of it; the lag and the observed part with which the
overlap of E4 explains the counted energy best are the sensor's.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

MW_NS_PER_MJ = 1_000_000_000
MILLI = 1_000
LAGS = 21
SHARES_MILLI = (50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600, 650, 700, 750, 800, 850, 900, 950, 1000)
WHOLE_WITHIN = 0.01
"""A sensor that sees all explains the data within 0.01 of the best R2: then it is taken to see all."""
GOOD_R2 = 0.95
LEAST_POINTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One sample of the counter [mJ] and the power [mW] at a monotonic time [ns]; None where a field failed."""

    at_ns: int
    counter_mj: int | None
    power_mw: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """How a value comes out: its median period, the 5th to 95th percentile of it [ns], the gcd of its steps.

    The quantum has the value's own unit (mJ for the counter, mW for power).
    """

    period_ns: int
    jitter_ns: int
    quantum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The sensor: lag [ns], observed share [1/1000], power while on above rest [mW], how well it fits (R2).

    `duty_unknown`: nothing fits well enough to trust shares of short work.
    """

    lag_ns: int
    share_milli: int
    step_mw: int
    r2: float
    duty_unknown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Characterisation:
    """What a probe found out about a board (`uuid`) with a driver: it holds for this pair alone.

    Times [ns], powers [mW]; `idle_mw` is the static power with a model loaded, `counter_per_power_milli` the counter
    over integrated power under steady load [1/1000], `call_ns` the median length of a call, `slowdown_milli` the
    time of a fixed job with the sampler over that without [1/1000]; None where it was not measured.
    """

    uuid: str
    driver: str
    board: str
    at_us: int
    period_ns: int
    jitter_ns: int
    quantum_mj: int
    power_period_ns: int | None
    idle_mw: int
    lag_ns: int
    share_milli: int
    r2_milli: int
    duty_unknown: bool
    counter_per_power_milli: int | None
    call_ns: int
    slowdown_milli: int | None

    def __post_init__(self) -> None:
        if min(self.period_ns, self.call_ns) <= 0 or min(self.idle_mw, self.lag_ns, self.jitter_ns) < 0:
            raise ValueError(f"a characterisation has positive times and powers >= 0, got {self!r}")
        if not 0 < self.share_milli <= MILLI:
            raise ValueError(f"the observed share lies in (0, 1000] thousandths, got {self.share_milli}")


def changes(series: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (time, value) pairs at which the value moved; the first pair is none, since it moved at an unknown time."""
    return [after for before, after in pairwise(series) if after[1] != before[1]]


def publication(series: Sequence[tuple[int, int]]) -> Publication | None:
    """Period, jitter and quantum of a sampled value (time [ns], value); None where it moved too rarely to say."""
    moved = changes(series)
    if len(moved) < LEAST_POINTS:
        return None
    periods = sorted(after[0] - before[0] for before, after in pairwise(moved))
    steps = [abs(after[1] - before[1]) for before, after in pairwise(moved)]
    last = len(periods) - 1
    return Publication(
        period_ns=round(median(periods)),
        jitter_ns=periods[round(0.95 * last)] - periods[round(0.05 * last)],
        quantum=math.gcd(*steps),
    )


def mean_power_mw(series: Sequence[tuple[int, int]]) -> int | None:
    """Mean power [mW] of a counter (time [ns], [mJ]) between its first and last change; None without two changes."""
    moved = changes(series)
    if len(moved) < 2:
        return None
    (start_ns, start_mj), (end_ns, end_mj) = moved[0], moved[-1]
    return round((end_mj - start_mj) * MW_NS_PER_MJ / (end_ns - start_ns))


def counter_per_power_milli(points: Sequence[Point]) -> int | None:
    """Counted energy over integrated power [1/1000] between the counter's changes; None where either is missing."""
    whole = [(one.at_ns, one.counter_mj, one.power_mw) for one in points]
    known = [(at, mj, mw) for at, mj, mw in whole if mj is not None and mw is not None]
    moved = changes([(at, mj) for at, mj, _ in known])
    if len(moved) < 2:
        return None
    start_ns, end_ns = moved[0][0], moved[-1][0]
    inside = [(at, mw) for at, _, mw in known if start_ns <= at <= end_ns]
    integral = sum(mw * (after - at) for (at, mw), (after, _) in pairwise(inside))
    return round(MILLI * (moved[-1][1] - moved[0][1]) * MW_NS_PER_MJ / integral) if integral else None


class _OnTime:
    """How long the load was on up to any time, from its stretches [start, end) in order."""

    def __init__(self, stretches: Sequence[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in stretches]
        self._ends = [end for _, end in stretches]
        self._before = [0, *accumulate(end - start for start, end in stretches)]

    def up_to(self, at_ns: int) -> int:
        index = bisect_right(self._starts, at_ns)
        if not index:
            return 0
        return self._before[index - 1] + min(at_ns, self._ends[index - 1]) - self._starts[index - 1]


def find_window(
    counter: Sequence[tuple[int, int]], stretches: Sequence[tuple[int, int]], *, period_ns: int, idle_mw: int
) -> Window | None:
    """Lag and observed share of the sensor from a square wave of load; None with too few points.

    `counter` are samples (time [ns], [mJ]), `stretches` the times [start, end) in which the load was on. For each lag
    in [0, period] and share w in [0.05, 1]: a point published at u shows the load in [u - lag - w dt, u - lag), scaled
    by 1 / w; the step power follows by least squares, and the pair with the largest R2 wins, w = 1 where it is as good.
    """
    moved = changes(counter)
    spans = [(a, b, (after - before) * MW_NS_PER_MJ) for (a, before), (b, after) in pairwise(moved)]
    if len(spans) < LEAST_POINTS or not stretches or period_ns <= 0:
        return None
    # Intervals differ a little in length: the power above rest of each is what is explained.
    powers = [energy / (end - start) - idle_mw for start, end, energy in spans]
    mean = sum(powers) / len(powers)
    total = sum((power - mean) ** 2 for power in powers)
    if not total:
        return None
    on_time = _OnTime(stretches)
    fits: list[tuple[float, int, int, float]] = []
    for step in range(LAGS):
        lag_ns = period_ns * step // (LAGS - 1)
        for share_milli in SHARES_MILLI:
            r2, power_mw = _fit(spans, powers, total, on_time, (lag_ns, share_milli))
            fits.append((r2, lag_ns, share_milli, power_mw))
    best = max(fits)
    whole = max(fit for fit in fits if fit[2] == MILLI)
    r2, lag_ns, share_milli, power_mw = whole if whole[0] >= best[0] - WHOLE_WITHIN else best
    return Window(
        lag_ns=lag_ns, share_milli=share_milli, step_mw=round(power_mw), r2=r2, duty_unknown=best[0] < GOOD_R2
    )


def _fit(
    spans: Sequence[tuple[int, int, int]],
    powers: Sequence[float],
    total: float,
    on_time: _OnTime,
    sensor: tuple[int, int],
) -> tuple[float, float]:
    """R2 and step power [mW] of one lag and share, least squares through the origin."""
    lag_ns, share_milli = sensor
    shown = []
    for start, end, _ in spans:
        seen_ns = max(1, (end - start) * share_milli // MILLI)
        until = end - lag_ns
        shown.append((on_time.up_to(until) - on_time.up_to(until - seen_ns)) / seen_ns)
    squares = sum(part * part for part in shown)
    if not squares:
        return -math.inf, 0.0
    step_mw = sum(part * power for part, power in zip(shown, powers, strict=True)) / squares
    residual = sum((power - step_mw * part) ** 2 for part, power in zip(shown, powers, strict=True))
    return 1 - residual / total, step_mw
