"""Costs of a batch as a formula of its size and length, from measured windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MEAN_ERROR = 0.10
WORST_ERROR = 0.25
LEAST_BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval95:
    """An estimate with its 95 % interval; `low` and `high` are None from a single observation."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Runs of one cell in a row: the time of each [s] and the CPU time of all [s]."""

    run_s: tuple[float, ...]
    cpu_s: float

    @property
    def disturbed(self) -> bool:
        """Whether something else held the CPU for over a tenth of the time: one thread without waits is busy."""
        return self.cpu_s < LEAST_BUSY_SHARE * sum(self.run_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The windows of one (batch, tokens) cell of a variant; `noisy` where a disturbed one had to be kept."""

    batch: int
    length: int
    windows: tuple[Window, ...]
    noisy: bool

    @property
    def run_s(self) -> tuple[float, ...]:
        """The time of every run [s]."""
        return tuple(seconds for window in self.windows for seconds in window.run_s)

    @property
    def p50_s(self) -> float:
        """Median time of a run [s]."""
        return float(np.median(self.run_s))

    def p95_s(self, *, least_runs: int) -> float | None:
        """95th percentile of the time of a run [s]; None below `least_runs` runs."""
        return float(np.quantile(self.run_s, 0.95)) if len(self.run_s) >= least_runs else None

    def energy_j(self, dynamic_w_per_cpu: float) -> Interval95:
        """Dynamic energy of a run [J] over the windows."""
        return interval([dynamic_w_per_cpu * window.cpu_s / len(window.run_s) for window in self.windows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Non-negative coefficients over [1, b, bL, bLL]: `t_s` [s], `e_j` [J]; how well they fit."""

    t_s: tuple[float, ...]
    e_j: tuple[float, ...]
    q99: float
    mape_t: float
    mape_e: float
    worst: float
    poor: bool


def features(batch: float, length: float) -> tuple[float, float, float, float]:
    """What a batch costs by: itself, its rows, its tokens, its pairs of tokens."""
    return 1.0, batch, batch * length, batch * length * length


def nonnegative_fit(rows: Sequence[Sequence[float]], values: Sequence[float]) -> Floats:
    """Coefficients >= 0 of `rows` with least relative squared error to `values`; ValueError unless all are > 0."""
    from scipy.optimize import nnls

    if min(values) <= 0:
        raise ValueError(f"costs must be positive, got {min(values)}: a span without CPU time was not measured")
    weights = 1.0 / np.asarray(values, dtype=np.float64)
    scaled = np.asarray(rows, dtype=np.float64) * weights[:, None]
    # Columns differ by five powers of ten; the solver's tolerance does not know that.
    norms = np.maximum(np.linalg.norm(scaled, axis=0), 1e-300)
    solution: Floats = nnls(scaled / norms, np.ones(len(values)))[0] / norms
    return solution


def fit_cost(cells: Sequence[Cell], *, dynamic_w_per_cpu: float) -> Cost:
    """Time and dynamic energy of a batch from its cells; `poor` where leaving a cell out predicts it badly."""
    rows = [features(cell.batch, cell.length) for cell in cells]
    seconds = [cell.p50_s for cell in cells]
    joules = [cell.energy_j(dynamic_w_per_cpu).value for cell in cells]
    theta = nonnegative_fit(rows, seconds)
    ratios = [time / float(theta @ row) for cell, row in zip(cells, rows, strict=True) for time in cell.run_s]
    errors_t, errors_e = left_out_errors(rows, seconds), left_out_errors(rows, joules)
    worst = max(*errors_t, *errors_e)
    mape_t, mape_e = float(np.mean(errors_t)), float(np.mean(errors_e))
    return Cost(
        t_s=tuple(map(float, theta)),
        e_j=tuple(map(float, nonnegative_fit(rows, joules))),
        q99=float(np.quantile(ratios, 0.99)),
        mape_t=mape_t,
        mape_e=mape_e,
        worst=worst,
        poor=max(mape_t, mape_e) > MEAN_ERROR or worst > WORST_ERROR,
    )


def left_out_errors(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Relative error of each value when predicted from the others."""
    errors = []
    for index, (row, value) in enumerate(zip(rows, values, strict=True)):
        others = [other for place, other in enumerate(rows) if place != index]
        known = [other for place, other in enumerate(values) if place != index]
        errors.append(abs(float(nonnegative_fit(others, known) @ np.asarray(row)) - value) / value)
    return errors


def interval(observed: Sequence[float]) -> Interval95:
    """Mean and Student's 95 % interval of independent observations."""
    from scipy.special import stdtrit

    values = np.asarray(observed, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval95(value=mean, low=None, high=None)
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval95(value=mean, low=mean - half, high=mean + half)
