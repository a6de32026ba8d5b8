"""A batch on its way through the intervals of its device, and an interval that was shared."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.attribution import Window, WorkSpan
from greenserve.carbon.closed import Settled, SlotPart
from greenserve.carbon.cuts import Slots, cut_amounts
from greenserve.carbon.members import Member
from greenserve.carbon.theta import Theta
from greenserve.records import Tier
from greenserve.units import MILLI


@dataclass(slots=True, kw_only=True)
class Block:
    """One or more joined intervals shared as one: energy [uJ], and what of it is left for spans that come late."""

    window: Window
    dynamic_uj: int
    static_uj: int
    tier: Tier
    slot_us: int
    background_uj: int = 0
    idle_uj: int = 0

    def claim(self, active_uj: int, occupied: int) -> tuple[int, int]:
        """Take (dynamic, static) energy of what is left [uJ], at most `active_uj` and the static energy of `occupied`
        (share of the device [1/1000] times overlap [ns])."""
        whole = (self.window.end_ns - self.window.start_ns) * MILLI
        active_uj = min(active_uj, self.background_uj)
        held_uj = min(self.static_uj * occupied // whole, self.idle_uj)
        self.background_uj -= active_uj
        self.idle_uj -= held_uj
        return active_uj, held_uj


class Running:
    """A span and what it received: energy [uJ] by grid slot and by piece between its members' edges, time covered by
    intervals [ns], tier, flags.

    State: changed by `receive` and by its settler, which sets `tier`, `flags` and `over_attributed_uj` [uJ].
    """

    __slots__ = (
        "_expected",
        "active_uj",
        "covered_ns",
        "edges_ns",
        "flags",
        "members",
        "over_attributed_uj",
        "pool",
        "slots",
        "tier",
        "work",
    )

    def __init__(self, work: WorkSpan, members: tuple[Member, ...], pool: Literal["load"] | None) -> None:
        self.work, self.pool = work, pool
        self.members = tuple(sorted(members, key=lambda member: member.request_id))
        edges = {edge_ns for member in members for edge_ns in member.edges_ns}
        self.edges_ns = sorted(edge_ns for edge_ns in edges if work.start_ns < edge_ns < work.end_ns)
        self.slots: dict[tuple[int, int], tuple[int, int]] = {}
        self.active_uj = self.covered_ns = self.over_attributed_uj = 0
        self.tier: Tier | None = None
        self.flags = set(work.flags)
        self._expected = (0, 0)

    def expected_uj(self, theta: Theta) -> int:
        """E3 by this version of the model [uJ]."""
        version, expected = self._expected
        if version != theta.version:
            expected = theta.of(self.work.work_class).expected_uj(self.work.busy_ns, self.work.work)
            self._expected = (theta.version, expected)
        return expected

    def receive(self, block: Block, active_uj: int, held_uj: int, covered_ns: int) -> None:
        """Add a part of a block."""
        pieces = [(0, active_uj, held_uj)]
        if self.edges_ns:
            first_ns, last_ns = (
                max(self.work.start_ns, block.window.start_ns),
                min(self.work.end_ns, block.window.end_ns),
            )
            cut = cut_amounts((active_uj, held_uj, 0), first_ns, max(first_ns, last_ns), self.edges_ns)
            pieces = [(place, active, held) for place, (active, held, _) in enumerate(cut) if active or held]
        for place, active, held in pieces:
            before_active, before_held = self.slots.get((block.slot_us, place), (0, 0))
            self.slots[block.slot_us, place] = (before_active + active, before_held + held)
        self.active_uj += active_uj
        self.covered_ns += covered_ns

    @property
    def energy_uj(self) -> int:
        """All that it received [uJ]."""
        return sum(active + held for active, held in self.slots.values())

    def settled(self, tier: Tier) -> list[Settled]:
        """E8: each member's part, slot by slot and piece by piece, so that the members' parts of each sum to what the
        batch received in it."""
        weights = [member.weight for member in self.members]
        parts: list[list[tuple[int, int, int, int]]] = [[] for _ in self.members]
        for (slot_us, place), (active_uj, held_uj) in sorted(self.slots.items()):
            shares = zip(apportion_list(active_uj, weights), apportion_list(held_uj, weights), strict=True)
            for own, (active, held) in zip(parts, shares, strict=True):
                own.append((slot_us, place, active, held))
        over = apportion_list(self.over_attributed_uj, weights)
        flags = self.flags | ({"gap"} if self.covered_ns < self.work.busy_ns else set())
        return [
            Settled(
                request_id=member.request_id,
                active_uj=sum(part[2] for part in own),
                held_uj=sum(part[3] for part in own),
                host_uj=0,
                charged=member.charged,
                tier=tier,
                flags=tuple(sorted(flags)),
                span_id=self.work.span_id,
                slots=_by_slot(own),
                over_attributed_uj=over_uj,
                theta=self._expected[0] or None,
                cut=self._cut(member, own),
            )
            for member, own, over_uj in zip(self.members, parts, over, strict=True)
        ]

    def _cut(self, member: Member, own: list[tuple[int, int, int, int]]) -> Slots:
        """A member's energy by the pieces of its own run: the batch's pieces are at least as fine."""
        if not member.edges_ns:
            return ()
        starts_ns = [self.work.start_ns, *self.edges_ns]
        pieces = [[0, 0] for _ in range(len(member.edges_ns) + 1)]
        for _, place, active_uj, held_uj in own:
            piece = pieces[bisect_right(member.edges_ns, starts_ns[place])]
            piece[0] += active_uj
            piece[1] += held_uj
        return tuple((active_uj, held_uj, 0) for active_uj, held_uj in pieces)


def _by_slot(own: list[tuple[int, int, int, int]]) -> tuple[SlotPart, ...]:
    slots: dict[int, tuple[int, int]] = {}
    for slot_us, _, active_uj, held_uj in own:
        before_active, before_held = slots.get(slot_us, (0, 0))
        slots[slot_us] = (before_active + active_uj, before_held + held_uj)
    return tuple(SlotPart(slot_us, active_uj, held_uj) for slot_us, (active_uj, held_uj) in slots.items())
