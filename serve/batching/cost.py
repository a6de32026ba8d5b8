"""What a batch of one variant will take: seconds t(b, L), joules e(b, L), and how large a batch is worth its while.

Both start from the manifest's profile of this host and are refined by every span. Where nothing is known yet, nothing
is predicted: `CostModel.at` is None until the first span.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from greenserve.serve.batching.regression import Regression, RollingQuantile
from greenserve.units import NS_PER_S

HANDOVER_S = 0.0002
"""From the decision to the engine's first instruction, and back: threads and the interpreter."""
LEAST_Q = 1.02
UNMEASURED_Q = 3.0
BEYOND = 1.25
WINDOW = 512
QUANTILE = 0.99
ENOUGH = 100
"""Batches before a 0.99-quantile of them says something."""
WORTH = 0.05
"""A larger batch is worth it while it saves more than this share of the energy per request."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Costs of batches of one length: t(b) = `fixed_s` + b `row_s` [s], `high_s` its upper bound [s].

    `q` is the upper bound's factor, `beyond` the factor for more than `explored` rows. `launch_j`, `row_j` [J] are None
    while no energy is known; `worth` is the largest batch that saves enough (None: not known, so no limit);
    `one_high_s` and `one_high_ns` are t+ of a single row.
    """

    length: int
    fixed_s: float
    row_s: float
    q: float
    explored: int
    launch_j: float | None
    row_j: float | None
    worth: int | None
    one_high_s: float
    one_high_ns: int

    def seconds(self, batch: float) -> float:
        """Predicted time [s]."""
        return self.fixed_s + batch * self.row_s

    def high_s(self, batch: int) -> float:
        """t+: the time [s] that 99 of 100 batches keep."""
        factor = self.q if batch <= self.explored else BEYOND * self.q
        return factor * (self.fixed_s + batch * self.row_s) + HANDOVER_S

    def largest(self, budget_s: float, most: int) -> int:
        """The largest batch of at most `most` rows whose t+ lies within `budget_s` [s]; 0 where none does."""
        if self.high_s(most) <= budget_s:
            return most
        within = self._rows((budget_s - HANDOVER_S) / self.q, min(most, self.explored))
        beyond = self._rows((budget_s - HANDOVER_S) / (BEYOND * self.q), most)
        best = beyond if beyond > self.explored else within
        while best > 0 and self.high_s(best) > budget_s:  # a rounding error of the division
            best -= 1
        return best

    def _rows(self, budget_s: float, most: int) -> int:
        if self.row_s <= 0.0:
            return most if budget_s >= self.fixed_s else 0
        return max(0, min(most, int((budget_s - self.fixed_s) / self.row_s)))

    def joules(self, batch: float) -> float | None:
        """Predicted dynamic energy of a batch [J], None while unknown."""
        if self.launch_j is None or self.row_j is None:
            return None
        return self.launch_j + batch * self.row_j


