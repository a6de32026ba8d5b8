"""All devices of a node in one account: requests that ran on several, batches that wait for their members.

A request's energy is written once, when each of its devices has spoken; until then its parts are pending on their
devices, so that every interval of every device closes to the microjoule with the lines written beside it
(decision 0030).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from greenserve.carbon.attribution import Sensor, WorkSpan
from greenserve.carbon.closed import Closed, DeviceClosed, Settled
from greenserve.carbon.gathering import Gatherer, PartName, Whole
from greenserve.carbon.intervals import Row
from greenserve.carbon.members import Member
from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.carbon.span_settlement import FOREIGN, DeviceSpan, SpanSettler
from greenserve.carbon.theta import FORGETTING, PARTIAL_FORGETTING, ClassPower, Learner, Theta
from greenserve.units import MILLI, NS_PER_S

FORGET_NS = 600 * NS_PER_S
"""How long after a batch a line of it may come and still be told from a batch that never was."""
UNKNOWN_LIMIT_MW = 200_000
"""What a board of unknown power limit is taken to be allowed [mW]: it only weighs classes that are not learned yet."""
UNRECORDED = "!"

BatchName = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round settled, to be written in one group: versions of models first, then lines, then intervals.

    `settled` are requests of the CPU alone, `wholes` those of several devices, `unmetered` those that no meter saw.
    """

    thetas: tuple[Theta, ...]
    settled: tuple[Settled, ...]
    wholes: tuple[Whole, ...]
    unmetered: tuple[str, ...]
    intervals: tuple[DeviceClosed, ...]


class _Batch:
    """A batch and the members whose lines have come: request to (weight [1/10^9], charged, edges of slots [ns])."""

    __slots__ = ("members", "missing_ppb", "work")

    def __init__(self, work: WorkSpan) -> None:
        self.work = work
        self.members: dict[str, tuple[int, bool, tuple[int, ...]]] = {}
        self.missing_ppb = WHOLE_PPB

    def claim(self, request_id: str, weight_ppb: int, charged: bool, edges_ns: tuple[int, ...]) -> None:
        before_ppb = self.members[request_id][0] if request_id in self.members else 0
        self.members[request_id] = (before_ppb + weight_ppb, charged, edges_ns)
        self.missing_ppb -= weight_ppb

    def span(self) -> DeviceSpan:
        """The batch for settlement; rows without a line (their requests failed, or their replica died) are a member
        of their own."""
        members = [
            Member(request_id=name, weight=weight, charged=charged, edges_ns=edges_ns)
            for name, (weight, charged, edges_ns) in self.members.items()
        ]
        if self.missing_ppb > 0:
            rest = self.missing_ppb
            members.append(Member(request_id=f"{UNRECORDED}{self.work.span_id}", weight=rest, charged=False))
        return DeviceSpan(work=self.work, members=tuple(members))


