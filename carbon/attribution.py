"""From a device's interval to the batches that ran in it (method: E2 to E4), in integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from greenserve.carbon.apportion import apportion, apportion_list
from greenserve.units import MILLI

LEAST_SPAN_NS = 1_000
"""What a span without a duration counts as: the clock was too coarse, the work was not nothing."""
ALLOWANCE_PCT = 125
"""Beside foreign work, or in a hole of the meter, spans take at most this part of what the model expects of them."""
NO_DURATION = "no_duration"


class Window(NamedTuple):
    """A stretch of time [start_ns, end_ns), monotonic [ns]."""

    start_ns: int
    end_ns: int

    def overlap_ns(self, start_ns: int, end_ns: int) -> int:
        """The time [ns] that the window shares with [start_ns, end_ns)."""
        return max(0, min(self.end_ns, end_ns) - max(self.start_ns, start_ns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """What a counter sees of an interval: it lags by `lag_ns` [ns], and looks at `observed_milli` [1/1000] of it.

    A sensor that looks at a part of each period looks at its end. Both come from the probe of the board
    (`greenserve meters probe`).
    """

    lag_ns: int = 0
    observed_milli: int = MILLI

    def __post_init__(self) -> None:
        if self.lag_ns < 0 or not 0 < self.observed_milli <= MILLI:
            raise ValueError(f"a sensor lags by >= 0 ns and observes 1..1000 thousandths of the time, got {self!r}")

    @property
    def whole(self) -> bool:
        """Whether it sees all of the time."""
        return self.observed_milli == MILLI

    def window(self, start_ns: int, end_ns: int) -> Window:
        """When the energy of the interval [start_ns, end_ns) was used."""
        return Window(start_ns - self.lag_ns, end_ns - self.lag_ns)

    def observed(self, start_ns: int, end_ns: int) -> Window:
        """The part of that time which the sensor saw."""
        length_ns = (end_ns - start_ns) * self.observed_milli // MILLI
        return Window(end_ns - self.lag_ns - max(1, length_ns), end_ns - self.lag_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSpan:
    """A batch on one device, from start until its outputs are on the host, monotonic [ns].

    `work_class` is (model, variant, device type) in one word: spans of one class cost alike. `work` counts padded
    tokens, rows or decode steps. `share_milli` [1/1000] is the part of the device that its replica owns.
    """

    span_id: str
    work_class: str
    start_ns: int
    end_ns: int
    work: int
    share_milli: int = MILLI
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns or self.work < 0 or not 0 <= self.share_milli <= MILLI:
            raise ValueError(
                f"a span ends after it starts (use WorkSpan.ended), has work >= 0 and a share of 0..1000, got {self!r}"
            )

    @classmethod
    def ended(
        cls, span_id: str, work_class: str, times_ns: tuple[int, int], *, work: int, share_milli: int = MILLI
    ) -> "WorkSpan":
        """The span of two clock readings; an end that is not after the start counts as 1 us, flagged."""
        start_ns, end_ns = times_ns
        flags = () if end_ns > start_ns else (NO_DURATION,)
        return cls(
            span_id=span_id,
            work_class=work_class,
            start_ns=start_ns,
            end_ns=max(end_ns, start_ns + LEAST_SPAN_NS) if flags else end_ns,
            work=work,
            share_milli=share_milli,
            flags=flags,
        )

    @property
    def busy_ns(self) -> int:
        """How long it ran [ns]."""
        return self.end_ns - self.start_ns


class Dynamic(NamedTuple):
    """Where the dynamic energy of an interval went [uJ]: the spans by position, and the pools."""

    spans: list[int]
    background_uj: int = 0
    foreign_uj: int = 0
    gap_uj: int = 0


def span_weight(expected_uj: int, overlap_ns: int, busy_ns: int) -> int:
    """E4: W of a span of which `overlap_ns` lie in the interval; 0 only without overlap. [uJ], rounded half up."""
    if not overlap_ns:
        return 0
    return max(1, (2 * expected_uj * overlap_ns + busy_ns) // (2 * busy_ns))


def split_dynamic(dynamic_uj: int, weights: Sequence[int], *, foreign: bool = False, gap: bool = False) -> Dynamic:
    """E4: share the dynamic energy of an interval [uJ] over its spans by their weights [uJ], exactly.

    Positions are in the order of the span ids, so ties fall the same everywhere. Without spans all of it is
    `background`. Beside a `foreign` process, and in a `gap` (energy estimated over a hole of the meter), spans get at
    most 125 % of what they are expected to use; the rest, or all of it without spans, is foreign or gap.
    """
    if not weights:
        shares, rest = list[int](), dynamic_uj
    else:
        bounded = dynamic_uj
        if foreign or gap:
            bounded = min(dynamic_uj, sum(weights) * ALLOWANCE_PCT // 100)
        shares, rest = apportion_list(bounded, weights), dynamic_uj - bounded
    if gap:
        return Dynamic(shares, gap_uj=rest)
    if foreign:
        return Dynamic(shares, foreign_uj=rest)
    return Dynamic(shares, background_uj=rest)


def split_held(static_uj: int, length_ns: int, occupied: Sequence[int]) -> tuple[list[int], int]:
    """Static energy [uJ] of an interval over its spans, and what nobody held: (by position, idle).

    `occupied` is each span's share of the device [1/1000] times its overlap [ns]. Spans that overbook the device hold
    all of it and no more.
    """
    if length_ns <= 0 or static_uj < 0:
        raise ValueError(f"needs a positive length and static energy >= 0, got {length_ns} ns and {static_uj} uJ")
    whole = length_ns * MILLI
    taken = sum(occupied)
    if not taken:
        return [0] * len(occupied), static_uj
    held_uj = static_uj * min(whole, taken) // whole
    return apportion_list(held_uj, occupied), static_uj - held_uj


def split_instances(dynamic_uj: int, activity: Mapping[str, int], slices: Mapping[str, int]) -> dict[str, int]:
    """The board's dynamic energy [uJ] over its MIG instances by activity times slices, exactly.

    `activity` is any one integer unit (thousandths of SM utilisation). Where no instance was active: by slices.
    """
    if activity.keys() != slices.keys():
        raise ValueError(f"needs activity and slices of the same instances, got {set(activity) ^ set(slices)}")
    weights = {name: activity[name] * slices[name] for name in activity}
    return apportion(dynamic_uj, weights if any(weights.values()) else slices)


def static_instances(static_uj: int, slices: Mapping[str, int], all_slices: int) -> tuple[dict[str, int], int]:
    """The board's static energy [uJ] over its MIG instances by slices, and the part of the free slices (idle)."""
    free = all_slices - sum(slices.values())
    if free < 0 or all_slices < 1:
        raise ValueError(f"{sum(slices.values())} slices are in use on a board of {all_slices}")
    names = sorted(slices)
    *shares, idle_uj = apportion_list(static_uj, [*(slices[name] for name in names), free])
    return dict(zip(names, shares, strict=True)), idle_uj
