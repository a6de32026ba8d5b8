"""Which stage runs, for how long, and about how long the rest will take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from greenserve.ports import Clock
from greenserve.units import seconds_from_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage that begins: its place among `count`, what it does, time since the start [s], expected rest [s]."""

    number: int
    count: int
    name: str
    note: str
    elapsed_s: float
    remaining_s: float


Tell = Callable[[Step], None]


class Stages:
    """Announces stages to `tell`, with the time since its creation. State: none that changes."""

    def __init__(self, *, expected_s: Mapping[str, float], clock: Clock, tell: Tell) -> None:
        self._expected_s = expected_s
        self._clock = clock
        self._tell = tell
        self._start_ns = clock.monotonic_ns()

    def enter(self, name: str, note: str) -> None:
        """The stage `name` begins; the rest is what was expected, scaled by how the time so far compares."""
        names = list(self._expected_s)
        elapsed_s = seconds_from_ns(self._clock.monotonic_ns() - self._start_ns)
        done_s = sum(self._expected_s[before] for before in names[: names.index(name)])
        rest_s = sum(self._expected_s.values()) - done_s
        pace = elapsed_s / done_s if done_s > 0 and elapsed_s > 0 else 1.0
        self._tell(
            Step(
                number=names.index(name) + 1,
                count=len(names),
                name=name,
                note=note,
                elapsed_s=elapsed_s,
                remaining_s=rest_s * min(3.0, max(0.5, pace)),
            )
        )
