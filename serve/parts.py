"""What each caller of a full replica may take of it, whatever others ask for: equal parts, carried from tick to tick.

A part is rarely a whole number of requests. So each caller has a credit that grows by its part, and pays with it; a
credit that is full grows no more, and what it would have got is divided among those whose is not. Who asks for less
than its part always has credit left, who floods never has; and over time no more is paid than was given, however many
take turns.

Pure in time: how much of the tick has `passed` [0..1] is an argument. State: each caller's credit, what it paid in
this tick, and who asked in it.
"""

from collections.abc import Hashable
from math import floor

BURST = 4.0
"""The largest credit that is carried over: so many of a caller may come in at once."""
SPARED = 2.0
"""Who has so much credit asks for less than its part, and is let in whatever the others do."""
LEAST = 2.0
"""What parts together never fall below: something must get in to find out whether the replica has recovered."""
MOST_PARTS = 1_000
REST = (None, None)
"""Under this are all strangers, and whoever comes when there are too many parts already."""
NOBODY = object()


class Parts:
    """The callers' credits. A caller that is not held has a full one."""

    def __init__(self) -> None:
        self.fair = 0.0
        """What each caller gets per tick."""
        self._whole = 0.0
        self._credits: dict[Hashable, float] = {}
        self._own: dict[Hashable, int] = {}
        self._asked: set[Hashable] = set()
        self._alone: Hashable = NOBODY
        self._shared = 0

    def __repr__(self) -> str:
        return f"<Parts of {self.fair:.2f} per tick, {len(self._credits)} callers>"

    def asks(self, who: Hashable) -> Hashable:
        """A caller asks; under which name it has its part."""
        if who not in self._asked:
            if who not in self._credits and len(self._asked) + len(self._credits) >= 2 * MOST_PARTS:
                who = REST
            self._asked.add(who)
        return who

    def paid(self, who: Hashable) -> None:
        """Somebody came in who had to show no credit: it counts all the same, or a door would shut on full ones."""
        self._own[who] = self._own.get(who, 0) + 1

    def lets_in(self, who: Hashable, passed: float) -> bool:
        """Whether a caller's credit is enough for one more; it pays with it."""
        own = self._own.get(who, 0)
        if who == self._alone:  # nobody has to be kept from taking all
            if own >= LEAST:
                return False
        else:
            held = self._credits.get(who)  # who was not counted when this tick was divided has what it brings
            left = (BURST if held is None else held + self.fair * passed) - own
            if left < 1.0:
                return False
            if own >= floor(self.fair) and left < SPARED:
                # Credits that grow in step would all be spent in one tick.
                if self._shared >= self._whole:
                    return False
                self._shared += 1
        self._own[who] = own + 1
        return True

    def turn(self, whole: float, ticks: float) -> None:
        """A new tick, so many after the last one: `whole` is what all parts of one are together."""
        grown = self.fair * ticks
        carried = {}
        for who in self._asked.union(self._credits):
            held = self._credits.get(who)
            had = BURST if held is None else held + grown
            left = min(BURST, max(0.0, had - self._own.get(who, 0)))
            if who in self._asked or left < BURST:
                carried[who] = left
        self._credits = carried
        self._alone = next(iter(self._asked)) if len(self._asked) == 1 else NOBODY
        self._whole = max(LEAST, whole)
        self.fair = self._whole / max(1, len(carried))
        self._asked, self._own, self._shared = set(), {}, 0
