"""The door of a replica: past its capacity a request is turned away before anybody has decoded it.

Admission refuses exactly, but only after decoding, and past two or three times the capacity decoding alone takes all
the time there is. So once many were refused after decoding, the door looks at the queue itself, and lets in what finds
room in it: enough to feed the engine with large batches, and few that admission would refuse.

Pure in time: `now_ns` [monotonic ns] is an argument. State: the counts of this tick, what is remembered of earlier
ones, each caller's part, and the room that was seen last.
"""

from collections.abc import Callable, Hashable
from math import inf

from greenserve.errors import Overloaded
from greenserve.units import NS_PER_S

TICK_NS = NS_PER_S // 20
FEW = 16
"""So many late refusals in a tick cost a tenth of a core (0.3 ms each): fewer are left to admission, which is exact."""
LATE_SHARE = 0.1
"""The door shuts when more than this share of those that were decoded is refused."""
RECENT, USUAL = 0.75, 0.95
"""What is remembered from tick to tick of refusals (a batch or two), and of what is answered (a second)."""
RESERVED = 0.7
"""This part of what is admitted or answered is divided among the callers; the rest is for whoever finds room."""
BURST = 4.0
"""So many of a part may come in at once; the rest is spread over its tick, or each tick would begin with a burst."""
LEAST = 2.0
"""What parts together never fall below: something must get in to find out whether the replica has recovered."""
LOOK_NS = NS_PER_S // 1_000
"""So long the room that was seen counts, less who has come in since [ns]."""
CALM_TICKS, SILENT_TICKS = 10, 3
"""The door opens after so many ticks in which nobody was turned away, or in which nobody came at all."""
MOST_WAITING = 128
"""So many requests may wait for the loop to look at them."""
MOST_PROVEN, MOST_PARTS = 10_000, 1_000
STRANGER = None
NOBODY = object()


def endless(_now_ns: int) -> float:
    """The room of a queue that nobody has shown to the door."""
    return inf


class Door:
    """Who gets in. Callers with a proven key have equal parts per path, all others share one; room is for everybody.

    `room`, set by whoever has the queue, says how many more rows should come in now [monotonic ns].
    """

    def __init__(self) -> None:
        self.room: Callable[[int], float] = endless
        self.waiting = 0
        """Requests that are in and that nobody has looked at yet; kept by the listener."""
        self.turned_away = 0
        """Requests turned away since the start."""
        self.shut = False
        """Whether those who find neither a part of their own nor room are turned away."""
        self._tick_ns = self._looked_ns = 0
        self._late_lately = self._decided_lately = self._ticks_lately = 0.0
        self._done_usually = 0.0
        self._taken = self._late = self._done = self._away = 0
        self._calm = 0
        self._places = 0.0
        self._fair = self._parts = 0.0
        self._given = 0
        self._alone: object = NOBODY
        self._own: dict[Hashable, int] = {}
        self._asked: dict[Hashable, int] = {}
        self._proven: dict[Hashable, None] = {}

    def __repr__(self) -> str:
        parts = f"parts of {self._fair:.0f} per tick" if self.shut else "open"
        return f"<Door {parts}, {self.waiting} waiting, {self.turned_away} turned away>"

    def proven(self, credential: Hashable) -> None:
        """A key was found to be good: its holder has a part of its own from now on."""
        if credential not in self._proven:
            if len(self._proven) >= MOST_PROVEN:
                del self._proven[next(iter(self._proven))]
            self._proven[credential] = None

    def taken(self) -> None:
        """Admission let a request through."""
        self._taken += 1

    def done(self) -> None:
        """A request was answered."""
        self._done += 1

    def refused(self) -> None:
        """A request was refused for want of capacity after it had been decoded."""
        self._late += 1

    def lets_in(self, credential: Hashable, path: Hashable, now_ns: int) -> bool:
        """Whether a request of this credential (None: none was sent) to this path may come in now."""
        if now_ns - self._tick_ns >= TICK_NS:
            self._turn(now_ns)
        who = (credential if credential in self._proven else STRANGER, path)
        if who not in self._asked and len(self._asked) >= MOST_PARTS:
            who = (STRANGER, None)
        self._asked[who] = self._asked.get(who, 0) + 1
        if self.waiting < MOST_WAITING and (not self.shut or self._has_part(who, now_ns) or self._has_room(now_ns)):
            return True
        self._away += 1
        self.turned_away += 1
        return False

    def _has_part(self, who: Hashable, now_ns: int) -> bool:
        passed = (now_ns - self._tick_ns) / TICK_NS
        own = self._own.get(who, 0)
        fair = LEAST if who == self._alone else self._fair  # nobody has to be kept from taking all
        if own >= min(max(1.0, fair), fair * passed + BURST) or self._given >= self._parts:
            return False
        self._own[who] = own + 1
        self._given += 1
        return True

    def _has_room(self, now_ns: int) -> bool:
        if now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._places = self.room(now_ns) - self.waiting
        if self._places < 1.0:
            return False
        self._places -= 1.0
        return True

    def _turn(self, now_ns: int) -> None:
        """A new tick: the parts follow what is answered, and the callers those of the last one."""
        ticks = (now_ns - self._tick_ns) / TICK_NS
        recent, usual = RECENT**ticks, USUAL**ticks
        self._late_lately = recent * self._late_lately + self._late
        self._decided_lately = recent * self._decided_lately + self._late + self._taken
        self._ticks_lately = recent * self._ticks_lately + ticks
        self._done_usually = usual * self._done_usually + (1.0 - usual) * self._done / ticks
        if self.shut:
            self._calm = 0 if self._away else self._calm + int(ticks)
            self.shut = self._calm < CALM_TICKS and ticks < SILENT_TICKS
        else:
            self._calm = 0
            self.shut = self._late > FEW * ticks and self._late_lately > LATE_SHARE * self._decided_lately
        callers = len(self._asked)
        self._alone = next(iter(self._asked)) if callers == 1 else NOBODY
        taken = (self._decided_lately - self._late_lately) / self._ticks_lately
        self._parts = max(LEAST, RESERVED * max(taken, self._done_usually))
        self._fair = self._parts / max(1, callers)
        self._asked, self._own, self._given = {}, {}, 0
        self._taken = self._late = self._done = self._away = 0
        self._tick_ns = now_ns


def turned_away() -> Overloaded:
    """What a caller reads who was not let in."""
    return Overloaded(
        "this gateway gets more requests than it can answer in time, and this one was not looked at; send again later",
        retry_after_s=1,
    )
