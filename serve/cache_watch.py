"""Whether looking up a model's answers pays, judged by what the lookups found.

State: counts since the last judgement and in all, and the mean joules of a run; changed by `looked`, `found` and `ran`.
"""

from dataclasses import dataclass

WINDOW = 1_000
PROBES = 256
OFF_UNDER = 0.02
ON_AGAIN_FROM = 0.04
PROBED_OF = 16
WORTH_LOOKUPS = 3.0
MEAN_GAIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a watch has counted since it began, and `why` it is off ("" while it is on).

    `avoided_j` [J] is what the hits would have taken as runs of their own, an estimate; hits whose model was never
    measured are `unpriced` and not in it.
    """

    lookups: int
    hits: int
    joined: int
    unpriced: int
    avoided_j: float
    why: str


class Watch:
    """Switches a model's cache off while fewer than 2 % of 1,000 lookups find something, or a run costs too little.

    While it is off, one key in 16 is still looked up; 4 % of 256 of these switch it on again. `lookup_j` [J] is what a
    lookup costs; a run has to cost three times as much.
    """

    def __init__(self, *, lookup_j: float) -> None:
        self._least_j = WORTH_LOOKUPS * lookup_j
        self._lookups = self._hits = self._joined = self._unpriced = 0
        self._avoided_j = 0.0
        self._window_lookups = self._window_hits = 0
        self._mean_j: float | None = None
        self._why = ""

    def __repr__(self) -> str:
        state = f"off ({self._why})" if self._why else "on"
        return f"<Watch {state}, {self._hits + self._joined} of {self._lookups}>"

    @property
    def on(self) -> bool:
        """Whether all keys are looked up."""
        return not self._why

    def watched(self) -> Watched:
        """The counts now."""
        return Watched(
            lookups=self._lookups,
            hits=self._hits,
            joined=self._joined,
            unpriced=self._unpriced,
            avoided_j=self._avoided_j,
            why=self._why,
        )

    def looked(self) -> None:
        """A key was looked up; whether it was `found` is said before the next one."""
        if self._window_lookups >= (PROBES if self._why else WINDOW):
            self._judge()
        self._lookups += 1
        self._window_lookups += 1

    def found(self, energy_j: float | None) -> None:
        """The last lookup found an answer; `energy_j` [J] is what it avoided, None: unknown."""
        self._hits += 1
        if energy_j is None:
            self._unpriced += 1
        else:
            self._avoided_j += energy_j
            self._average(energy_j)
        self._won()

    def joined(self) -> None:
        """The last lookup found an item in flight."""
        self._joined += 1
        self._won()

    def ran(self, energy_j: float | None) -> None:
        """A key that was not found ran, for `energy_j` [J] by itself; None: unknown, which never switches off."""
        if energy_j is not None:
            self._average(energy_j)

    def _average(self, energy_j: float) -> None:
        self._mean_j = energy_j if self._mean_j is None else self._mean_j + MEAN_GAIN * (energy_j - self._mean_j)

    def _won(self) -> None:
        self._window_hits += 1
        if self._why and self._window_hits >= ON_AGAIN_FROM * PROBES and not self._too_cheap:
            self._start("")

    def _judge(self) -> None:
        if self._too_cheap:
            self._start("a run costs less than three lookups")
        elif self._why:
            self._start(self._why if self._window_hits < ON_AGAIN_FROM * PROBES else "")
        else:
            self._start(f"under {OFF_UNDER:.0%} hits" if self._window_hits < OFF_UNDER * WINDOW else "")

    @property
    def _too_cheap(self) -> bool:
        return self._mean_j is not None and self._mean_j < self._least_j

    def _start(self, why: str) -> None:
        self._why = why
        self._window_lookups = self._window_hits = 0
