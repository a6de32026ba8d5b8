"""Power of a node from the CPU time it spends, and the static part of what a meter saw (method: E1, E2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenserve.records import TIERS, Tier
from greenserve.units import MILLI

MW_NS_PER_UJ = 1_000_000
"""1 mW for 1 ns is a picojoule; so many of them make a microjoule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPower:
    """E1 with alpha = 1: `P = idle + dynamic x busy CPUs`.

    `idle_mw` [mW] is the static power of the whole node, memory included; `dynamic_mw_per_cpu` [mW] is what one busy
    logical CPU adds. `half_width_pct` [%] is the half width of the 90 % interval, `source` says where the parameters
    come from. Linear in the busy time, energy follows from the counters since boot alone, so a restart of the meter
    loses nothing; another alpha needs the course of the load and comes with calibration.
    """

    idle_mw: int
    dynamic_mw_per_cpu: int
    tier: Tier
    half_width_pct: int
    source: str

    def __post_init__(self) -> None:
        if min(self.idle_mw, self.dynamic_mw_per_cpu, self.half_width_pct) < 0 or self.tier not in TIERS:
            raise ValueError(f"powers and the half width are >= 0 and the tier is one of {TIERS}, got {self!r}")

    def active_uj(self, cpu_ns: int) -> int:
        """Dynamic energy [uJ] of `cpu_ns` [ns] of CPU time, rounded down."""
        return self.dynamic_mw_per_cpu * cpu_ns // MW_NS_PER_UJ

    def static_uj(self, duration_ns: int) -> int:
        """Static energy [uJ] of the whole node over `duration_ns` [ns], rounded down."""
        return self.idle_mw * duration_ns // MW_NS_PER_UJ

    def held_uj(self, duration_ns: int, share_milli: int) -> int:
        """Static energy [uJ] of `share_milli` [1/1000] of the node over `duration_ns` [ns], rounded down."""
        return self.idle_mw * duration_ns * share_milli // (MW_NS_PER_UJ * MILLI)

    def bounds(self, energy_uj: int) -> tuple[int, int]:
        """The 90 % interval [uJ] around `energy_uj`: low rounded down and never negative, high rounded up."""
        low = energy_uj * max(0, 100 - self.half_width_pct) // 100
        high = -(-energy_uj * (100 + self.half_width_pct) // 100)
        return low, high


LEAST_POINTS = 3
ALPHAS = tuple(step / 50 for step in range(10, 101))
"""Exponents tried by the fit of E1: 0.20 to 2.00."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPower:
    """E1 with an exponent: `P(u) = idle + (max - idle) x u^alpha`, u = busy part of the logical CPUs, 0..1.

    `idle_mw`, `max_mw` [mW]: the node at rest and with all CPUs busy. `error_pct` [%] is the largest error over the
    loads that each were left out of the fit, None where there were too few to leave one out. Its energy depends on
    the course of the load, so it is summed over short steps (a second).
    """

    idle_mw: int
    max_mw: int
    alpha: float
    error_pct: float | None

    def __post_init__(self) -> None:
        if not 0 <= self.idle_mw <= self.max_mw or not 0.0 < self.alpha <= ALPHAS[-1]:
            raise ValueError(f"needs 0 <= idle <= max and an exponent within 0 < alpha <= 2, got {self!r}")

    def power_mw(self, busy: float) -> float:
        """Power [mW] at a busy part of 0..1; more than 1 (clocks out of step) counts as 1."""
        bent: float = min(1.0, max(0.0, busy)) ** self.alpha
        return self.idle_mw + (self.max_mw - self.idle_mw) * bent

    def energy_uj(self, busy_ns: int, cpus: int, duration_ns: int) -> tuple[int, int]:
        """(energy, its static part) [uJ] of a step, rounded down: `busy_ns` of CPU time on `cpus` logical CPUs."""
        if busy_ns < 0 or min(cpus, duration_ns) < 1:
            raise ValueError(f"needs CPU time >= 0, CPUs and a duration >= 1, got {busy_ns}, {cpus}, {duration_ns}")
        static_uj = self.idle_mw * duration_ns // MW_NS_PER_UJ
        power_mw = math.floor(self.power_mw(busy_ns / (cpus * duration_ns)))
        return max(static_uj, power_mw * duration_ns // MW_NS_PER_UJ), static_uj


def fit_load_power(points: Sequence[tuple[float, float]]) -> LoadPower:
    """E1 from measured (busy part 0..1, power [W]) at three or more different loads: least squares over all exponents.

    The reported error is honest: each load is predicted by a fit that has not seen it. ValueError says what is missing.
    """
    loads = {busy for busy, _ in points}
    if len(loads) < LEAST_POINTS or min(loads) < 0.0 or max(loads) > 1.0 or min(power for _, power in points) < 0.0:
        raise ValueError(
            f"needs power >= 0 W at {LEAST_POINTS} or more loads within 0..1, got {tuple(points)}; "
            "run `greenserve meters calibrate` on an idle machine"
        )
    idle_w, max_w, alpha = _fit(points)
    error_pct = None
    if len(loads) > LEAST_POINTS:
        errors = []
        for left_out in loads:
            low_w, high_w, power_of = _fit([point for point in points if point[0] != left_out])
            expected = low_w + (high_w - low_w) * left_out**power_of
            errors += [abs(expected - power) / power for busy, power in points if busy == left_out and power]
        error_pct = 100.0 * max(errors)
    return LoadPower(idle_mw=round(idle_w * MILLI), max_mw=round(max_w * MILLI), alpha=alpha, error_pct=error_pct)


def static_part_uj(energy_uj: int, idle_mw: int, duration_ns: int) -> int:
    """E2: the static part [uJ] of an interval's energy: idle power [mW] x time [ns], at most all of it."""
    if energy_uj < 0 or idle_mw < 0 or duration_ns < 1:
        raise ValueError(f"needs energy and power >= 0 and a time > 0, got {energy_uj}, {idle_mw}, {duration_ns}")
    return min(energy_uj, idle_mw * duration_ns // MW_NS_PER_UJ)


def _fit(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """(idle [W], max [W], alpha): for each exponent a straight line in u^alpha with 0 <= idle <= max; the best one."""
    fits = []
    for alpha in ALPHAS:
        bent = [(busy**alpha, power) for busy, power in points]
        mean_x = sum(x for x, _ in bent) / len(bent)
        mean_y = sum(y for _, y in bent) / len(bent)
        spread = sum((x - mean_x) ** 2 for x, _ in bent)
        slope = max(0.0, sum((x - mean_x) * (y - mean_y) for x, y in bent) / spread) if spread else 0.0
        idle = mean_y - slope * mean_x
        if idle < 0.0:
            idle, slope = 0.0, sum(x * y for x, y in bent) / sum(x * x for x, _ in bent)
        error = sum((idle + slope * x - y) ** 2 for x, y in bent)
        fits.append((error, abs(alpha - 1.0), idle, idle + slope, alpha))
    _, _, idle, most, alpha = min(fits)
    return idle, most, alpha
