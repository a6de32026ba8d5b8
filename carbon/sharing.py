"""Whose a stretch of metered energy is, when blocks of code are nested or run at the same time: pure arithmetic."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from greenserve.carbon.apportion import apportion_list
from greenserve.records import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A device's energy [uJ] over [start_ns, end_ns), monotonic: `static_uj` flows when idle, `active_uj` is our own
    work, `foreign_uj` that of other processes. All three None, with the tier, where the energy is not known."""

    device: str
    start_ns: int
    end_ns: int
    static_uj: int | None
    active_uj: int | None
    foreign_uj: int | None
    tier: Tier | None
    source: str
    flags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        parts = (self.static_uj, self.active_uj, self.foreign_uj)
        if self.end_ns <= self.start_ns or len({part is None for part in (*parts, self.tier)}) > 1:
            raise ValueError(f"a stretch has a positive length and knows all of its parts or none: {self!r}")
        if any(part is not None and part < 0 for part in parts):
            raise ValueError(f"the parts of a stretch are >= 0 uJ, got {self!r}")


@dataclass(slots=True)
class Tally:
    """What one block has of one device so far [uJ]; changed by `Sharing` alone.

    `known_ns` [ns] is the time whose energy is known; `shared_ns` [ns] that in which blocks beside this one were open.
    """

    static_uj: int = 0
    active_uj: int = 0
    foreign_uj: int = 0
    own_uj: int = 0
    known_ns: int = 0
    shared_ns: int = 0
    by_tier: dict[Tier, int] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)

    @property
    def energy_uj(self) -> int:
        """Static and active energy [uJ]; foreign work is apart."""
        return self.static_uj + self.active_uj

    def copy(self) -> "Tally":
        """The present state, which no later stretch changes."""
        return replace(self, by_tier=dict(self.by_tier), sources=set(self.sources), flags=set(self.flags))


@dataclass(slots=True, eq=False)
class Block:
    """A measured stretch of a programme: open over [start_ns, end_ns), inside `parent` where there is one."""

    label: str
    parent: "Block | None" = None
    start_ns: int | None = None
    end_ns: int | None = None
    tallies: dict[str, Tally] = field(default_factory=dict)

    def chain(self) -> "Iterator[Block]":
        """This block and those around it, inside out."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent


class Sharing:
    """Gives each stretch to the blocks that were open, no microjoule twice and none lost.

    A block inside another one takes what flows while it is open; where several innermost blocks are open at a time,
    they share equally by largest remainder (method: E5). A block's energy is its own (`own_uj`) plus that of the blocks
    inside it, so the outermost blocks sum to what was metered while any was open.

    State, changed by `open`, `close` and `add`: `_times` and `_open`, which blocks are open from when on; `_reach`, up
    to when each device has told its energy [monotonic ns].
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._open: list[tuple[Block, ...]] = []
        self._reach: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Sharing among {', '.join(block.label for block in self.present) or 'nobody'}>"

    @property
    def present(self) -> tuple[Block, ...]:
        """The blocks that are open now."""
        return self._open[-1] if self._open else ()

    def open(self, block: Block, at_ns: int) -> None:
        """A block begins; ValueError before the last change."""
        block.start_ns = at_ns
        self._change(at_ns, (*self.present, block))

    def close(self, block: Block, at_ns: int) -> None:
        """A block ends; ValueError where it is not open."""
        if block not in self.present:
            raise ValueError(f"{block.label!r} is not open")
        block.end_ns = at_ns
        self._change(at_ns, tuple(one for one in self.present if one is not block))

    def reach(self, device: str) -> int | None:
        """Up to when a device has told its energy [monotonic ns]; None before its first stretch."""
        return self._reach.get(device)

    def add(self, stretch: Stretch) -> None:
        """Give a stretch to those who were open, piece by piece."""
        self._reach[stretch.device] = stretch.end_ns
        for piece in self._pieces(stretch):
            place = bisect_right(self._times, piece.start_ns) - 1
            if place >= 0 and self._open[place]:
                _give(piece, self._open[place])

    def forget(self, before_ns: int) -> None:
        """Drop what no stretch from `before_ns` [monotonic ns] on can need."""
        place = max(0, bisect_right(self._times, before_ns) - 1)
        del self._times[:place], self._open[:place]

    def _change(self, at_ns: int, blocks: tuple[Block, ...]) -> None:
        if self._times and at_ns < self._times[-1]:
            raise ValueError(f"blocks change in the order of time, got {at_ns} ns after {self._times[-1]} ns")
        self._times.append(at_ns)
        self._open.append(blocks)

    def _pieces(self, stretch: Stretch) -> Iterator[Stretch]:
        """The stretch cut where blocks changed, its energy by time share."""
        first, last = bisect_right(self._times, stretch.start_ns), bisect_right(self._times, stretch.end_ns - 1)
        edges = [stretch.start_ns, *sorted(set(self._times[first:last])), stretch.end_ns]
        lengths = [end - start for start, end in pairwise(edges)]
        parts = [_cut(total, lengths) for total in (stretch.static_uj, stretch.active_uj, stretch.foreign_uj)]
        for place, length in enumerate(lengths):
            static_uj, active_uj, foreign_uj = (part[place] for part in parts)
            yield replace(
                stretch,
                start_ns=edges[place],
                end_ns=edges[place] + length,
                static_uj=static_uj,
                active_uj=active_uj,
                foreign_uj=foreign_uj,
            )


def _cut(total: int | None, lengths: Sequence[int]) -> Sequence[int | None]:
    return [None] * len(lengths) if total is None else apportion_list(total, lengths)


def _give(piece: Stretch, opened: tuple[Block, ...]) -> None:
    around = {outer for block in opened for outer in block.chain() if outer is not block}
    innermost = [block for block in opened if block not in around]
    duration_ns = piece.end_ns - piece.start_ns
    for block in opened:
        tally = block.tallies.setdefault(piece.device, Tally())
        tally.flags |= piece.flags
        if any(block not in one.chain() for one in innermost):
            tally.shared_ns += duration_ns
        if piece.tier is not None:
            tally.known_ns += duration_ns
            tally.sources.add(piece.source)
    tier = piece.tier
    if tier is None:
        return
    equally = [1] * len(innermost)
    statics, actives, foreigns = (
        apportion_list(total or 0, equally) for total in (piece.static_uj, piece.active_uj, piece.foreign_uj)
    )
    for block, static_uj, active_uj, foreign_uj in zip(innermost, statics, actives, foreigns, strict=True):
        block.tallies[piece.device].own_uj += static_uj + active_uj
        for one in block.chain():
            if one in opened:
                tally = one.tallies[piece.device]
                tally.static_uj += static_uj
                tally.active_uj += active_uj
                tally.foreign_uj += foreign_uj
                tally.by_tier[tier] = tally.by_tier.get(tier, 0) + static_uj + active_uj
