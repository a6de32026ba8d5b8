"""An external meter as an energy meter: cumulative, with a time, and unavailable once nobody answers."""

from collections.abc import Mapping

from greenserve.carbon.external.amounts import Told
from greenserve.errors import MeterUnavailable
from greenserve.meter_amounts import Amount
from greenserve.ports import Clock
from greenserve.records import Reading
from greenserve.units import MILLI, NS_PER_S

NS_PER_US = 1_000
AHEAD_US = 2_000_000
"""A meter's own clock may run ahead of ours by so much; beyond, its times say nothing."""
MISSED = 3
"""After so many periods without an answer the last one is no reading any more."""


class ExternalMeter:
    """What an external meter told last, for readers that must not wait for it.

    State, changed by `took` and `failed` alone (one thread): `_reading`, the last good one, replaced as a whole and
    read by anyone; `_asked_ns`, when it was asked for; `fault`; for powers `_power_uw`, the last one, and `_sum`
    [uW ns], its integral as a step function; `_segment`, raised where samples were lost.
    """

    def __init__(
        self,
        name: str,
        amount: Amount,
        *,
        device: str,
        where: str,
        max_w: float,
        half_width_pct: int,
        every_s: float,
        clock: Clock,
    ) -> None:
        """`where` says for people what is read; `max_w` [W] is what the device can draw at most."""
        self.name, self.amount, self.device, self.every_s = name, amount, device, every_s
        self._where, self._max_w, self._half_width_pct, self._clock = where, max_w, half_width_pct, clock
        self._stale_ns = round(MISSED * every_s * NS_PER_S)
        self.fault: str | None = "it has not been asked yet"
        self._reading: Reading | None = None
        self._asked_ns = 0
        self._power_uw: int | None = None
        self._sum = 0
        self._segment = 0

    def __repr__(self) -> str:
        return f"<ExternalMeter {self.name}: {self.fault or self._reading}>"

    def took(self, told: Told, *, start_ns: int, end_ns: int) -> None:
        """An answer, asked for at `start_ns` and there at `end_ns` (monotonic [ns]).

        One that is older than three periods, from the future, or over `max_w` counts as a fault.
        """
        late_us = self._late_us(told)
        if late_us is not None and not -AHEAD_US <= late_us <= self._stale_ns // NS_PER_US:
            self.failed(f"its value is of {late_us / 1e6:.0f} s ago; over {MISSED} periods of {self.every_s:g} s")
            return
        at_ns = (start_ns + end_ns) // 2 - max(0, late_us or 0) * NS_PER_US
        last, value = self._reading, self.amount.micro(told.number)
        if last is not None and at_ns <= last.at_ns:
            # The same sample again: the meter publishes slower than it is asked.
            self._asked_ns, self.fault = end_ns, None
            return
        if self.amount.is_power:
            if value > self._max_w * 1e6:
                self.failed(f"it says {value / 1e6:g} W, over max_w ({self._max_w:g}); is the unit right?")
                return
            value = self._integrated(value, at_ns, last)
        self._reading = Reading(
            device=self.device,
            energy_uj=value,
            static_uj=0,
            at_ns=at_ns,
            source=self._source,
            tier="metered",
        )
        self._asked_ns, self.fault = end_ns, None

    def failed(self, reason: str) -> None:
        """It gave no answer that counts."""
        self.fault = reason

    def read(self) -> Reading:
        """The last reading; MeterUnavailable, with the reason, where none came for three periods."""
        reading = self._reading
        if reading is None or self._clock.monotonic_ns() - self._asked_ns > self._stale_ns:
            raise MeterUnavailable(f"{self.name} ({self._where}): {self.fault or 'nobody asks it any more'}")
        return reading

    def describe(self) -> Mapping[str, object]:
        """Source, tier, half width [%], unit, period [ms], what it can draw at most [mW], the present fault."""
        return {
            "device": self.device,
            "source": self._source,
            "tier": "metered",
            "half_width_pct": self._half_width_pct,
            "unit": self.amount.unit,
            "every_ms": round(self.every_s * MILLI),
            "max_mw": round(self._max_w * MILLI),
            "fault": self.fault,
        }

    @property
    def _source(self) -> str:
        segment = f", segment {self._segment}" if self._segment else ""
        return f"external {self.name}, {self._where}{segment}"

    def _late_us(self, told: Told) -> int | None:
        return None if told.at_us is None else self._clock.unix_us() - told.at_us

    def _integrated(self, power_uw: int, at_ns: int, last: Reading | None) -> int:
        """Energy [uJ] so far: each power holds until the next one; over lost samples nothing is made up."""
        if last is not None and self._power_uw is not None:
            if at_ns - last.at_ns > self._stale_ns:
                self._segment += 1
            else:
                self._sum += self._power_uw * (at_ns - last.at_ns)
        self._power_uw = power_uw
        return self._sum // NS_PER_S
