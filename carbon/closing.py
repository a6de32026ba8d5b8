"""The sums of one close of a device that is settled by spans."""

from collections.abc import Iterable, Sequence

from greenserve.carbon.closed import Closed, DeviceClosed, Settled
from greenserve.carbon.running import Running
from greenserve.carbon.settlement import estimated_tier
from greenserve.records import TIERS, Interval, Tier


class Pools:
    """State: sums of metered and static energy and of the pools [uJ], and time between intervals [ns]; the settler
    adds to `background_uj`, `idle_uj`, `foreign_uj` and `gap_uj` itself."""

    def __init__(self, device: str, pending_before_uj: int) -> None:
        self._device, self._pending_before_uj = device, pending_before_uj
        self._metered_uj = self._static_uj = self._unmetered_ns = self.intervals = 0
        self._start_ns: int | None = None
        self._tiers: set[Tier] = set()
        self._sources: set[str] = set()
        self.background_uj = self.idle_uj = self.foreign_uj = self.gap_uj = 0

    def took(self, intervals: Sequence[Interval], before: Interval | None, *, gap: bool) -> None:
        """Count intervals that join, and the hole between them and the one before."""
        first = intervals[0]
        if self._start_ns is None:
            self._start_ns = first.start_ns
        if before is not None:
            self._unmetered_ns += first.start_ns - before.end_ns
        self.intervals += len(intervals)
        self._metered_uj += sum(interval.energy_uj for interval in intervals)
        self._static_uj += sum(interval.static_uj for interval in intervals)
        self._tiers |= {estimated_tier(interval.tier) if gap else interval.tier for interval in intervals}
        self._sources |= {interval.source for interval in intervals}

    def closed(self, done: Iterable[Running], pending_uj: int, last: Interval) -> Closed:
        """Settle the spans that are done; `pending_uj` holds theirs too, `last` is the last processed interval."""
        settled: list[Settled] = []
        unmetered: list[tuple[str, str]] = []
        load_uj = over_uj = 0
        for running in done:
            over_uj += running.over_attributed_uj
            if running.pool is not None:
                load_uj += running.energy_uj
            elif running.tier is None:
                unmetered += [(member.request_id, running.work.span_id) for member in running.members]
            else:
                settled += running.settled(running.tier)
        active_uj = sum(one.active_uj for one in settled if one.charged)
        held_uj = sum(one.held_uj for one in settled if one.charged)
        waste_uj = sum(one.active_uj + one.held_uj for one in settled if not one.charged)
        device = DeviceClosed(
            device=self._device,
            start_ns=last.end_ns if self._start_ns is None else self._start_ns,
            end_ns=last.end_ns,
            intervals=self.intervals,
            metered_uj=self._metered_uj,
            static_uj=self._static_uj,
            active_uj=active_uj,
            held_uj=held_uj,
            host_uj=0,
            idle_uj=self.idle_uj,
            waste_uj=waste_uj,
            background_uj=self.background_uj,
            foreign_uj=self.foreign_uj,
            gap_uj=self.gap_uj,
            pending_before_uj=self._pending_before_uj,
            pending_after_uj=pending_uj - active_uj - held_uj - waste_uj - load_uj,
            unmetered_ns=self._unmetered_ns,
            tier=max(self._tiers or {last.tier}, key=TIERS.index),
            source="; ".join(sorted(self._sources or {last.source})),
            load_uj=load_uj,
            over_attributed_uj=over_uj,
        )
        return Closed(settled=tuple(settled), device=device, unmetered_parts=tuple(unmetered))
