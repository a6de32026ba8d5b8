"""A batch's cost as a line in [1, b, bL, bL^2], learned while serving, never negative.

Least squares of relative errors in which old batches fade, and what fades is replaced by the prior: each batch weighs
1, those before it 0.995 of what they did, and the prior takes the rest. So what the batches of the last minutes do not
tell apart (all of one shape: what is fixed, and what grows with the rows) is as it was before anything was seen.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

FORGETTING = 0.995
FADED = 1.0 - FORGETTING
PRIOR_VARIANCE = 9.0
"""Of a coefficient relative to its prior, in units of the variance of one relative observation: 30 % against 10 %."""
COMMON = 0.9
"""This part of that variance all coefficients have together: a machine is slow as a whole before it is in one part."""
MOST_SURPRISE = 3.0
"""A single batch that took longer than so many predictions is counted as that: a paused machine teaches nothing."""
LEAST = 1e-12
TYPICAL = (1.0, 8.0, 8.0 * 64, 8.0 * 64 * 64)
SMALL_PART = 0.02
HELD = 1e9
"""How much more than by everything else a coefficient is held at zero that would be negative."""

Four = tuple[float, float, float, float]
Symmetric = Sequence[float]
"""Of a 4 x 4 matrix: its upper triangle, row by row, ten numbers."""
DIAGONAL = (0, 4, 7, 9)


class Regression:
    """Coefficients >= 0 over phi(b, L) = [1, b, bL, bL^2] [s or J], refined by relative errors.

    State: coefficients and what is known of them (the inverse of their covariance), in units of the prior, changed by
    `observe`.
    """

    __slots__ = ("_information", "_parts", "_prior", "_prior_information", "_units", "coefficients")

    def __init__(self, prior: Sequence[float]) -> None:
        if len(prior) != 4 or min(prior) < 0 or not any(prior):
            raise ValueError(f"a prior is four coefficients >= 0 over [1, b, bL, bL^2], not all 0; got {tuple(prior)}")
        typical = sum(value * feature for value, feature in zip(prior, TYPICAL, strict=True))
        self._units = [
            max(value, SMALL_PART * typical / feature) for value, feature in zip(prior, TYPICAL, strict=True)
        ]
        self._prior = [value / unit for value, unit in zip(prior, self._units, strict=True)]
        self._parts = list(self._prior)
        self._prior_information = _information_of(self._prior)
        self._information = self._prior_information
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
        units, parts = self._units, self._parts
        tokens = float(batch * length)
        x0, x1 = units[0] / predicted, units[1] * batch / predicted
        x2, x3 = units[2] * tokens / predicted, units[3] * tokens * length / predicted
        seen = (x0 * x0, x0 * x1, x0 * x2, x0 * x3, x1 * x1, x1 * x2, x1 * x3, x2 * x2, x2 * x3, x3 * x3)
        a, b, c, d, e, f, g, h, i, j = prior = self._prior_information
        self._information = information = [
            FORGETTING * old + FADED * given + new
            for old, given, new in zip(self._information, prior, seen, strict=True)
        ]
        d0, d1, d2, d3 = [FADED * (before - now) for before, now in zip(self._prior, parts, strict=True)]
        pull = (
            x0 * surprise + a * d0 + b * d1 + c * d2 + d * d3,
            x1 * surprise + b * d0 + e * d1 + f * d2 + g * d3,
            x2 * surprise + c * d0 + f * d1 + h * d2 + i * d3,
            x3 * surprise + d * d0 + g * d1 + i * d2 + j * d3,
        )
        self._parts = moved = _moved(parts, information, pull)
        self.coefficients = (moved[0] * units[0], moved[1] * units[1], moved[2] * units[2], moved[3] * units[3])
        return ratio


def _information_of(prior: Sequence[float]) -> Symmetric:
    """The inverse of v (COMMON p p' + (1 - COMMON) I), for the parts p and the variance v of a prior (Woodbury)."""
    own = 1.0 - COMMON
    shrink = COMMON / (own + COMMON * sum(part * part for part in prior))
    return [
        ((row == column) - shrink * prior[row] * prior[column]) / (own * PRIOR_VARIANCE)
        for row in range(4)
        for column in range(row, 4)
    ]


def _moved(parts: Sequence[float], information: Symmetric, pull: Four) -> list[float]:
    """Parts one step on; the most negative one is held at zero and the others take its part over, until none is."""
    moved = [part + step for part, step in zip(parts, _solved(information, pull), strict=True)]
    held: set[int] = set()
    while min(moved) < 0.0 and len(held) < 3:
        held.add(moved.index(min(moved)))
        stiff, pulled = list(information), list(pull)
        for index in held:
            place = DIAGONAL[index]
            weight = HELD * information[place]
            stiff[place] += weight
            pulled[index] -= weight * parts[index]
        steps = _solved(stiff, pulled)
        moved = [0.0 if index in held else part + steps[index] for index, part in enumerate(parts)]
    moved = [max(part, 0.0) for part in moved]
    return moved if any(moved) else [SMALL_PART, 0.0, 0.0, 0.0]


def _solved(matrix: Sequence[float], right: Sequence[float]) -> Four:
    """The solution of a positive definite system, by its factors L D L'; written out, since it is done per batch."""
    a, b, c, d, e, f, g, h, i, j = matrix
    r0, r1, r2, r3 = right
    b0, c0, d0 = b / a, c / a, d / a
    e -= b * b0
    f -= b * c0
    g -= b * d0
    f1, g1 = f / e, g / e
    h -= c * c0 + f * f1
    i -= c * d0 + f * g1
    i2 = i / h
    j -= d * d0 + g * g1 + i * i2
    r1 -= b0 * r0
    r2 -= c0 * r0 + f1 * r1
    r3 -= d0 * r0 + g1 * r1 + i2 * r2
    s3 = r3 / j
    s2 = r2 / h - i2 * s3
    s1 = r1 / e - f1 * s2 - g1 * s3
    return r0 / a - b0 * s1 - c0 * s2 - d0 * s3, s1, s2, s3


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
