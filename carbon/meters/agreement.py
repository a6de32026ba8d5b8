"""Whether a board's energy counter and its power sensor tell the same story, as the two once differed by 74 %."""

from dataclasses import dataclass

from greenserve.units import NS_PER_S

WINDOW_NS = 60 * NS_PER_S
ALLOWED_PCT = 5
MW_NS_PER_UJ = 1_000_000
UJ_PER_MJ = 1_000


@dataclass(slots=True)
class Agreement:
    """Compares counter [mJ] and integrated power [mW] over windows of 60 s.

    State, changed by `add` alone: the present window's start, counter and integral; `difference_pct`, what the last
    whole window said, None before. Power is integrated as a step function: each value holds until the next one.
    """

    difference_pct: int | None = None
    _start_ns: int = 0
    _start_mj: int | None = None
    _last_ns: int = 0
    _last_mw: int = 0
    _sum: int = 0

    @property
    def flag(self) -> str | None:
        """`meter_disagreement` where the last window differed by more than 5 %."""
        return "meter_disagreement" if (self.difference_pct or 0) > ALLOWED_PCT else None

    def add(self, *, at_ns: int, counter_mj: int | None, power_mw: int | None) -> None:
        """Take one sample at a monotonic time [ns]; a missing value or a fallen counter begins the window anew."""
        if counter_mj is None or power_mw is None:
            self._start_mj = None
            return
        if self._start_mj is None or counter_mj < self._start_mj:
            self._begin(at_ns, counter_mj, power_mw)
            return
        self._sum += self._last_mw * max(0, at_ns - self._last_ns)
        self._last_ns, self._last_mw = at_ns, power_mw
        if at_ns - self._start_ns < WINDOW_NS:
            return
        counted_uj, integrated_uj = (counter_mj - self._start_mj) * UJ_PER_MJ, self._sum // MW_NS_PER_UJ
        larger = max(counted_uj, integrated_uj)
        # Rounded up: a width that is taken from it must cover it.
        self.difference_pct = -(-100 * abs(counted_uj - integrated_uj) // larger) if larger else 0
        self._begin(at_ns, counter_mj, power_mw)

    def _begin(self, at_ns: int, counter_mj: int, power_mw: int) -> None:
        self._start_ns, self._start_mj = at_ns, counter_mj
        self._last_ns, self._last_mw, self._sum = at_ns, power_mw, 0
