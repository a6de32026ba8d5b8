"""Whether an idle engine should wait for company: the joules of a launch saved, against the time of those who wait."""

from collections.abc import Mapping
from math import exp, inf
from types import MappingProxyType

CLASSES = ("latency", "balanced", "green")
SHARE_OF_SLACK: Mapping[str, float] = MappingProxyType({"latency": 0.0, "balanced": 0.5, "green": 0.8})
"""f: the part of the time between arrival and objective that a head may be kept waiting for company."""
LEAST_CHANCE = 0.1
WINDOW = 256
TOLERATED = 0.1
UP, DOWN = 1.1, 0.95
LEAST_GRID, MOST_GRID = 0.25, 4.0


class Patience:
    """The price of waiting, mu [J per request-second]: infinite for latency, none for green, controlled for balanced.

    State: the gain of the balanced class, the batches and paid waits since it was last changed, and the grid's factor.
    """

    __slots__ = ("_batches", "_gain", "_grid", "_rows", "_waited_s", "slo_s")

    def __init__(self, *, slo_s: float) -> None:
        if not slo_s > 0.0:
            raise ValueError(f"an objective is a time > 0 s, got {slo_s}")
        self.slo_s = slo_s
        self._gain = 1.0
        self._grid = 1.0
        self._batches = 0
        self._rows = 0
        self._waited_s = 0.0

    def __repr__(self) -> str:
        return f"<Patience gain {self._gain:.3g} grid {self._grid:.3g}>"

    def grid(self, now_mg_per_kwh: float | None, mean_mg_per_kwh: float | None) -> None:
        """The zone's intensity now and its 24 h mean [mg/kWh]: dirtier hours wait longer; None: no effect."""
        if not now_mg_per_kwh or not mean_mg_per_kwh:
            self._grid = 1.0
        else:
            self._grid = min(MOST_GRID, max(LEAST_GRID, mean_mg_per_kwh / now_mg_per_kwh))

    def price(self, patience: str, launch_j: float) -> float:
        """mu [J per request-second] for a batch whose least patient row is of that class."""
        if patience == "latency":
            return inf
        if patience == "green":
            return 0.0
        return self._gain * self._grid * launch_j / self.slo_s

    def paid(self, *, rows: int, waited_s: float) -> None:
        """A batch was launched whose rows together were kept waiting that long [s] while the engine was idle."""
        self._batches += 1
        self._rows += rows
        self._waited_s += waited_s
        if self._batches == WINDOW:
            too_long = self._waited_s > TOLERATED * self.slo_s * self._rows
            self._gain = min(1e6, max(1e-6, self._gain * (UP if too_long else DOWN)))
            self._batches = self._rows = 0
            self._waited_s = 0.0


def likely(rate_per_s: float, left_s: float) -> bool:
    """Whether company is likely enough in `left_s` [s] at that rate [1/s] to be waited for at some price."""
    return left_s > 0.0 and 1.0 - exp(-rate_per_s * left_s) >= LEAST_CHANCE


def worth_waiting(*, launch_j: float, price: float, rows: int, rate_per_s: float, left_s: float) -> bool:
    """Whether another row is likely enough in the `left_s` [s] that remain, and its saved launch worth the wait."""
    if price == inf or rate_per_s <= 0.0 or not likely(rate_per_s, left_s):
        return False
    return launch_j * (1.0 - exp(-rate_per_s * left_s)) > price * rows / rate_per_s
