"""From a meter's cumulative readings to the energy between two of them: differences, segments and gaps."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from greenserve.carbon.apportion import apportion_list
from greenserve.records import TIERS, Interval, Reading, Tier

MW_NS_PER_UJ = 1_000_000
HOLE_PERIODS = 10
"""A stretch between two points that is longer than so many publication periods is a hole."""
LIMIT_NUMERATOR, LIMIT_DENOMINATOR = 12, 10
"""More than 1.2 times what the device may draw is no energy but a fault of the counter."""


def interval_between(first: Reading, second: Reading) -> Interval | None:
    """The energy that flowed from `first` to `second`, or None where the two tell none.

    None for a counter that did not tick, for a repeated or older reading, and for a counter that fell (a restart).
    The caller keeps `first` as the base after a None, unless `is_restart` says that the counter began anew: then
    `second` is the new base and the time between is not metered. The tier is the weaker of both; `busy_ns` is None
    unless both readings count it. ValueError for readings of two devices or sources: their counters have nothing
    in common.
    """
    _check_same_counter(first, second)
    if second.at_ns <= first.at_ns or second.energy_uj <= first.energy_uj or second.static_uj < first.static_uj:
        return None
    energy_uj = second.energy_uj - first.energy_uj
    busy_ns = None
    if first.busy_ns is not None and second.busy_ns is not None:
        busy_ns = max(0, second.busy_ns - first.busy_ns)
    return Interval(
        device=second.device,
        start_ns=first.at_ns,
        end_ns=second.at_ns,
        energy_uj=energy_uj,
        static_uj=min(energy_uj, second.static_uj - first.static_uj),
        tier=max(first.tier, second.tier, key=TIERS.index),
        source=second.source,
        busy_ns=busy_ns,
    )


def is_restart(first: Reading, second: Reading) -> bool:
    """Whether the counter began anew between the two: later in time, but lower."""
    _check_same_counter(first, second)
    fell = second.energy_uj < first.energy_uj or second.static_uj < first.static_uj
    return second.at_ns > first.at_ns and fell


def _check_same_counter(first: Reading, second: Reading) -> None:
    if (first.device, first.source) != (second.device, second.source):
        raise ValueError(
            f"readings of one counter are needed, got {first.device} by {first.source!r} and "
            f"{second.device} by {second.source!r}; a changed source opens a new segment"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the interval journal: what is known of a device's energy [uJ] over [start_ns, end_ns), monotonic.

    `segment` counts the stretches in which one counter ran on. A gap (flag `gap`) is a stretch that no counter
    covers: its energy is an estimate of tier modelled (flag `estimated`) or unknown (None). Other flags: why there is
    a gap (`reset`, `source_changed`, `quarantined`), `hole` (counted, but over a time too long to learn from),
    `read_failed` (readings failed inside), `foreign` (somebody else worked on the device).
    """

    device: str
    segment: int
    start_ns: int
    end_ns: int
    energy_uj: int | None
    static_uj: int | None
    tier: Tier | None
    source: str
    flags: frozenset[str] = frozenset()
    busy_ns: int | None = None

    def __post_init__(self) -> None:
        known = [value is not None for value in (self.energy_uj, self.static_uj, self.tier)]
        if self.end_ns <= self.start_ns or self.segment < 0 or any(known) != all(known):
            raise ValueError(f"a row has a positive length and knows energy, static part and tier together: {self!r}")
        if self.energy_uj is not None and not 0 <= (self.static_uj or 0) <= self.energy_uj:
            raise ValueError(f"a row has 0 <= static <= energy, got {self!r}")

    @property
    def is_gap(self) -> bool:
        """Whether no counter covers it."""
        return "gap" in self.flags

    @property
    def interval(self) -> Interval | None:
        """The same for settlement; None where the energy is not known."""
        if self.energy_uj is None or self.static_uj is None or self.tier is None:
            return None
        return Interval(
            device=self.device,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            energy_uj=self.energy_uj,
            static_uj=self.static_uj,
            tier=self.tier,
            source=self.source,
            busy_ns=self.busy_ns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is plausible for a device: its power limit [mW], the time between two points of its counter [ns].

    None where it is not known; then nothing is quarantined, or nothing is called a hole, on that ground. `edge_ns` [ns]
    is how far the length of an interval may be off, where the times of a counter's moves are only bounded.
    """

    power_limit_mw: int | None = None
    publication_ns: int | None = None
    edge_ns: int = 0

    def __post_init__(self) -> None:
        if any(value is not None and value <= 0 for value in (self.power_limit_mw, self.publication_ns)):
            raise ValueError(f"limits are positive or None, got {self!r}")

    def is_too_much(self, energy_uj: int, duration_ns: int) -> bool:
        """Whether the energy [uJ] is over 1.2 times what the power limit allows in the time [ns]."""
        if self.power_limit_mw is None:
            return False
        allowed = LIMIT_NUMERATOR * self.power_limit_mw * (duration_ns + self.edge_ns)
        return energy_uj * MW_NS_PER_UJ * LIMIT_DENOMINATOR > allowed

    def is_hole(self, duration_ns: int) -> bool:
        """Whether the time [ns] is over ten publication periods."""
        return self.publication_ns is not None and duration_ns > HOLE_PERIODS * self.publication_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The mean power [mW] of a stretch that no counter covers, and its tier: modelled, or what the model has."""

    power_mw: int
    tier: Tier = "modelled"

    def __post_init__(self) -> None:
        if self.power_mw < 0 or TIERS.index(self.tier) < TIERS.index("modelled"):
            raise ValueError(f"an estimate is a power >= 0 mW of tier modelled or weaker, got {self!r}")


@dataclass(slots=True)
class Dropped:
    """Readings that told nothing, by reason."""

    duplicates: int = 0
    out_of_order: int = 0
    failed: int = 0


@dataclass(slots=True, kw_only=True)
class IntervalMaker:
    """Turns the readings of one device into rows of the journal.

    State, changed by `add`, `stands` and `failed` alone: `last`, the base of the next difference; `segment`, the
    number of the present one; `dropped`; whether readings failed since the base.
    """

    device: str
    limits: Limits = field(default_factory=Limits)
    last: Reading | None = None
    segment: int = 0
    dropped: Dropped = field(default_factory=Dropped)
    _failed: bool = False

    def failed(self) -> None:
        """A reading failed: no zero, the next good one says whether the counter ran on."""
        self.dropped.failed += 1
        self._failed = True

    def stands(self, reading: Reading) -> bool:
        """Whether the counter has not moved since the base: nothing is closed, and `add` need not be asked.

        Most readings of a board are such; a repeated point is counted as a duplicate here as by `add`.
        """
        last = self.last
        if last is None or reading.energy_uj != last.energy_uj or reading.at_ns < last.at_ns:
            return False
        if reading.static_uj != last.static_uj or reading.source != last.source or reading.device != self.device:
            return False
        if reading.at_ns == last.at_ns:
            self.dropped.duplicates += 1
        return True

    def add(
        self, reading: Reading, *, estimate: Estimate | None = None, flags: frozenset[str] = frozenset()
    ) -> Row | None:
        """The row that this reading closes; None where it closes none (method: accounting, section 3).

        Duplicates and readings out of order are dropped and counted. A counter that did not tick closes nothing:
        the base stays. A counter that fell, a changed source and a difference beyond the power limit open a new
        segment; the time before it is a gap whose energy is that of `estimate`, or unknown without one. `flags` are
        added to the row. ValueError for a reading of another device.
        """
        if reading.device != self.device:
            raise ValueError(f"needs readings of {self.device}, got one of {reading.device}")
        last = self.last
        if last is None:
            self._rebase(reading)
            return None
        if reading.at_ns <= last.at_ns:
            if reading.at_ns == last.at_ns:
                self.dropped.duplicates += 1
            else:
                self.dropped.out_of_order += 1
            return None
        if self._failed:
            flags |= {"read_failed"}
        duration_ns = reading.at_ns - last.at_ns
        reason = self._break_between(last, reading)
        if reason is not None:
            row = self._gap(last, reading, estimate, flags | {"gap", reason})
            self.segment += 1
            self._rebase(reading)
            return row
        interval = interval_between(last, reading)
        if interval is None:
            return None
        if self.limits.is_hole(duration_ns):
            flags |= {"hole"}
        self._rebase(reading)
        return Row(
            device=self.device,
            segment=self.segment,
            start_ns=interval.start_ns,
            end_ns=interval.end_ns,
            energy_uj=interval.energy_uj,
            static_uj=interval.static_uj,
            tier=interval.tier,
            source=interval.source,
            flags=flags,
            busy_ns=interval.busy_ns,
        )

    def _break_between(self, last: Reading, reading: Reading) -> str | None:
        if reading.source != last.source:
            return "source_changed"
        if is_restart(last, reading):
            return "reset"
        if self.limits.is_too_much(reading.energy_uj - last.energy_uj, reading.at_ns - last.at_ns):
            return "quarantined"
        return None

    def _gap(self, last: Reading, reading: Reading, estimate: Estimate | None, flags: frozenset[str]) -> Row:
        energy_uj = static_uj = tier = None
        if estimate is not None:
            energy_uj, static_uj = estimate.power_mw * (reading.at_ns - last.at_ns) // MW_NS_PER_UJ, 0
            # A gap of a simulated counter stays simulated.
            tier = max(estimate.tier, last.tier, key=TIERS.index)
            flags |= {"estimated"}
        return Row(
            device=self.device,
            segment=self.segment,
            start_ns=last.at_ns,
            end_ns=reading.at_ns,
            energy_uj=energy_uj,
            static_uj=static_uj,
            tier=tier,
            source=last.source,
            flags=flags,
        )

    def _rebase(self, reading: Reading) -> None:
        self.last = reading
        self._failed = False


def cut(row: Row, edges_ns: Sequence[int]) -> tuple[Row, ...]:
    """The row in pieces that end at the edges [monotonic ns] inside it: UTC hours and grid slots.

    Energy, static part and CPU time go by time share with largest remainder (method: E5), so the pieces sum to the
    row; what is unknown stays unknown. An edge outside the row cuts nothing.
    """
    inside = sorted({edge for edge in edges_ns if row.start_ns < edge < row.end_ns})
    if not inside:
        return (row,)
    starts, ends = [row.start_ns, *inside], [*inside, row.end_ns]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    # Static and dynamic are split apart: each piece then has static <= energy whatever is rounded.
    statics = _split(row.static_uj, lengths)
    dynamics = _split(None if row.energy_uj is None else row.energy_uj - (row.static_uj or 0), lengths)
    busy = _split(row.busy_ns, lengths)
    return tuple(
        replace(
            row,
            start_ns=start,
            end_ns=end,
            energy_uj=None if dynamic is None or static is None else static + dynamic,
            static_uj=static,
            busy_ns=busy_ns,
        )
        for start, end, static, dynamic, busy_ns in zip(starts, ends, statics, dynamics, busy, strict=True)
    )


def _split(total: int | None, lengths: Sequence[int]) -> Sequence[int | None]:
    return [None] * len(lengths) if total is None else apportion_list(total, lengths)
