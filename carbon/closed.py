"""What one close of a device's accounts says: who was settled with what, and where all of the energy went."""

from dataclasses import dataclass
from typing import NamedTuple

from greenserve.carbon.cuts import Slots
from greenserve.record import record
from greenserve.records import Tier


class SlotPart(NamedTuple):
    """A request's dynamic and static energy [uJ] in one grid slot, named by its start [us UTC]."""

    slot_us: int
    active_uj: int
    held_uj: int


@record(frozen=True, slots=True, kw_only=True)
class Settled:
    """A request's part [uJ] of a device's metered energy, with the weakest tier of the intervals that it came from.

    Flags: `late` (came when its window was already processed), `gap` (no interval covers a part of its window, so the
    energy is a lower bound), `foreign_unknown` (a meter that counts no CPU time), `foreign` and `meter_gap` (ran
    beside another process, in a hole of the meter), `prior` and `not_separable` (the class of a batch that ran beside
    is not learned yet, or always runs beside it). On a device that is settled by spans `span_id` names the batch,
    `slots` its energy by grid slot, and `over_attributed_uj` [uJ] what a late span was expected to use beyond what the
    meter had left: modelled, outside the sums of the device. `theta` is the newest version of the device's model that
    took part, None where none did. `cut` is its energy [uJ] by piece of a run that crosses grid slots, else empty.
    """

    request_id: str
    active_uj: int
    held_uj: int
    host_uj: int
    charged: bool
    tier: Tier
    flags: tuple[str, ...]
    span_id: str | None = None
    slots: tuple[SlotPart, ...] = ()
    over_attributed_uj: int = 0
    theta: int | None = None
    cut: Slots = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClosed:
    """Where the energy of a device's intervals went [uJ] over [start_ns, end_ns), monotonic [ns].

    `active_uj`, `held_uj`, `host_uj` are the sums of what was settled and charged, `waste_uj` what was settled and
    not charged; `pending_*_uj` is what open requests had received before and after, and what late ones may still
    claim. `static_uj` is a part of `metered_uj`, not of the sum. `gap_uj` is metered energy without a place: what was
    estimated over a hole of the meter and no span explains. Time since the interval before that no interval covers is
    `unmetered_ns` [ns]; its energy is not known. `load_uj` is start, loading, warm-up and probes.
    `over_attributed_uj` is not a part of the sum: late spans were expected to use it, and the meter had none left.
    `metering_uj` is the part of the background that reading the meters used; None where it was not told apart.
    """

    device: str
    start_ns: int
    end_ns: int
    intervals: int
    metered_uj: int
    static_uj: int
    active_uj: int
    held_uj: int
    host_uj: int
    idle_uj: int
    waste_uj: int
    background_uj: int
    foreign_uj: int
    gap_uj: int
    pending_before_uj: int
    pending_after_uj: int
    unmetered_ns: int
    tier: Tier
    source: str
    load_uj: int = 0
    over_attributed_uj: int = 0
    metering_uj: int | None = None

    def __post_init__(self) -> None:
        settled = self.active_uj + self.held_uj + self.host_uj + self.waste_uj + self.load_uj
        placed = settled + self.idle_uj + self.background_uj + self.foreign_uj + self.gap_uj + self.pending_after_uj
        if self.metered_uj + self.pending_before_uj != placed:
            raise ValueError(f"metered {self.metered_uj} + before {self.pending_before_uj} is not {placed}: {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What one close settled. `unmetered` names requests that no interval touches: their energy stays an estimate.

    On a device that is settled by spans `unmetered_parts` names (request, span) instead.
    """

    settled: tuple[Settled, ...]
    device: DeviceClosed
    unmetered: tuple[str, ...] = ()
    unmetered_parts: tuple[tuple[str, str], ...] = ()
