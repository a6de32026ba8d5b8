"""Settle batches, and the requests in them, on a device whose counter sees no single batch (method: E4, E6, E8)."""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from greenserve.carbon.attribution import Sensor, WorkSpan, span_weight, split_dynamic, split_held
from greenserve.carbon.closed import Closed
from greenserve.carbon.closing import Pools
from greenserve.carbon.members import Member
from greenserve.carbon.running import Block, Running
from greenserve.carbon.settlement import METER_GAP, estimated_tier
from greenserve.carbon.theta import PRIOR, Learner, Part, Theta
from greenserve.records import TIERS, Interval, Tier
from greenserve.units import NS_PER_S

BLOCK_NS = 10 * NS_PER_S
"""How much time is shared at once where the sensor sees only a part of it, so that the parts stand for the whole
(decision 0019)."""
LATE_NS = 10 * NS_PER_S
"""How long a processed interval keeps what it left in background and idle for a span that comes late."""
FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpan:
    """A batch with its members, or work of the platform (`pool`: start, model load, warm-up, probes) without any."""

    work: WorkSpan
    members: tuple[Member, ...] = ()
    pool: Literal["load"] | None = None

    def __post_init__(self) -> None:
        if bool(self.members) == (self.pool is not None):
            raise ValueError(f"a span has members or belongs to a pool, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metered:
    interval: Interval
    gap: bool
    foreign: bool
    slot_us: int


class SpanSettler:
    """Settles the spans of one device against its intervals, in the order of time.

    State, changed by the public methods alone: `_waiting`, spans by start that no processed window has reached;
    `_active`, spans that receive energy; `_queue`, intervals not yet processed; `_gathered`, intervals of a sensor
    that sees a part of the time, until they make a block; `_blocks`, processed ones that late spans may still claim
    from; `_done`, spans that were settled between two closes; `_pending_uj`, what all of these hold; `_processed_ns`,
    `_window_ns`, the end of the last processed interval and of its window. `first_theta` is the model as it began,
    which `new_thetas` never tells.
    """

    def __init__(self, device: str, *, learner: Learner, sensor: Sensor | None = None, late_ns: int = LATE_NS) -> None:
        self._device, self._learner, self._sensor, self._late_ns = device, learner, sensor or Sensor(), late_ns
        self._waiting: list[tuple[int, str, Running]] = []
        self._active: dict[str, Running] = {}
        self._known: set[str] = set()
        self._queue: deque[_Metered] = deque()
        self._gathered: list[_Metered] = []
        self._blocks: deque[Block] = deque()
        self._done: list[Running] = []
        self._pending_uj = 0
        self._last: Interval | None = None
        self._window_ns: int | None = None
        self._thetas: list[Theta] = []
        self.first_theta = learner.published

    def __repr__(self) -> str:
        return f"<SpanSettler of {self._device}: {len(self._known)} spans, {len(self._queue)} intervals open>"

    def add_span(self, span: DeviceSpan) -> None:
        """Take a span, once. One that comes after its intervals takes what they left, up to what is expected of it."""
        work = span.work
        if work.span_id in self._known:
            raise ValueError(f"span {work.span_id} is already waiting on {self._device}; a batch runs once")
        self._known.add(work.span_id)
        self._learner.saw(work.work_class, work.busy_ns, work.work)
        running = Running(work, span.members, span.pool)
        if self._window_ns is None or work.start_ns >= self._window_ns:
            heapq.heappush(self._waiting, (work.start_ns, work.span_id, running))
            return
        self._claim(running)
        if work.end_ns <= self._window_ns:
            self._done.append(running)
        else:
            self._active[work.span_id] = running

    def add_interval(
        self, interval: Interval, *, gap: bool = False, foreign: bool = False, slot_us: int | None = None
    ) -> None:
        """Take an interval of the meter: `gap` where its energy is an estimate over a hole of the meter, `foreign`
        where another process was on the device; `slot_us` is the grid slot in which it lies [us UTC] (cut it with
        `slots.cut_interval` first)."""
        last = (
            self._queue[-1].interval if self._queue else self._gathered[-1].interval if self._gathered else self._last
        )
        if interval.device != self._device or (last is not None and interval.start_ns < last.end_ns):
            raise ValueError(
                f"needs intervals of {self._device} that begin at or after {last.end_ns if last else None} ns, "
                f"got {interval!r}"
            )
        self._queue.append(_Metered(interval=interval, gap=gap, foreign=foreign, slot_us=slot_us or 0))

    def close(self, up_to_ns: int) -> Closed | None:
        """Process the intervals that end by `up_to_ns` [monotonic ns]; None where there is none, or no whole block."""
        pools = Pools(self._device, self._pending_uj)
        while self._queue and self._queue[0].interval.end_ns <= up_to_ns:
            self._gather(self._queue.popleft(), pools)
        return self._closed(pools) if pools.intervals else None

    def finish(self) -> Closed | None:
        """Process all that is left and settle every span; None where nothing is open or no interval ever came."""
        pools = Pools(self._device, self._pending_uj)
        while self._queue:
            self._gather(self._queue.popleft(), pools)
        self._process(pools)
        if self._last is None or not (pools.intervals or self._known or self._blocks):
            return None
        self._release(None, pools)
        self._done += [*self._active.values(), *(running for _, _, running in self._waiting)]
        self._active.clear()
        self._waiting.clear()
        return self._closed(pools)

    def new_thetas(self) -> list[Theta]:
        """The versions of the model that were published since the last call, each to be recorded before its use."""
        thetas, self._thetas = self._thetas, []
        return thetas

    def _gather(self, metered: _Metered, pools: Pools) -> None:
        """A block ends where the sensor saw enough, and wherever the evidence, the slot or the time breaks off."""
        first = self._gathered[0] if self._gathered else None
        if first is not None and (
            (first.gap, first.foreign, first.slot_us, first.interval.tier, first.interval.source)
            != (metered.gap, metered.foreign, metered.slot_us, metered.interval.tier, metered.interval.source)
            or self._gathered[-1].interval.end_ns != metered.interval.start_ns
        ):
            self._process(pools)
            first = None
        self._gathered.append(metered)
        start_ns = (first or metered).interval.start_ns
        if self._sensor.whole or metered.interval.end_ns - start_ns >= BLOCK_NS:
            self._process(pools)

    def _process(self, pools: Pools) -> None:
        """Learn from the gathered intervals one by one, then share them as one."""
        if not self._gathered:
            return
        first, last = self._gathered[0].interval, self._gathered[-1].interval
        window = self._sensor.window(first.start_ns, last.end_ns)
        while self._waiting and self._waiting[0][0] < window.end_ns:
            _, span_id, running = heapq.heappop(self._waiting)
            self._active[span_id] = running
        reached = [self._active[span_id] for span_id in sorted(self._active)]
        for metered in self._gathered:
            if not (metered.gap or metered.foreign):
                self._learn(metered.interval, reached)
        pools.took([metered.interval for metered in self._gathered], self._last, gap=self._gathered[0].gap)
        block = Block(
            window=window,
            dynamic_uj=sum(one.interval.energy_uj - one.interval.static_uj for one in self._gathered),
            static_uj=sum(one.interval.static_uj for one in self._gathered),
            tier=estimated_tier(first.tier) if self._gathered[0].gap else first.tier,
            slot_us=self._gathered[0].slot_us,
        )
        self._share(block, reached, self._gathered[0], pools)
        self._last, self._window_ns, self._gathered = last, window.end_ns, []
        for running in reached:
            if running.work.end_ns <= window.end_ns:
                del self._active[running.work.span_id]
                self._done.append(running)
        self._release(window.end_ns - self._late_ns, pools)
        theta = self._learner.step(last.end_ns)
        if theta is not None:
            self._thetas.append(theta)

    def _learn(self, interval: Interval, reached: Iterable[Running]) -> None:
        seen = self._sensor.observed(interval.start_ns, interval.end_ns)
        parts = [
            Part(work.work_class, work.busy_ns, work.work, seen.overlap_ns(work.start_ns, work.end_ns))
            for work in (running.work for running in reached)
        ]
        length_ns = interval.end_ns - interval.start_ns
        self._learner.observe(interval.energy_uj - interval.static_uj, length_ns, parts, seen.end_ns - seen.start_ns)

    def _share(self, block: Block, reached: list[Running], first: _Metered, pools: Pools) -> None:
        """E4 and the held rule; what nobody takes is kept for late spans or goes to a pool."""
        overlaps = [(one, block.window.overlap_ns(one.work.start_ns, one.work.end_ns)) for one in reached]
        touched = [(one, overlap_ns) for one, overlap_ns in overlaps if overlap_ns]
        theta = self._learner.published
        weights = [span_weight(one.expected_uj(theta), overlap, one.work.busy_ns) for one, overlap in touched]
        split = split_dynamic(block.dynamic_uj, weights, foreign=first.foreign, gap=first.gap)
        occupied = [one.work.share_milli * overlap for one, overlap in touched]
        held, idle_uj = split_held(block.static_uj, block.window.end_ns - block.window.start_ns, occupied)
        flags, tier = self._evidence(block, [one for one, _ in touched], first, theta)
        for (one, overlap_ns), active_uj, held_uj in zip(touched, split.spans, held, strict=True):
            one.receive(block, active_uj, held_uj, overlap_ns)
            one.tier = max(one.tier or tier, tier, key=TIERS.index)
            one.flags |= flags
        self._pending_uj += sum(split.spans) + sum(held)
        pools.foreign_uj += split.foreign_uj
        if first.gap:
            pools.gap_uj += split.gap_uj + idle_uj
        else:
            block.background_uj, block.idle_uj = split.background_uj, idle_uj
            self._pending_uj += split.background_uj + idle_uj
            self._blocks.append(block)

    def _evidence(self, block: Block, touched: list[Running], first: _Metered, theta: Theta) -> tuple[set[str], Tier]:
        """What spans that share an interval must say of it: theta matters only where classes share."""
        classes = {one.work.work_class for one in touched}
        flags = {flag for name in classes for flag in theta.of(name).flags} if len(classes) > 1 else set()
        tier = estimated_tier(block.tier) if PRIOR in flags else block.tier
        flags |= {METER_GAP} if first.gap else set()
        return flags | ({FOREIGN} if first.foreign else set()), tier

    def _claim(self, running: Running) -> None:
        """A late span takes at most what is expected of it from what its intervals left."""
        work, theta = running.work, self._learner.published
        assert self._window_ns is not None
        expected_uj = running.expected_uj(theta)
        due = span_weight(expected_uj, min(work.end_ns, self._window_ns) - work.start_ns, work.busy_ns)
        for block in self._blocks:
            overlap_ns = block.window.overlap_ns(work.start_ns, work.end_ns)
            if overlap_ns:
                wanted = min(span_weight(expected_uj, overlap_ns, work.busy_ns), due - running.active_uj)
                active_uj, held_uj = block.claim(wanted, work.share_milli * overlap_ns)
                running.receive(block, active_uj, held_uj, overlap_ns)
                running.tier = max(running.tier or block.tier, block.tier, key=TIERS.index)
        running.flags.add("late")
        running.over_attributed_uj = due - running.active_uj
        if running.over_attributed_uj:
            running.tier = estimated_tier(running.tier or "modelled")

    def _release(self, up_to_ns: int | None, pools: Pools) -> None:
        """Blocks that no late span may claim from any more go to background and idle."""
        while self._blocks and (up_to_ns is None or self._blocks[0].window.end_ns <= up_to_ns):
            block = self._blocks.popleft()
            pools.background_uj += block.background_uj
            pools.idle_uj += block.idle_uj
            self._pending_uj -= block.background_uj + block.idle_uj

    def _closed(self, pools: Pools) -> Closed:
        done, self._done = sorted(self._done, key=lambda one: one.work.span_id), []
        self._known.difference_update(one.work.span_id for one in done)
        assert self._last is not None
        closed = pools.closed(done, self._pending_uj, self._last)
        self._pending_uj = closed.device.pending_after_uj
        return closed