class NodeAccounts:
    """The settlers of the boards, and what lies between the devices.

    State, changed by the public methods alone: `_open`, batches not yet given to their settler; `_given`, when given
    ones ended; `_waiting`, requests of several devices that are not written yet; `_ready`, those of them whose parts
    are known; `_held`, by device the parts of waiting requests; `_last`, each device's last close; `_told`, the
    boards whose first model was handed out; `_settled_ns`, up to when boards were closed.
    """

    def __init__(self, *, cpu: str, boards: Mapping[str, SpanSettler], names: Mapping[str, str] | None = None) -> None:
        """`cpu` is the device that is settled by CPU time, `names` maps engines' names of devices to boards."""
        self._cpu, self._boards, self._names = cpu, dict(boards), dict(names or {})
        self._gatherer = Gatherer()
        self._open: dict[BatchName, _Batch] = {}
        self._given: dict[BatchName, int] = {}
        self._waiting: set[str] = set()
        self._ready: list[Whole] = []
        self._held: dict[str, dict[PartName, dict[str, Settled]]] = {}
        self._last: dict[str, DeviceClosed] = {}
        self._told: set[str] = set()
        self._settled_ns = 0

    def __repr__(self) -> str:
        return f"<NodeAccounts of {len(self._boards)} boards: {len(self._waiting)} requests wait for a device>"

    @property
    def boards(self) -> tuple[str, ...]:
        """The devices that are settled by spans."""
        return tuple(self._boards)

    @property
    def waiting(self) -> int:
        """How many requests of several devices are not written yet."""
        return len(self._waiting)

    def add_request(
        self, request_id: str, shares: Iterable[SpanShare], *, charged: bool, edges_ns: tuple[int, ...] = ()
    ) -> None:
        """Take a request that ran in batches on boards; its CPU part is given to the CPU's settler beside this. A run
        that crosses grid slots is cut at `edges_ns` [monotonic ns].

        A part on a device that nobody meters, or of a batch that was settled without it, is missing: the request's
        energy is then a lower bound.
        """
        parts, missed = {PartName(device=self._cpu)}, set()
        for share in shares:
            device = self._names.get(share.device, share.device)
            name, part = (device, share.batch_id), PartName(device=device, span_id=share.batch_id)
            parts.add(part)
            batch = self._open.get(name)
            forgotten = name in self._given or share.end_ns <= self._settled_ns - FORGET_NS
            if device not in self._boards or forgotten or (batch and share.weight_ppb > batch.missing_ppb):
                missed.add(part)
                continue
            if batch is None:
                batch = self._open[name] = _Batch(share.work_span())
            batch.claim(request_id, share.weight_ppb, charged, edges_ns)
            if not batch.missing_ppb:
                self._give(name)
        self._waiting.add(request_id)
        self._gatherer.expect(request_id, parts)
        for part in sorted(missed):
            self._gatherer.miss(request_id, part)

    def add_rows(self, device: str, rows: Iterable[Row]) -> None:
        """Take a board's rows; the time of one whose energy is not known stays without an interval."""
        settler = self._boards[device]
        for row in rows:
            interval = row.interval
            if interval is not None:
                settler.add_interval(interval, gap=row.is_gap, foreign=FOREIGN in row.flags)

    def settle(self, cpu: Closed | None, up_to_ns: int) -> Round:
        """Close the boards up to a monotonic time [ns] beside the CPU's close, and say what is to be written.

        A request is written in a round in which all of its devices close. Batches that ended by `up_to_ns` are
        settled with the members that have come.
        """
        for name in [name for name, batch in self._open.items() if batch.work.end_ns <= up_to_ns]:
            self._give(name)
        self._given = {name: end_ns for name, end_ns in self._given.items() if end_ns > up_to_ns - FORGET_NS}
        self._settled_ns = up_to_ns
        closes = [settler.close(up_to_ns) for settler in self._boards.values()]
        return self._round([cpu, *closes], last=False)

    def alone(self, cpu: Closed) -> Round:
        """A close of the CPU while nothing waits for a board."""
        return Round(thetas=(), settled=cpu.settled, wholes=(), unmetered=cpu.unmetered, intervals=(cpu.device,))

    def finish(self, cpu: Closed | None) -> Round:
        """Settle all that is left beside the CPU's last close; a part that never came is missing."""
        for name in list(self._open):
            self._give(name)
        return self._round([cpu, *(settler.finish() for settler in self._boards.values())], last=True)

    def _give(self, name: BatchName) -> None:
        batch = self._open.pop(name)
        self._given[name] = batch.work.end_ns
        self._boards[name[0]].add_span(batch.span())

    def _round(self, closes: Sequence[Closed | None], *, last: bool) -> Round:
        before_uj = {device: self._held_uj(device) for device in (self._cpu, *self._boards)}
        closed = {close.device.device: close for close in closes if close is not None}
        direct: list[Settled] = []
        unmetered: list[str] = []
        strays_uj: dict[str, int] = {}
        for device, close in closed.items():
            own = [one for one in close.settled if one.request_id in self._waiting]
            others = [one for one in close.settled if one.request_id not in self._waiting]
            if device == self._cpu:
                direct += others
                unmetered += [name for name in close.unmetered if name not in self._waiting]
            else:
                strays_uj[device] = sum(map(_energy_uj, others))
            self._hold(device, own)
            missing = tuple(name for name in close.unmetered if name in self._waiting)
            parts = tuple(part for part in close.unmetered_parts if part[0] in self._waiting)
            of_waiting = replace(close, settled=tuple(own), unmetered=missing, unmetered_parts=parts)
            self._ready += self._gatherer.take(of_waiting)
        if last:
            self._ready += [self._gatherer.give_up(name) for name in self._gatherer.waiting()]
        wholes, released = self._release(set(closed), last)
        intervals = []
        for device, was_uj in before_uj.items():
            base = closed[device].device if device in closed else None
            if base is None and released.get(device):
                base = _empty(self._last[device])
            if base is not None:
                base_settled = [*released.get(device, ()), *(direct if device == self._cpu else ())]
                intervals.append(self._closed(base, base_settled, was_uj, strays_uj.get(device, 0)))
        self._last |= {interval.device: interval for interval in intervals}
        return Round(
            thetas=self._thetas(wholes),
            settled=tuple(direct),
            wholes=tuple(whole for whole in wholes if whole.parts),
            unmetered=(*unmetered, *(whole.request_id for whole in wholes if not whole.parts)),
            intervals=tuple(intervals),
        )

    def _hold(self, device: str, parts: Iterable[Settled]) -> None:
        held = self._held.setdefault(device, {})
        for one in parts:
            name = PartName(device=device, span_id=one.span_id or "")
            held.setdefault(name, {})[one.request_id] = one

    def _held_uj(self, device: str) -> int:
        return sum(_energy_uj(one) for ones in self._held.get(device, {}).values() for one in ones.values())

    def _release(self, closing: set[str], last: bool) -> tuple[list[Whole], dict[str, list[Settled]]]:
        """The requests that are written now, and their parts by device."""
        wholes, released = [], dict[str, list[Settled]]()
        for whole in self._ready:
            if last or closing.issuperset(name.device for name, _ in whole.parts):
                wholes.append(whole)
        done = {whole.request_id for whole in wholes}
        self._ready = [whole for whole in self._ready if whole.request_id not in done]
        self._waiting -= done
        for whole in wholes:
            for name, _ in whole.parts:
                held = self._held[name.device]
                released.setdefault(name.device, []).append(held[name].pop(whole.request_id))
                if not held[name]:
                    del held[name]
        return wholes, released

    def _closed(self, base: DeviceClosed, settled: Sequence[Settled], was_uj: int, strays_uj: int) -> DeviceClosed:
        """A settler's close as the ledger sees it: what waits for another device is pending, and what ran for no line
        is background, since a line must stand behind every part that was settled."""
        charged = [one for one in settled if one.charged]
        return replace(
            base,
            active_uj=sum(one.active_uj for one in charged),
            held_uj=sum(one.held_uj for one in charged),
            host_uj=sum(one.host_uj for one in charged),
            waste_uj=sum(_energy_uj(one) for one in settled if not one.charged),
            background_uj=base.background_uj + strays_uj,
            pending_before_uj=base.pending_before_uj + was_uj,
            pending_after_uj=base.pending_after_uj + self._held_uj(base.device),
        )

    def _thetas(self, wholes: Sequence[Whole]) -> tuple[Theta, ...]:
        """Each board's versions since the last round, the prior one as soon as something is settled by it."""
        thetas = []
        used = {name.device for whole in wholes for name, part in whole.parts if part.theta is not None}
        for device, settler in self._boards.items():
            new = settler.new_thetas()
            if device not in self._told and (new or device in used):
                self._told.add(device)
                thetas.append(settler.first_theta)
            thetas += new
        return tuple(thetas)


