"""Fit the CPU-time model to a machine's own power (method: E1): pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

LEAST_HALF_WIDTH_PCT = 15
ALPHAS = tuple(step / 20 for step in range(4, 41))
LEAST_LEVELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A stretch of steady load: busy share of all logical CPUs (0..1) and mean power [W]."""

    busy: float
    power_w: float

    def __post_init__(self) -> None:
        if not 0 <= self.busy <= 1 or self.power_w < 0:
            raise ValueError(f"a level has a busy share in 0..1 and a power >= 0 W, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """E1's parameters [W], the mean absolute error on held-out levels [%], the half width to state [%]."""

    idle_w: float
    max_w: float
    alpha: float
    held_out_pct: float
    half_width_pct: int

    def power_w(self, busy: float) -> float:
        """E1: power [W] at a busy share of all logical CPUs."""
        return self.idle_w + (self.max_w - self.idle_w) * math.pow(busy, self.alpha)


def fit(levels: Sequence[Level], *, held_out: Sequence[Level]) -> Fit:
    """Least squares for idle and full power over a grid of alpha in 0.2..2, then the error on `held_out`.

    The half width is 15 %, or the held-out error where that is larger. ValueError with fewer than three different
    levels of load, or where power does not rise with load: then the meter does not see this machine.
    """
    if len({round(level.busy, 2) for level in levels}) < LEAST_LEVELS or not held_out:
        raise ValueError(f"needs three different levels of load and held-out ones, got {len(levels)}, {len(held_out)}")
    best: tuple[float, float, float, float] | None = None
    for alpha in ALPHAS:
        idle_w, slope_w = _line([(level.busy**alpha, level.power_w) for level in levels])
        if idle_w < 0 or slope_w <= 0:
            continue
        error = sum((level.power_w - idle_w - slope_w * level.busy**alpha) ** 2 for level in levels)
        # Nearly equal errors go to the alpha that is nearest to 1: noise must not bend the curve.
        if best is None or (round(error, 6), abs(alpha - 1)) < (round(best[0], 6), abs(best[3] - 1)):
            best = (error, idle_w, slope_w, alpha)
    if best is None:
        raise ValueError("the measured power does not rise with the load; is another meter or machine read?")
    _, idle_w, slope_w, alpha = best
    errors = [abs(idle_w + slope_w * level.busy**alpha - level.power_w) / level.power_w for level in held_out]
    held_out_pct = 100 * mean(errors)
    return Fit(
        idle_w=idle_w,
        max_w=idle_w + slope_w,
        alpha=alpha,
        held_out_pct=held_out_pct,
        half_width_pct=max(LEAST_HALF_WIDTH_PCT, math.ceil(held_out_pct)),
    )


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope of the least-squares line; a slope of 0 where all x are equal."""
    centre_x, centre_y = mean(x for x, _ in points), mean(y for _, y in points)
    spread = sum((x - centre_x) ** 2 for x, _ in points)
    slope = sum((x - centre_x) * (y - centre_y) for x, y in points) / spread if spread else 0.0
    return centre_y - slope * centre_x, slope
