"""How two measured figures differ, with a 95 % interval, and what that is evidence of: pure.

Each figure brings its own interval; that of the difference is recovered from both (MOVER: Donner and Zou 2002), which
for shares with Wilson's interval is Newcombe's method 10 (1998).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from statistics import NormalDist, fmean, stdev
from typing import Literal

Verdict = Literal["better", "worse", "no evidence"]
BLOCKS = 20
LEAST_PER_BLOCK = 5
Z_95, Z_90 = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.95)
# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
LEAST_RUNS = 3
LEAST_BEYOND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval; no interval (None): how sure it is is not known. An exact one has both ends at
    the value. ValueError where one end is missing or the value lies outside."""

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"an interval has two ends or none, got {self!r}")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"the value lies in its interval, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """B - A with its 95 % interval (None: unknown), relative to A (None: A is 0), and what it is evidence of.

    `beyond` says whether the whole interval is worse by more than the tolerance.
    """

    value: float
    low: float | None
    high: float | None
    relative: float | None
    verdict: Verdict
    beyond: bool


def difference(a: Estimate, b: Estimate, *, lower_is_better: bool, tolerance: float = 0.0) -> Difference:
    """B compared with A; `tolerance` is a share of A. Without both intervals there is no evidence either way."""
    value = b.value - a.value
    low, high = _interval(a, b)
    verdict: Verdict = "no evidence"
    beyond = False
    if low is not None and high is not None:
        # Seen as costs: the least and the most by which B is worse.
        least, most = (low, high) if lower_is_better else (-high, -low)
        verdict = "worse" if least > 0 else "better" if most < 0 else "no evidence"
        beyond = verdict == "worse" and least > tolerance * abs(a.value)
    relative = value / abs(a.value) if a.value else None
    return Difference(value=value, low=low, high=high, relative=relative, verdict=verdict, beyond=beyond)


def exact(value: float) -> Estimate:
    """A figure that is counted, not measured: a size in bytes."""
    return Estimate(value=value, low=value, high=value)


def share(hits: int, of: int) -> Estimate:
    """A share with Wilson's score interval; ValueError unless 0 <= hits <= of and of > 0."""
    if not 0 <= hits <= of or not of:
        raise ValueError(f"a share needs 0 <= hits <= of and of > 0, got {hits} of {of}")
    at, square = hits / of, Z_95**2
    middle = (at + square / (2 * of)) / (1 + square / of)
    half = Z_95 / (1 + square / of) * sqrt(at * (1 - at) / of + square / (4 * of**2))
    return Estimate(value=at, low=min(at, max(0.0, middle - half)), high=max(at, min(1.0, middle + half)))


def of_means(values: Sequence[float]) -> Estimate:
    """The mean of measurements in order of time, by the means of 20 blocks of neighbours, so that neighbours may depend
    on each other. Under 100 values it has no interval. ValueError for none."""
    if not values:
        raise ValueError("the mean of nothing is not known")
    whole = fmean(values)
    if len(values) < BLOCKS * LEAST_PER_BLOCK:
        return Estimate(value=whole)
    half = T_95[BLOCKS - 2] * stdev([fmean(block) for block in _blocks(values)]) / sqrt(BLOCKS)
    return Estimate(value=whole, low=whole - half, high=whole + half)


def of_quantile(values: Sequence[float], at: float) -> Estimate:
    """The quantile `at` (0..1, nearest rank) of measurements in order of time, with Woodruff's interval (1952).

    How far the share below the quantile may be off comes from 20 blocks of neighbours, and is at least that of
    independent values; its two ends are read off the sorted values. So nothing is assumed of the distribution, and a
    gap in it makes a wide interval. Fewer than 100 values, or 10 on either side: no interval. ValueError for none.
    """
    if not values or not 0 < at < 1:
        raise ValueError(f"a quantile needs values and a share between 0 and 1, got {len(values)} and {at}")
    ordered, count = sorted(values), len(values)
    whole = ordered[_rank(at, count)]
    if count < BLOCKS * LEAST_PER_BLOCK or count * min(at, 1 - at) < LEAST_BEYOND:
        return Estimate(value=whole)
    below = [sum(one <= whole for one in block) / len(block) for block in _blocks(values)]
    error = max(stdev(below) / sqrt(BLOCKS), sqrt(at * (1 - at) / count))
    half = T_95[BLOCKS - 2] * error
    low, high = _rank(max(0.0, at - half), count), _rank(min(1.0, at + half), count)
    return Estimate(value=whole, low=ordered[low], high=ordered[high])


def of_runs(values: Sequence[float]) -> Estimate:
    """The mean of repeated runs with Student's interval; under three runs it has none. ValueError for none."""
    if not values:
        raise ValueError("the mean of nothing is not known")
    mean, count = fmean(values), len(values)
    if count < LEAST_RUNS:
        return Estimate(value=mean)
    quantile = T_95[count - 2] if count - 2 < len(T_95) else Z_95 + (T_95[-1] - Z_95) * len(T_95) / (count - 1)
    half = quantile * stdev(values) / sqrt(count)
    return Estimate(value=mean, low=mean - half, high=mean + half)


def widened(value: float, low_90: float | None, high_90: float | None) -> Estimate:
    """A figure with a 90 % interval, as meters and statements have it, at 95 %: both sides longer as a normal's."""
    if low_90 is None or high_90 is None:
        return Estimate(value=value)
    longer = Z_95 / Z_90
    return Estimate(value=value, low=value - (value - low_90) * longer, high=value + (high_90 - value) * longer)


def _blocks(values: Sequence[float]) -> list[Sequence[float]]:
    edges = [len(values) * place // BLOCKS for place in range(BLOCKS + 1)]
    return [values[start:end] for start, end in pairwise(edges)]


def _rank(at: float, count: int) -> int:
    """The place of the smallest value that at least that share of the values does not exceed."""
    return min(count, max(1, ceil(at * count))) - 1


def _interval(a: Estimate, b: Estimate) -> tuple[float | None, float | None]:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return None, None
    value = b.value - a.value
    down = sqrt((b.value - b.low) ** 2 + (a.high - a.value) ** 2)
    up = sqrt((b.high - b.value) ** 2 + (a.value - a.low) ** 2)
    return value - down, value + up