class CostModel:
    """t(b, L) and e(b, L) of one variant on this machine.

    State: both regressions, the rolling ratios of observed to predicted time, the explored corners; changed by
    `observe`, which the owner calls once per span. `version` counts the changes, for caches of `at`.
    """

    def __init__(
        self,
        *,
        seconds: Sequence[float] | None,
        joules: Sequence[float] | None,
        q: float | None,
        buckets: Sequence[int],
        explored: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Priors over [1, b, bL, bL^2] [s], [J] or None; `explored` holds measured (b, L) that others lie below."""
        self._seconds = Regression(seconds) if seconds is not None and any(seconds) else None
        self._joules = Regression(joules) if joules is not None and any(joules) else None
        self._prior_q = max(LEAST_Q, q if q is not None else UNMEASURED_Q)
        self._buckets = tuple(buckets)
        self._ratios = RollingQuantile(share=QUANTILE, window=WINDOW)
        self._ratios_of = [RollingQuantile(share=QUANTILE, window=WINDOW) for _ in buckets]
        self._corners: list[tuple[int, int]] = []
        for batch, length in explored:
            self._explore(batch, length)
        self.version = 0

    def __repr__(self) -> str:
        return f"<CostModel t {self._seconds!r} e {self._joules!r} after {self.version} spans>"

    @property
    def known(self) -> bool:
        """Whether times can be predicted."""
        return self._seconds is not None

    def seconds(self, batch: float, length: float) -> float | None:
        """Predicted time of a batch [s], None before anything is known."""
        return self._seconds(batch, length) if self._seconds is not None else None

    def joules(self, batch: float, length: float) -> float | None:
        """Predicted dynamic energy of a batch [J], None before anything is known."""
        return self._joules(batch, length) if self._joules is not None else None

    def q(self, length: int) -> float:
        """The factor from predicted to nearly-always-kept time for that length, at least 1.02."""
        own = self._ratios_of[self._bucket(length)]
        ratios = own if len(own) >= ENOUGH else self._ratios
        return max(LEAST_Q, ratios.value) if len(ratios) >= ENOUGH else self._prior_q

    def at(self, length: int) -> Rates | None:
        """The costs of batches of that length as of now, or None before anything is known."""
        if self._seconds is None:
            return None
        fixed_s, row, token, squared = self._seconds.coefficients
        row_s = row + length * (token + length * squared)
        launch_j = row_j = worth = None
        if self._joules is not None:
            launch_j, row, token, squared = self._joules.coefficients
            row_j = row + length * (token + length * squared)
            worth = max(1, ceil(launch_j / (WORTH * row_j))) if row_j > 0.0 else None
        q = self.q(length)
        explored = max((batch for batch, longest in self._corners if longest >= length), default=0)
        factor = q if explored >= 1 else BEYOND * q
        one_high_s = factor * (fixed_s + row_s) + HANDOVER_S
        one_high_ns = int(one_high_s * NS_PER_S)
        return Rates(length, fixed_s, row_s, q, explored, launch_j, row_j, worth, one_high_s, one_high_ns)

    def observe(self, *, batch: int, length: int, seconds: float, joules: float | None) -> float | None:
        """Learn from a span; returns observed / predicted time, None where nothing had been predicted."""
        self.version += 1
        self._explore(batch, length)
        if joules is not None and joules > 0.0:
            if self._joules is None:
                self._joules = Regression(_first_guess(batch, length, joules))
            else:
                self._joules.observe(batch, length, joules)
        if self._seconds is None:
            self._seconds = Regression(_first_guess(batch, length, seconds))
            return None
        ratio = self._seconds.observe(batch, length, seconds)
        self._ratios.add(ratio)
        self._ratios_of[self._bucket(length)].add(ratio)
        return ratio

    def _bucket(self, length: int) -> int:
        return min(bisect_left(self._buckets, length), len(self._buckets) - 1)

    def _explore(self, batch: int, length: int) -> None:
        for rows, longest in self._corners:
            if rows >= batch and longest >= length:
                return
        self._corners = [corner for corner in self._corners if corner[0] > batch or corner[1] > length]
        self._corners.append((batch, length))


class AdaptiveCap:
    """The additive-increase, multiplicative-decrease limit of a batch. State: the limit and the requests on time."""

    __slots__ = ("_kept", "_most", "limit")

    def __init__(self, *, start: int = 32, most: int) -> None:
        self.limit = min(start, most)
        self._most = most
        self._kept = 0

    def missed(self) -> None:
        """A batch that was expected on time was not."""
        self.limit = max(1, int(0.9 * self.limit))
        self._kept = 0

    def kept(self, requests: int) -> None:
        """So many requests were answered on time; every 64 allow one row more."""
        self._kept += requests
        if self._kept >= 64:
            self.limit = min(self._most, self.limit + self._kept // 64)
            self._kept %= 64


def _first_guess(batch: int, length: int, value: float) -> tuple[float, float, float, float]:
    """Half of it fixed, half by token: a scale to start from where no profile exists."""
    return (0.5 * value, 0.0, 0.5 * value / (batch * length), 0.0)
