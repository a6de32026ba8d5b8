"""Meters of NVIDIA boards: the energy counter, and integrated power samples where there is no counter."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from greenserve.carbon.meters.agreement import Agreement
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.nvml import Board, FieldReader, power_samples
from greenserve.carbon.meters.pace import Edges, Rhythm
from greenserve.errors import MeterUnavailable
from greenserve.records import Reading, Tier
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

MW_NS_PER_UJ = 1_000_000
UJ_PER_MJ = 1_000
NS_PER_US = 1_000
NJ_PER_UJ = 1_000
MEASURED_PCT = 5
RAW_PCT = 10
SAME_NS = 1_000_000
"""A value that did not move and whose time did not either is dated by its publication; clocks wander by less."""
LOST_NS = 2 * NS_PER_S
"""The driver adds a power sample at least ten times a second; two seconds without one are lost samples."""


class CounterMeter:
    """The board's energy counter since the driver was loaded (NVML field 83).

    Some drivers date a value when it was published, others when it was asked for; `_dated` notes which, from values
    that did not move. In the second case the counter's own period tells when it moved (decision 0017).

    State, changed by `read` alone: `_last_mj` and `_last_ns`, the last point of the counter; `_seen_ns`, the driver's
    time in the last sample, `_sampled_ns`, ours; `_dated`; `_edges`; `_rhythm`, the period of a board that was not
    probed; `_static_uj`, static energy since the meter began; `power_mw`, the last instant power; `agreement`;
    `call_ns`, the last call's length; `_point`, the last reading.
    """

    def __init__(
        self, board: Board, reader: FieldReader, *, characterisation: Characterisation | None = None, scope: int = 0
    ) -> None:
        self._board, self._reader, self._known = board, reader, characterisation
        self.agreement = Agreement()
        self.power_mw: int | None = None
        self.call_ns = 0
        self._last_mj: int | None = None
        self._last_ns = 0
        self._seen_ns = 0
        self._dated: bool | None = None
        self._edges = Edges(characterisation.period_ns if characterisation else None)
        self._rhythm = None if characterisation else Rhythm()
        self._sampled_ns = 0
        self._static_uj = 0
        self._source = f"nvml field 83 scope {scope}, driver {board.driver}"
        self._tier: Tier = "measured" if characterisation and not characterisation.duty_unknown else "measured_raw"
        self._point: Reading | None = None

    def __repr__(self) -> str:
        return f"<CounterMeter of {self._board.uuid}: {self._last_mj} mJ, {self.tier}>"

    @property
    def tier(self) -> Tier:
        """Measured once the board is characterised and its sensor's duty known, raw otherwise."""
        return self._tier

    @property
    def learned_ns(self) -> int | None:
        """The publication period [ns] that the counter's own moves told; None before, and where a probe found it."""
        return None if self._rhythm is None else self._rhythm.period_ns

    def read(self) -> Reading:
        """The counter and the driver's time of it; MeterUnavailable where the field or the call fails.

        A counter that has not moved gives the same reading again, with the time at which it moved. Static energy grows
        by the characterised idle power times the time between two points, never by more than the counter; without a
        characterisation nothing is called static.
        """
        sample = self._reader.sample()
        self.power_mw, self.call_ns = sample.power_mw, sample.call_ns
        reading_ns, self._sampled_ns = sample.at_ns - self._sampled_ns, sample.at_ns
        self.agreement.add(at_ns=sample.at_ns, counter_mj=sample.counter_mj, power_mw=sample.power_mw)
        if sample.counter_mj is None:
            raise MeterUnavailable(f"{self._board.name} ({self._board.uuid}): {'; '.join(sample.faults)}")
        at_ns = sample.counter_at_ns
        last_mj, seen_ns, self._seen_ns = self._last_mj, self._seen_ns, at_ns
        if sample.counter_mj == last_mj and self._point is not None:
            self._dated = at_ns - seen_ns < SAME_NS
            return self._point
        if last_mj is None or sample.counter_mj < last_mj:
            self._last_mj, self._last_ns = sample.counter_mj, at_ns
        else:
            if self._rhythm is not None:
                self._rhythm.moved(at_ns, reading_ns)
                self._edges.period_ns = self._rhythm.period_ns
            if not self._dated:
                at_ns = self._edges.seen(max(seen_ns, self._last_ns), at_ns)
            self._static_uj += self._static(sample.counter_mj - last_mj, at_ns - self._last_ns)
            self._last_mj, self._last_ns = sample.counter_mj, at_ns
        self._point = Reading(
            device=self._board.uuid,
            energy_uj=sample.counter_mj * UJ_PER_MJ,
            static_uj=self._static_uj,
            at_ns=at_ns,
            source=self._source,
            tier=self._tier,
        )
        return self._point

    def _static(self, step_mj: int, duration_ns: int) -> int:
        if self._known is None:
            return 0
        return min(step_mj * UJ_PER_MJ, self._known.idle_mw * max(0, duration_ns) // MW_NS_PER_UJ)

    def describe(self) -> Mapping[str, object]:
        """Source, tier, half width [%] (at least what counter and power differ by), board, characterisation."""
        half_width = MEASURED_PCT if self.tier == "measured" else RAW_PCT
        difference = self.agreement.difference_pct
        if self.agreement.flag and difference is not None:
            half_width = max(half_width, difference)
        return _described(self._board, self._source, self.tier, half_width) | {
            "static_mw": self._known.idle_mw if self._known else None,
            "publication_ns": self._known.period_ns if self._known else None,
            "learned_publication_ns": self.learned_ns,
            "observed_share_milli": self._known.share_milli if self._known else None,
            "lag_ns": self._known.lag_ns if self._known else None,
            "counter_power_difference_pct": difference,
            "clock_steps": self._reader.steps,
            "driver_dates_values": self._dated,
            "flags": [flag for flag in (self.agreement.flag,) if flag],
        }


class SamplesMeter:
    """Power samples of the driver, integrated as a step function, for boards without a counter.

    Each sample's power holds until the next one: trapezoids over change points would turn steps into ramps. State,
    changed by `read` alone: `_last`, the last sample (time [us], power [mW]); `_sum`, the integral [nJ];
    `_segment`, raised where samples were lost, so that what nobody saw is never taken for energy.
    """

    def __init__(self, nvml: Any, board: Board, *, clock: "Clock") -> None:
        self._nvml, self._board, self._clock = nvml, board, clock
        self._last: tuple[int, int] | None = None
        self._sum = 0
        self._segment = 0

    def __repr__(self) -> str:
        return f"<SamplesMeter of {self._board.uuid}: segment {self._segment}>"

    def read(self) -> Reading:
        """The integral up to the newest sample; MeterUnavailable before the first one."""
        for at_us, power_mw in power_samples(self._nvml, self._board, self._last[0] if self._last else 0):
            if self._last is not None:
                duration_us = at_us - self._last[0]
                if duration_us * NS_PER_US > LOST_NS:
                    self._segment += 1
                else:
                    self._sum += self._last[1] * duration_us
            self._last = (at_us, power_mw)
        if self._last is None:
            raise MeterUnavailable(f"{self._board.name} ({self._board.uuid}) has given no power sample yet")
        offset_ns = self._clock.monotonic_ns() - self._clock.unix_us() * NS_PER_US
        return Reading(
            device=self._board.uuid,
            energy_uj=self._sum // NJ_PER_UJ,
            static_uj=0,
            at_ns=self._last[0] * NS_PER_US + offset_ns,
            source=self._source,
            tier="measured_raw",
        )

    @property
    def _source(self) -> str:
        segment = f", segment {self._segment}" if self._segment else ""
        return f"nvml power samples, driver {self._board.driver}{segment}"

    def describe(self) -> Mapping[str, object]:
        """Source, tier, half width [%] and board."""
        return _described(self._board, self._source, "measured_raw", RAW_PCT)


def _described(board: Board, source: str, tier: Tier, half_width_pct: int) -> dict[str, object]:
    return {
        "device": board.uuid,
        "source": source,
        "tier": tier,
        "half_width_pct": half_width_pct,
        "board": board.name,
        "driver": board.driver,
        "index": board.index,
        "power_limit_mw": board.power_limit_mw,
        "mig": board.mig,
    }
