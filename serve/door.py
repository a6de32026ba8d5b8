"""The door of a replica: past its capacity a request is turned away before anybody has decoded it.

Admission refuses exactly, but only after decoding, and past two or three times the capacity decoding alone takes all
the time there is. So the door lets in as many per tick as leave admission a tenth to refuse.

Pure in time: `now_ns` [monotonic ns] is an argument. State: the counts of this tick, what is remembered of earlier
ones, the quota.
"""

from collections.abc import Hashable

from greenserve.errors import Overloaded
from greenserve.units import NS_PER_S

TICK_NS = NS_PER_S // 20
FEW = 16
"""So many late refusals in a tick cost a tenth of a core (0.3 ms each): fewer are left to admission, which is exact."""
LATE_SHARE = 0.1
"""Refusing a tenth of those let in after decoding them costs little and shows that the queue is full."""
GROWTH, CUT = 1.04, 0.8
"""From tick to tick a quota grows by 4 % while fewer are refused late, and shrinks by up to 20 % while more are."""
RECENT, USUAL = 0.75, 0.95
"""What is remembered from tick to tick of refusals (a batch or two), and of what is answered (a second)."""
BURST = 4.0
"""So many may come in at once; the rest of a quota is spread over its tick, or each tick would begin with a burst."""
LEAST = 2.0
"""What a quota never falls below: something must get in to find out whether the replica has recovered."""
CALM_TICKS, SILENT_TICKS = 10, 3
"""The quota ends after so many ticks in which nobody was turned away, or in which nobody came at all."""
MOST_WAITING = 128
"""So many requests may wait for the loop to look at them."""
MOST_PROVEN, MOST_PARTS = 10_000, 1_000
STRANGER = None


class Door:
    """Who gets in. Callers with a proven key have equal parts of a quota per path; all others share one such part."""

    def __init__(self) -> None:
        self.waiting = 0
        """Requests that are in and that nobody has looked at yet; kept by the listener."""
        self.turned_away = 0
        """Requests turned away since the start."""
        self._quota: float | None = None
        self._tick_ns = 0
        self._late_lately = self._decided_lately = self._ticks_lately = 0.0
        self._done_usually = 0.0
        self._taken = self._late = self._done = self._in = self._away = 0
        self._calm = 0
        self._fair = 0.0
        self._kept = 0.0
        self._own: dict[Hashable, int] = {}
        self._asked: dict[Hashable, int] = {}
        self._expected: dict[Hashable, int] = {}
        self._proven: dict[Hashable, None] = {}

    def __repr__(self) -> str:
        quota = "no quota" if self._quota is None else f"{self._quota:.0f} per tick"
        return f"<Door {quota}, {self.waiting} waiting, {self.turned_away} turned away>"

    @property
    def shut(self) -> bool:
        """Whether there is a quota."""
        return self._quota is not None

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
        if self.waiting < MOST_WAITING and (self._quota is None or self._has_part(who, self._quota, now_ns)):
            self._in += 1
            return True
        self._away += 1
        self.turned_away += 1
        return False

    def _has_part(self, who: Hashable, quota: float, now_ns: int) -> bool:
        passed = (now_ns - self._tick_ns) / TICK_NS
        own = self._own.get(who, 0)
        owed = min(self._expected.get(who, 0), self._fair)
        if own >= min(max(1.0, self._fair), self._fair * passed + BURST) and (
            self._in + self._kept >= quota or self._in >= quota * passed + BURST
        ):
            return False
        if own < owed:
            self._kept -= min(1.0, owed - own)
        self._own[who] = own + 1
        return True

    def _turn(self, now_ns: int) -> None:
        """A new tick: the quota follows what admission took and refused in the last one."""
        ticks = (now_ns - self._tick_ns) / TICK_NS
        recent, usual = RECENT**ticks, USUAL**ticks
        self._late_lately = recent * self._late_lately + self._late
        self._decided_lately = recent * self._decided_lately + self._late + self._taken
        self._ticks_lately = recent * self._ticks_lately + ticks
        self._done_usually = usual * self._done_usually + (1.0 - usual) * self._done / ticks
        late_share = self._late_lately / self._decided_lately if self._decided_lately else 0.0
        if self._quota is None:
            if self._late > FEW * ticks and late_share > LATE_SHARE:
                self._quota = (1.0 - late_share) * self._decided_lately / self._ticks_lately
        else:
            self._calm = 0 if self._away else self._calm + int(ticks)
            over = self._calm >= CALM_TICKS or ticks >= SILENT_TICKS
            self._quota = None if over else self._next_quota(self._quota, late_share)
        if self._quota is None:
            self._calm = 0
        self._expected, self._asked, self._own = self._asked, {}, {}
        if self._quota is not None:
            self._fair = self._quota / max(1, len(self._expected))
            self._kept = sum(min(asked, self._fair) for asked in self._expected.values())
        self._taken = self._late = self._done = self._in = self._away = 0
        self._tick_ns = now_ns

    def _next_quota(self, quota: float, late_share: float) -> float:
        if late_share > LATE_SHARE:
            quota *= max(CUT, 1.0 - (late_share - LATE_SHARE) / 2.0)
        else:
            quota *= GROWTH
        return max(LEAST, quota, 0.9 * self._done_usually)


def turned_away() -> Overloaded:
    """What a caller reads who was not let in."""
    return Overloaded(
        "this gateway gets more requests than it can answer in time, and this one was not looked at; send again later",
        retry_after_s=1,
    )
