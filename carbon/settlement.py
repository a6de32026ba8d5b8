"""Settle requests against what the meter measured: every microjoule of an interval goes to exactly one place."""

import heapq
from collections import deque
from typing import Literal

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.closed import Closed, DeviceClosed, Settled
from greenserve.carbon.cuts import cut_amounts
from greenserve.record import record
from greenserve.records import TIERS, Interval, Tier

__all__ = ["METER_GAP", "Closed", "DeviceClosed", "Pending", "Settled", "Settler", "estimated_tier"]
METER_GAP = "meter_gap"


@record(frozen=True, slots=True, kw_only=True)
class Pending:
    """A request that waits for the meter: its window [start_ns, end_ns), monotonic [ns], and its weights.

    `cpu_ns` and `host_cpu_ns` [ns] are its own parts of the engine's and the host's CPU time; `held_ns` [ns] is its
    time on the device, counted as time on the whole device. What was not `charged` (lost, re-run) becomes waste.
    A run that crosses grid slots is cut at `edges_ns` [monotonic ns]. With `pool` it is no request but work of the
    platform (start, model load, warm-up, probes): its energy goes to that pool and is settled with nobody.
    """

    request_id: str
    start_ns: int
    end_ns: int
    cpu_ns: int
    host_cpu_ns: int
    held_ns: int
    charged: bool = True
    pool: Literal["load"] | None = None
    edges_ns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns or min(self.cpu_ns, self.host_cpu_ns, self.held_ns) < 0:
            raise ValueError(f"a request ends after it starts and its weights are >= 0, got {self!r}")


class _Open:
    """A request on its way: what of its weights was spent [ns] and what energy it received [uJ] so far."""

    def __init__(self, request: Pending, *, late: bool) -> None:
        self.request = request
        self.late = late
        self.cpu_spent = self.host_spent = self.held_spent = 0
        self.active_uj = self.host_uj = self.held_uj = 0
        self.covered_ns = 0
        self.tier: Tier | None = None
        self.flags = {"late"} if late else set()
        self.pieces = [[0, 0, 0] for _ in range(len(request.edges_ns) + 1)] if request.edges_ns else []

    def spend(self, interval: Interval) -> tuple[int, int, int]:
        """The weights (engine CPU, host CPU, held) that fall into the interval; over all intervals they sum exactly."""
        request = self.request
        if self.late or (interval.start_ns <= request.start_ns and request.end_ns <= interval.end_ns):
            self.covered_ns = request.end_ns - request.start_ns
            self.cpu_spent, self.host_spent, self.held_spent = request.cpu_ns, request.host_cpu_ns, request.held_ns
            return request.cpu_ns, request.host_cpu_ns, request.held_ns
        length_ns = request.end_ns - request.start_ns
        first_ns = max(request.start_ns, interval.start_ns) - request.start_ns
        last_ns = min(request.end_ns, interval.end_ns) - request.start_ns
        self.covered_ns += last_ns - first_ns
        cpu = _part(request.cpu_ns, first_ns, last_ns, length_ns, self.cpu_spent)
        host = _part(request.host_cpu_ns, first_ns, last_ns, length_ns, self.host_spent)
        held = _part(request.held_ns, first_ns, last_ns, length_ns, self.held_spent)
        self.cpu_spent += cpu
        self.host_spent += host
        self.held_spent += held
        return cpu, host, held

    def cut(self, interval: Interval) -> None:
        """Lay what the interval brought into the pieces of the run, by the time that each has in it."""
        request = self.request
        first_ns, last_ns = max(request.start_ns, interval.start_ns), min(request.end_ns, interval.end_ns)
        if self.late or last_ns <= first_ns:
            first_ns, last_ns = request.start_ns, request.end_ns
        parts = (self.active_uj, self.held_uj, self.host_uj)
        active_uj, held_uj, host_uj = (
            part - sum(one[place] for one in self.pieces) for place, part in enumerate(parts)
        )
        for piece, more in zip(
            self.pieces, cut_amounts((active_uj, held_uj, host_uj), first_ns, last_ns, request.edges_ns), strict=True
        ):
            piece[:] = [before + added for before, added in zip(piece, more, strict=True)]


