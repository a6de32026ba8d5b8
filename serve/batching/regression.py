"""A batch's cost as a line in [1, b, bL, bL^2], learned while serving by recursive least squares, never negative."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

FORGETTING = 0.995
FADE = FORGETTING**-0.5
PRIOR_VARIANCE = 9.0
"""Of a coefficient relative to its prior, in units of the variance of one relative observation: 30 % against 10 %."""
MOST_SURPRISE = 3.0
"""A single batch that took longer than so many predictions is counted as that: a paused machine teaches nothing."""
LEAST = 1e-12
TYPICAL = (1.0, 8.0, 8.0 * 64, 8.0 * 64 * 64)
SMALL_PART = 0.02


class Regression:
    """Coefficients >= 0 over phi(b, L) = [1, b, bL, bL^2] [s or J], refined by relative errors.

    State: coefficients and their covariance, in units of the prior, changed by `observe`. Old batches fade by 0.995
    per batch; a coefficient of which the batches say nothing (all of one shape) is never less certain than at first.
    """

    __slots__ = ("_covariance", "_parts", "_units", "coefficients")

    def __init__(self, prior: Sequence[float]) -> None:
        if len(prior) != 4 or min(prior) < 0 or not any(prior):
            raise ValueError(f"a prior is four coefficients >= 0 over [1, b, bL, bL^2], not all 0; got {tuple(prior)}")
        typical = sum(value * feature for value, feature in zip(prior, TYPICAL, strict=True))
        self._units = [
            max(value, SMALL_PART * typical / feature) for value, feature in zip(prior, TYPICAL, strict=True)
        ]
        self._parts = [value / unit for value, unit in zip(prior, self._units, strict=True)]
        self._covariance = [[PRIOR_VARIANCE if row == column else 0.0 for column in range(4)] for row in range(4)]
        self.coefficients: tuple[float, ...] = tuple(prior)

    def __repr__(self) -> str:
        return f"<Regression {' '.join(f'{value:.3g}' for value in self.coefficients)}>"

    def __call__(self, batch: float, length: float) -> float:
        """The prediction [s or J] for `batch` rows of `length` tokens."""
        fixed, row, token, squared = self.coefficients
        return fixed + batch * (row + length * (token + length * squared))

    def observe(self, batch: int, length: int, value: float) -> float:
        """Learn from what a batch took [s or J]; returns observed / predicted, as it was predicted before."""
        predicted = max(self(batch, length), LEAST)
        ratio = value / predicted
        surprise = min(max(ratio, 1.0 / MOST_SURPRISE), MOST_SURPRISE) - 1.0
        units = self._units
        tokens = float(batch * length)
        x0, x1 = units[0] / predicted, units[1] * batch / predicted
        x2, x3 = units[2] * tokens / predicted, units[3] * tokens * length / predicted
        covariance = self._covariance
        (a, b, c, d), (_, e, f, g), (_, _, h, i), (_, _, _, j) = covariance
        p0 = a * x0 + b * x1 + c * x2 + d * x3
        p1 = b * x0 + e * x1 + f * x2 + g * x3
        p2 = c * x0 + f * x1 + h * x2 + i * x3
        p3 = d * x0 + g * x1 + i * x2 + j * x3
        innovation = FORGETTING + x0 * p0 + x1 * p1 + x2 * p2 + x3 * p3
        step = surprise / innovation
        parts = self._parts
        parts[0] += p0 * step
        parts[1] += p1 * step
        parts[2] += p2 * step
        parts[3] += p3 * step
        a, b, c, d = (
            a - p0 * p0 / innovation,
            b - p0 * p1 / innovation,
            c - p0 * p2 / innovation,
            d - p0 * p3 / innovation,
        )
        e, f, g = e - p1 * p1 / innovation, f - p1 * p2 / innovation, g - p1 * p3 / innovation
        h, i, j = h - p2 * p2 / innovation, i - p2 * p3 / innovation, j - p3 * p3 / innovation
        q0 = FADE if a < PRIOR_VARIANCE else 1.0
        q1 = FADE if e < PRIOR_VARIANCE else 1.0
        q2 = FADE if h < PRIOR_VARIANCE else 1.0
        q3 = FADE if j < PRIOR_VARIANCE else 1.0
        a, b, c, d = a * q0 * q0, b * q0 * q1, c * q0 * q2, d * q0 * q3
        e, f, g, h, i, j = e * q1 * q1, f * q1 * q2, g * q1 * q3, h * q2 * q2, i * q2 * q3, j * q3 * q3
        self._covariance = [[a, b, c, d], [b, e, f, g], [c, f, h, i], [d, g, i, j]]
        if min(parts) < 0.0:
            self._project()
        self.coefficients = (parts[0] * units[0], parts[1] * units[1], parts[2] * units[2], parts[3] * units[3])
        return ratio

    def _project(self) -> None:
        """Fix the most negative coefficient at zero and let the others take its part over, until none is negative."""
        parts, covariance = self._parts, self._covariance
        fixed: set[int] = set()
        while len(fixed) < 3 and min(parts) < 0.0:
            worst = parts.index(min(parts))
            fixed.add(worst)
            pull = parts[worst] / max(covariance[worst][worst], LEAST)
            for index in range(4):
                if index not in fixed:
                    parts[index] -= covariance[index][worst] * pull
            parts[worst] = 0.0
        for index, value in enumerate(parts):
            parts[index] = max(value, 0.0)
        if not any(parts):
            parts[0] = SMALL_PART


class RollingQuantile:
    """A quantile of the last `window` values. State: the values in order of arrival and in order of size."""

    __slots__ = ("_arrived", "_share", "_sorted", "_window")

    def __init__(self, *, share: float, window: int) -> None:
        self._share = share
        self._window = window
        self._arrived: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        """Take a value; the oldest leaves when the window is full."""
        if len(self._arrived) == self._window:
            oldest = self._arrived.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._arrived.append(value)
        insort(self._sorted, value)

    @property
    def value(self) -> float:
        """The least value that at least `share` of the window does not exceed; ValueError while it is empty."""
        if not self._sorted:
            raise ValueError("a quantile of no values")
        return self._sorted[min(len(self._sorted) - 1, int(self._share * len(self._sorted)))]
