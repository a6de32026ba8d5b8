"""A meter that plays a given series, for tests, demonstrations and machines without a meter."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading


class ReplayMeter:
    """Plays `readings` in order, one a call, each stamped `simulated` whatever its own tier says.

    State: `_next`, the place of the next reading, changed by `read` alone.
    """

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = tuple(replace(reading, tier="simulated") for reading in readings)
        if not self._readings:
            raise ConfigInvalid("a replay meter needs at least one reading, got none; name a series that holds some")
        self._next = 0

    def __repr__(self) -> str:
        return f"<ReplayMeter of {self._readings[0].device}: {self._next} of {len(self._readings)} played>"

    def read(self) -> Reading:
        """The next reading; raises MeterUnavailable behind the last one."""
        if self._next == len(self._readings):
            raise MeterUnavailable(f"the replayed series of {len(self._readings)} readings is at its end")
        self._next += 1
        return self._readings[self._next - 1]

    def describe(self) -> Mapping[str, object]:
        """Source, tier and length; the half width is None: a simulation says nothing about a real device."""
        first = self._readings[0]
        return {
            "device": first.device,
            "source": first.source,
            "tier": "simulated",
            "half_width_pct": None,
            "readings": len(self._readings),
        }
