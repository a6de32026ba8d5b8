"""Cut time at grid slots and UTC hours, so that every line of account lies in one of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.closed import SlotPart
from greenserve.records import Interval

US_PER_HOUR, US_PER_MINUTE, NS_PER_US = 3_600_000_000, 60_000_000, 1_000
SLOT_MINUTES = (5, 15, 30, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class CivilTime:
    """What turns the monotonic clock of a node into civil time: `unix_us` [us UTC] was at `monotonic_ns` [ns]."""

    unix_us: int
    monotonic_ns: int

    def us_at(self, at_ns: int) -> int:
        """Civil time of a monotonic one [us UTC], rounded down."""
        return self.unix_us + (at_ns - self.monotonic_ns) // NS_PER_US

    def ns_at(self, at_us: int) -> int:
        """The monotonic time [ns] at which a civil time began."""
        return self.monotonic_ns + (at_us - self.unix_us) * NS_PER_US


class SlotInterval(NamedTuple):
    """A part of an interval that lies in the slot that starts at `slot_us` [us UTC]."""

    slot_us: int
    interval: Interval
    own_busy_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A request's energy [uJ] on one device in one grid slot: what E9 and E11 are applied to, once."""

    device: str
    slot_us: int
    active_uj: int
    held_uj: int
    host_uj: int

    @property
    def energy_uj(self) -> int:
        """IT energy of the line [uJ]."""
        return self.active_uj + self.held_uj + self.host_uj


def slot_start(at_us: int, slot_minutes: int) -> int:
    """The start [us UTC] of the slot that holds a civil time; slots of 5, 15, 30 or 60 minutes divide the hour."""
    if slot_minutes not in SLOT_MINUTES:
        raise ValueError(f"grid slots are {', '.join(map(str, SLOT_MINUTES))} minutes long, got {slot_minutes}")
    return at_us - at_us % (slot_minutes * US_PER_MINUTE)


def slots_between(start_us: int, end_us: int, slot_minutes: int) -> list[tuple[int, int, int]]:
    """[start, end) [us UTC] in pieces (slot start, piece start, piece end), in order; hours end with a slot."""
    if end_us <= start_us:
        raise ValueError(f"a stretch of time ends after it starts, got {start_us} to {end_us} us")
    slot_us, length_us = slot_start(start_us, slot_minutes), slot_minutes * US_PER_MINUTE
    pieces = []
    while slot_us < end_us:
        pieces.append((slot_us, max(start_us, slot_us), min(end_us, slot_us + length_us)))
        slot_us += length_us
    return pieces


def cut_amount(total: int, pieces: Sequence[tuple[int, int, int]]) -> dict[int, int]:
    """An amount over the slots of `pieces` by time share (LR), exactly."""
    shares = apportion_list(total, [end_us - start_us for _, start_us, end_us in pieces])
    return {slot_us: share for (slot_us, _, _), share in zip(pieces, shares, strict=True)}


def cut_interval(
    interval: Interval, own_busy_ns: int, *, clock: CivilTime, slot_minutes: int
) -> tuple[SlotInterval, ...]:
    """The parts of an interval in the slots that it touches: energy, static, busy and own CPU time by time share (LR).

    The parts join, and each amount sums to the interval's own. An interval shorter than a microsecond lies in the
    slot of its start.
    """
    start_us, end_us = clock.us_at(interval.start_ns), clock.us_at(interval.end_ns)
    pieces = slots_between(start_us, max(end_us, start_us + 1), slot_minutes)
    edges_ns = [interval.start_ns, *(clock.ns_at(slot_us) for slot_us, _, _ in pieces[1:]), interval.end_ns]
    weights = [end_ns - start_ns for start_ns, end_ns in pairwise(edges_ns)]
    static_uj = apportion_list(interval.static_uj, weights)
    # Dynamic and static energy apart, so that no part's static energy exceeds its energy.
    dynamic_uj = apportion_list(interval.energy_uj - interval.static_uj, weights)
    own_ns = apportion_list(own_busy_ns, weights)
    busy_ns = [None] * len(weights) if interval.busy_ns is None else apportion_list(interval.busy_ns, weights)
    return tuple(
        SlotInterval(
            pieces[place][0],
            replace(
                interval,
                start_ns=edges_ns[place],
                end_ns=edges_ns[place + 1],
                energy_uj=static_uj[place] + dynamic_uj[place],
                static_uj=static_uj[place],
                busy_ns=busy_ns[place],
            ),
            own_ns[place],
        )
        for place in range(len(pieces))
    )


def lines_of(
    device: str, slots: Iterable[SlotPart], host_uj: int = 0, *, host_slot_us: int | None = None
) -> list[Line]:
    """The lines of a request on a device, one per slot, in order; host energy stands in the slot of its end.

    `host_slot_us` is needed where there is host energy: the slot [us UTC] in which the request ended.
    """
    energy: dict[int, tuple[int, int]] = {}
    for part in slots:
        active_uj, held_uj = energy.get(part.slot_us, (0, 0))
        energy[part.slot_us] = (active_uj + part.active_uj, held_uj + part.held_uj)
    if host_uj:
        if host_slot_us is None:
            raise ValueError(f"{host_uj} uJ of host energy need the slot in which the request ended")
        energy.setdefault(host_slot_us, (0, 0))
    return [
        Line(
            device=device,
            slot_us=slot_us,
            active_uj=active_uj,
            held_uj=held_uj,
            host_uj=host_uj if slot_us == host_slot_us else 0,
        )
        for slot_us, (active_uj, held_uj) in sorted(energy.items())
    ]


def cut_span(start_us: int, end_us: int, amounts: tuple[int, int], slot_minutes: int) -> list[SlotPart]:
    """(active, held) [uJ] of a span over the slots that it touches by time share: where its intervals are not known."""
    pieces = slots_between(start_us, end_us, slot_minutes)
    active, held = (cut_amount(amount, pieces) for amount in amounts)
    return [SlotPart(slot_us, active[slot_us], held[slot_us]) for slot_us, _, _ in pieces]