def board_settler(device: str, described: Mapping[str, object]) -> SpanSettler:
    """The settler of a board from what its meter says about itself: the sensor counts where a probe found it."""
    limit_mw, lag_ns, share = (described.get(name) for name in ("power_limit_mw", "lag_ns", "observed_share_milli"))
    sensor = Sensor()
    if described.get("tier") == "measured" and isinstance(lag_ns, int) and isinstance(share, int):
        sensor = Sensor(lag_ns=lag_ns, observed_milli=min(MILLI, share))
    default = ClassPower(busy_mw=(limit_mw if isinstance(limit_mw, int) else UNKNOWN_LIMIT_MW) // 2, work_mw=0)
    forgetting = FORGETTING if sensor.whole else PARTIAL_FORGETTING
    return SpanSettler(
        device, learner=Learner(device, priors={}, default=default, forgetting=forgetting), sensor=sensor
    )


def _energy_uj(one: Settled) -> int:
    return one.active_uj + one.held_uj + one.host_uj


def _empty(last: DeviceClosed) -> DeviceClosed:
    """A stretch without time or energy behind the last one: only what was pending finds its place in it."""
    return DeviceClosed(
        device=last.device,
        start_ns=last.end_ns,
        end_ns=last.end_ns,
        intervals=0,
        metered_uj=0,
        static_uj=0,
        active_uj=0,
        held_uj=0,
        host_uj=0,
        idle_uj=0,
        waste_uj=0,
        background_uj=0,
        foreign_uj=0,
        gap_uj=0,
        pending_before_uj=0,
        pending_after_uj=0,
        unmetered_ns=0,
        tier=last.tier,
        source=last.source,
    )
