"""The door of a replica: past its capacity a request is turned away before anybody has decoded it.

Admission refuses exactly, but only after decoding, and past two or three times the capacity decoding alone takes all
the time there is. So once many were refused after decoding, the door looks at the queue itself, and lets in what finds
room in it: enough to feed the engine with large batches, and few that admission would refuse.

Pure in time: `now_ns` [monotonic ns] is an argument. State: the counts of this tick, what is remembered of earlier
ones, each caller's part, and the room of each queue that was seen last.
"""

from collections.abc import Hashable
from math import inf
from typing import Protocol

from greenserve.errors import Overloaded
from greenserve.serve.parts import REST, Parts
from greenserve.units import NS_PER_S

TICK_NS = NS_PER_S // 20
FEW = 16
"""So many late refusals in a tick cost a tenth of a core (0.3 ms each): fewer are left to admission, which is exact.
With one more the tick of an open door ends."""
LATE_SHARE = 0.1
"""The door shuts when more than this share of those that were decoded is refused."""
RECENT, USUAL = 0.75, 0.95
"""What is remembered from tick to tick of refusals (a batch or two), and of what is answered (a second)."""
RESERVED = 0.7
"""This part of what is admitted or answered is divided among the callers; the rest is for whoever finds room."""
LOOK_NS = NS_PER_S // 1_000
"""So long the room that was seen counts, less who has come in since [ns]."""
CALM_TICKS, SILENT_TICKS = 10, 3
"""The door opens after so many ticks in which nobody was turned away, or in which nobody came at all."""
MOST_WAITING = 128
"""So many requests may wait for the loop to look at them."""
MOST_PROVEN = 10_000


class Queues(Protocol):
    """Where the requests wait that a door lets in."""

    def queue_of(self, model: str) -> str | None:
        """The name of the queue of a model's requests; None if no such model is served."""

    def room(self, now_ns: int, queue: str | None) -> float:
        """How many more rows a queue should get now [monotonic ns]; of all of them the least, where it is None."""


class Endless:
    """A queue that nobody has shown to the door: there is always room in it."""

    def queue_of(self, _model: str) -> str | None:
        """All models wait in one."""
        return ""

    def room(self, _now_ns: int, _queue: str | None) -> float:
        """Always enough."""
        return inf


class Door:
    """Who gets in. Callers with a proven key have equal parts per model, all others share one; room is for everybody.

    `queues`, set by whoever has them, say how many more rows should come in.
    """

    def __init__(self) -> None:
        self.queues: Queues = Endless()
        self.waiting = 0
        """Requests that are in and that nobody has looked at yet; kept by the listener."""
        self.turned_away = 0
        """Requests turned away since the start."""
        self.shut = False
        """Whether those who find neither a part of their own nor room are turned away."""
        self._tick_ns = 0
        self._late_lately = self._decided_lately = self._ticks_lately = 0.0
        self._done_usually = 0.0
        self._taken = self._late = self._done = self._away = 0
        self._calm = 0
        self._places: dict[str | None, tuple[int, float]] = {}
        self._parts = Parts()
        self._proven: dict[Hashable, None] = {}

    def __repr__(self) -> str:
        parts = repr(self._parts) if self.shut else "open"
        return f"<Door {parts}, {self.waiting} waiting, {self.turned_away} turned away>"

    @property
    def full(self) -> bool:
        """Whether it is shut, or shuts as soon as somebody asks."""
        return self.shut or self._late > FEW

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

    def lets_in(self, credential: Hashable, model: str | None, now_ns: int) -> bool:
        """Whether a request may come in now: of this credential (None: none was sent), for this model (None: the head
        does not say which)."""
        passed_ns = now_ns - self._tick_ns
        if passed_ns >= TICK_NS or (not self.shut and self.full and passed_ns > 0):
            self._turn(now_ns)  # what was refused after decoding is not waited for any longer than to be counted
        queue = None if model is None else self.queues.queue_of(model)
        # Neither an invented key nor an invented model makes a part of its own.
        proven = credential in self._proven
        who = self._parts.asks((credential, None if queue is None else model) if proven else REST)
        if self.waiting < MOST_WAITING:
            if not self.shut:
                self._parts.paid(who)
                return True
            if self._parts.lets_in(who, (now_ns - self._tick_ns) / TICK_NS) or self._has_room(queue, now_ns):
                return True
        self._away += 1
        self.turned_away += 1
        return False

    def _has_room(self, queue: str | None, now_ns: int) -> bool:
        looked_ns, places = self._places.get(queue, (-LOOK_NS, 0.0))
        if now_ns - looked_ns >= LOOK_NS:
            looked_ns, places = now_ns, self.queues.room(now_ns, queue) - self.waiting
        enough = places >= 1.0
        self._places[queue] = (looked_ns, places - 1.0 if enough else places)
        return enough

    def _turn(self, now_ns: int) -> None:
        """A new tick: the parts follow what is answered, and the callers those of the last one."""
        ticks = (now_ns - self._tick_ns) / TICK_NS
        recent, usual = RECENT**ticks, USUAL**ticks
        self._late_lately = recent * self._late_lately + self._late
        self._decided_lately = recent * self._decided_lately + self._late + self._taken
        self._ticks_lately = recent * self._ticks_lately + (1.0 - recent) / (1.0 - RECENT)
        self._done_usually = usual * self._done_usually + (1.0 - usual) * self._done / ticks
        if self.shut:
            self._calm = 0 if self._away else self._calm + int(ticks)
            self.shut = self._calm < CALM_TICKS and ticks < SILENT_TICKS
        else:
            self._calm = 0
            self.shut = self._late > FEW * ticks and self._late_lately > LATE_SHARE * self._decided_lately
        taken = (self._decided_lately - self._late_lately) / self._ticks_lately
        self._parts.turn(RESERVED * max(taken, self._done_usually), ticks)
        self._taken = self._late = self._done = self._away = 0
        self._tick_ns = now_ns


def turned_away() -> Overloaded:
    """What a caller reads who was not let in."""
    return Overloaded(
        "this gateway gets more requests than it can answer in time, and this one was not looked at; send again later",
        retry_after_s=1,
    )
