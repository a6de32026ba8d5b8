"""How often a meter is read (method: accounting, section 2): pure rules."""

from dataclasses import dataclass, field

MS = 1_000_000
SHORTEST_NS = 20 * MS
LONGEST_NS = 100 * MS
UNPROBED_NS = 50 * MS
SLOWEST_NS = 1_000 * MS
COST_PARTS = 100
"""A call may take a hundredth of the period."""
CALLS = 20
MOVES = 100
"""So many moves of a counter tell its period: within 0.5 % where it is read twice in one."""


def board_period_ns(publication_ns: int | None) -> int:
    """89 % of the counter's publication period [ns] within 20..100 ms; 50 ms while it is not known.

    Half of it would meet the counter at the same phase for ever; 89 % sees each move and passes all phases, so that
    `Edges` can tell when the counter moves (decision 0017).
    """
    if publication_ns is None:
        return UNPROBED_NS
    return min(LONGEST_NS, max(SHORTEST_NS, publication_ns * 89 // 100))


@dataclass(slots=True)
class Pace:
    """The period [ns] of one meter, doubled while its calls cost more than a hundredth of it.

    State, changed by `took` alone: `period_ns`; `slowed`, how often it was doubled; the last calls' lengths. Meters
    read once a second or slower keep their period: RAPL's would wrap, and their cost is small at any length.
    """

    period_ns: int
    slowed: int = 0
    _calls: list[int] = field(default_factory=list)

    def took(self, call_ns: int) -> None:
        """Note a call's length [ns]; twenty of them decide together, so that one hiccup slows nothing."""
        if self.period_ns >= SLOWEST_NS:
            return
        self._calls.append(call_ns)
        if len(self._calls) < CALLS:
            return
        typical_ns = sorted(self._calls)[CALLS // 2]
        self._calls.clear()
        if typical_ns * COST_PARTS > self.period_ns:
            self.period_ns = min(SLOWEST_NS, 2 * self.period_ns)
            self.slowed += 1

    def learned(self, publication_ns: int) -> bool:
        """Read as a board of this publication period [ns] is read from now on; False where calls are slow already."""
        if self.slowed:
            return False
        self.period_ns = board_period_ns(publication_ns)
        return True


@dataclass(slots=True)
class Rhythm:
    """A counter's publication period [ns], from its own moves, where no probe has found it out (decision 0037).

    State, changed by `moved` alone: `period_ns`, None until it is known, and then for good; the window of moves that
    are being counted. A period under 1.4 times the time between two readings cannot be told, and one that is not
    regular is none.
    """

    period_ns: int | None = None
    _first_ns: int | None = None
    _last_ns: int = 0
    _moves: int = 0
    _shortest_ns: int = 0
    _longest_ns: int = 0
    _reading_ns: int = 0

    def moved(self, at_ns: int, reading_ns: int) -> None:
        """The counter has moved, at a monotonic time [ns], `reading_ns` [ns] or less after it was read before."""
        if self.period_ns is not None:
            return
        if self._first_ns is None:
            self._first_ns = self._last_ns = at_ns
            self._moves, self._shortest_ns, self._longest_ns, self._reading_ns = 0, at_ns, 0, 0
            return
        self._reading_ns = max(self._reading_ns, reading_ns)
        gap_ns, self._last_ns = at_ns - self._last_ns, at_ns
        self._moves += 1
        self._shortest_ns, self._longest_ns = min(self._shortest_ns, gap_ns), max(self._longest_ns, gap_ns)
        if self._moves < MOVES:
            return
        period_ns = (at_ns - self._first_ns) // MOVES
        allowed_ns = self._reading_ns * 6 // 5
        regular = period_ns - self._shortest_ns <= allowed_ns and self._longest_ns - period_ns <= allowed_ns
        if regular and 5 * period_ns >= 7 * self._reading_ns:
            self.period_ns = period_ns
        self._first_ns = None


@dataclass(slots=True)
class Edges:
    """When a counter moved, from samples that only bound it, given its publication period [ns] (None: unknown).

    State, changed by `seen` alone: `last_ns`, when it last moved. The next move is expected a whole number of periods
    later and taken to lie there, within the bounds that the samples leave; the bounds correct the phase.
    """

    period_ns: int | None
    last_ns: int | None = None

    def seen(self, after_ns: int, until_ns: int) -> int:
        """When it moved, given that it had not by `after_ns` and had by `until_ns` (monotonic [ns])."""
        if self.period_ns is None or until_ns <= after_ns + 1:
            self.last_ns = (after_ns + until_ns + 1) // 2
        elif self.last_ns is None:
            self.last_ns = until_ns
        else:
            middle_ns = (after_ns + until_ns) // 2
            periods = max(1, (middle_ns - self.last_ns + self.period_ns // 2) // self.period_ns)
            self.last_ns = min(until_ns, max(after_ns + 1, self.last_ns + periods * self.period_ns))
        return self.last_ns