class _Pools:
    """Sums of one close: intervals, metered and static [uJ], pools [uJ], time between intervals [ns]; who is done."""

    def __init__(self, start_ns: int, pending_before_uj: int) -> None:
        self.start_ns = start_ns
        self.pending_before_uj = pending_before_uj
        self.intervals = self.metered_uj = self.static_uj = 0
        self.idle_uj = self.background_uj = self.foreign_uj = self.gap_uj = 0
        self.metering_uj: int | None = None
        self.unmetered_ns = 0
        self.done: list[_Open] = []
        self.tiers: set[Tier] = set()
        self.sources: set[str] = set()


class Settler:
    """Settles the requests of one device against its intervals, in the order of time.

    State, changed by the public methods alone: `_waiting`, requests by start whose window no processed interval has
    reached; `_active`, requests that receive energy; `_queue`, intervals not yet processed; `_processed_ns`, the end
    of the last processed one; `_tier` and `_source`, its evidence; `_pending_uj`, what active requests received.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._waiting: list[tuple[int, str, _Open]] = []
        self._active: dict[str, _Open] = {}
        self._known: set[str] = set()
        self._queue: deque[tuple[Interval, int, bool, int | None]] = deque()
        self._processed_ns: int | None = None
        self._tier: Tier | None = None
        self._source = ""
        self._pending_uj = 0

    def __repr__(self) -> str:
        return f"<Settler of {self._device}: {len(self._known)} requests, {len(self._queue)} intervals open>"

    def add_request(self, pending: Pending) -> None:
        """Take a request to settle. One id at a time: parts of one request are added up before they come here."""
        if pending.request_id in self._known:
            raise ValueError(f"request {pending.request_id} is already waiting; add up its parts and give it once")
        self._known.add(pending.request_id)
        late = self._processed_ns is not None and pending.start_ns < self._processed_ns
        opened = _Open(pending, late=late)
        if late:
            self._active[pending.request_id] = opened
        else:
            heapq.heappush(self._waiting, (pending.start_ns, pending.request_id, opened))

    def add_interval(
        self, interval: Interval, own_busy_ns: int, *, gap: bool = False, metering_ns: int | None = None
    ) -> None:
        """Take an interval of the meter and the CPU time [ns] that our own processes used in it, of which reading the
        meters used `metering_ns` (None: not told apart).

        `gap` says that its energy is an estimate over a hole of the meter: requests share it by their weights, and
        what they leave is `gap`, not background or idle.
        """
        last_ns = self._queue[-1][0].end_ns if self._queue else self._processed_ns
        if interval.device != self._device or own_busy_ns < 0 or (last_ns is not None and interval.start_ns < last_ns):
            raise ValueError(
                f"needs intervals of {self._device} that begin at or after {last_ns} ns and CPU time >= 0, "
                f"got {own_busy_ns} ns in {interval!r}"
            )
        self._queue.append((interval, own_busy_ns, gap, metering_ns))

    def close(self, up_to_ns: int) -> Closed | None:
        """Process the intervals that end by `up_to_ns` [monotonic ns]; None where there is none."""
        if not self._queue or self._queue[0][0].end_ns > up_to_ns:
            return None
        pools = self._pools()
        while self._queue and self._queue[0][0].end_ns <= up_to_ns:
            self._process(*self._queue.popleft(), pools)
        return self._closed(pools)

    def finish(self) -> Closed | None:
        """Process all that is left, and settle every request: what no interval covers is flagged or unmetered.

        None where nothing is open, and where no interval ever came: the requests then stay as they are.
        """
        if not self._queue and (not self._known or self._tier is None):
            return None
        pools = self._pools()
        while self._queue:
            self._process(*self._queue.popleft(), pools)
        pools.done += self._active.values()
        pools.done += [opened for _, _, opened in self._waiting]
        self._active.clear()
        self._waiting.clear()
        return self._closed(pools)

    def _pools(self) -> _Pools:
        start_ns = self._queue[0][0].start_ns if self._queue else self._processed_ns
        assert start_ns is not None
        return _Pools(start_ns, self._pending_uj)

    def _process(self, interval: Interval, own_busy_ns: int, gap: bool, metering_ns: int | None, pools: _Pools) -> None:
        if self._processed_ns is not None:
            pools.unmetered_ns += interval.start_ns - self._processed_ns
        while self._waiting and self._waiting[0][0] < interval.end_ns:
            _, request_id, opened = heapq.heappop(self._waiting)
            self._active[request_id] = opened
        # Each of them starts before the interval ends; by id, so that the order of arrival changes nothing.
        reached = [self._active[request_id] for request_id in sorted(self._active)]
        touched = [opened for opened in reached if _touches(opened, interval)]
        weights = [opened.spend(interval) for opened in touched]
        pools.intervals += 1
        pools.metered_uj += interval.energy_uj
        pools.static_uj += interval.static_uj
        tier = estimated_tier(interval.tier) if gap else interval.tier
        pools.tiers.add(tier)
        pools.sources.add(interval.source)
        unused_uj = self._split_dynamic(interval, own_busy_ns, touched, weights)
        idle_uj = self._split_static(interval, touched, [held for _, _, held in weights])
        if gap:
            pools.gap_uj += sum(unused_uj) + idle_uj
        else:
            pools.background_uj += unused_uj[0]
            if metering_ns is not None:
                pools.metering_uj = (pools.metering_uj or 0) + _part_of(unused_uj[0], metering_ns, own_busy_ns, weights)
            pools.foreign_uj += unused_uj[1]
            pools.idle_uj += idle_uj
        for opened in touched:
            opened.tier = max(opened.tier or tier, tier, key=TIERS.index)
            if gap:
                opened.flags.add(METER_GAP)
            elif interval.busy_ns is None:
                opened.flags.add("foreign_unknown")
            if opened.pieces:
                opened.cut(interval)
        for opened in reached:
            if opened.late or opened.request.end_ns <= interval.end_ns:
                del self._active[opened.request.request_id]
                pools.done.append(opened)
        self._processed_ns = interval.end_ns
        self._tier, self._source = tier, interval.source

    def _split_dynamic(
        self, interval: Interval, own_busy_ns: int, touched: list[_Open], weights: list[tuple[int, int, int]]
    ) -> tuple[int, int]:
        """Dynamic energy by CPU time: to requests, and (background, foreign): our other work, other processes."""
        dynamic_uj = interval.energy_uj - interval.static_uj
        by_part = [part for cpu, host, _ in weights for part in (cpu, host)]
        background = max(0, own_busy_ns - sum(by_part))
        foreign = 0 if interval.busy_ns is None else max(0, interval.busy_ns - own_busy_ns)
        by_part += [background, foreign]
        if not any(by_part):
            return dynamic_uj, 0
        *shares, background_uj, foreign_uj = apportion_list(dynamic_uj, by_part)
        self._pending_uj += dynamic_uj - background_uj - foreign_uj
        for opened, active_uj, host_uj in zip(touched, shares[::2], shares[1::2], strict=True):
            opened.active_uj += active_uj
            opened.host_uj += host_uj
        return background_uj, foreign_uj

    def _split_static(self, interval: Interval, touched: list[_Open], held: list[int]) -> int:
        """Static energy by time held on the device, at most all of it; gives the rest, idle."""
        length_ns = interval.end_ns - interval.start_ns
        occupied = sum(held)
        held_uj = interval.static_uj * min(length_ns, occupied) // length_ns
        self._pending_uj += held_uj
        if occupied:
            for opened, share_uj in zip(touched, apportion_list(held_uj, held), strict=True):
                opened.held_uj += share_uj
        return interval.static_uj - held_uj

    def _closed(self, pools: _Pools) -> Closed:
        settled, unmetered, load_uj = [], [], 0
        for opened in sorted(pools.done, key=lambda opened: opened.request.request_id):
            self._known.remove(opened.request.request_id)
            if opened.request.pool is not None:
                load_uj += opened.active_uj + opened.held_uj + opened.host_uj
            elif opened.tier is None:
                unmetered.append(opened.request.request_id)
            else:
                settled.append(_settled(opened, opened.tier))
        charged = [one for one in settled if one.charged]
        active_uj = sum(one.active_uj for one in charged)
        held_uj = sum(one.held_uj for one in charged)
        host_uj = sum(one.host_uj for one in charged)
        waste_uj = sum(one.active_uj + one.held_uj + one.host_uj for one in settled if not one.charged)
        self._pending_uj -= active_uj + held_uj + host_uj + waste_uj + load_uj
        assert self._processed_ns is not None
        assert self._tier is not None
        device = DeviceClosed(
            device=self._device,
            start_ns=pools.start_ns,
            end_ns=self._processed_ns,
            intervals=pools.intervals,
            metered_uj=pools.metered_uj,
            static_uj=pools.static_uj,
            active_uj=active_uj,
            held_uj=held_uj,
            host_uj=host_uj,
            idle_uj=pools.idle_uj,
            waste_uj=waste_uj,
            background_uj=pools.background_uj,
            foreign_uj=pools.foreign_uj,
            gap_uj=pools.gap_uj,
            pending_before_uj=pools.pending_before_uj,
            pending_after_uj=self._pending_uj,
            unmetered_ns=pools.unmetered_ns,
            tier=max(pools.tiers or {self._tier}, key=TIERS.index),
            source="; ".join(sorted(pools.sources or {self._source})),
            load_uj=load_uj,
            metering_uj=pools.metering_uj,
        )
        return Closed(settled=tuple(settled), device=device, unmetered=tuple(unmetered))


def estimated_tier(tier: Tier) -> Tier:
    """The tier of energy that was estimated from another measurement of this tier: modelled at best."""
    return max(tier, "modelled", key=TIERS.index)


def _part_of(background_uj: int, metering_ns: int, own_busy_ns: int, weights: list[tuple[int, int, int]]) -> int:
    """What reading the meters has of the background [uJ]: by its part of our CPU time that no request used."""
    others_ns = own_busy_ns - sum(cpu + host for cpu, host, _ in weights)
    return background_uj * min(metering_ns, others_ns) // others_ns if others_ns > 0 else 0


def _touches(opened: _Open, interval: Interval) -> bool:
    return opened.late or opened.request.end_ns > interval.start_ns


def _part(weight: int, first_ns: int, last_ns: int, length_ns: int, spent: int) -> int:
    """The part of a weight in [first, last) of its window: at least 1 while some is left, in all the weight itself.

    Differences of rounded-down sums, so that no rounding is lost between intervals that join.
    """
    part = weight * last_ns // length_ns - weight * first_ns // length_ns
    return min(max(part, 1), weight - spent)


def _settled(opened: _Open, tier: Tier) -> Settled:
    length_ns = opened.request.end_ns - opened.request.start_ns
    flags = opened.flags | {"gap"} if opened.covered_ns < length_ns else opened.flags
    return Settled(
        request_id=opened.request.request_id,
        active_uj=opened.active_uj,
        held_uj=opened.held_uj,
        host_uj=opened.host_uj,
        charged=opened.request.charged,
        tier=tier,
        flags=tuple(sorted(flags)),
        cut=tuple((active_uj, held_uj, host_uj) for active_uj, held_uj, host_uj in opened.pieces),
    )
