"""The one writer of a ledger: takes the gateways' spools in, reads the meter, settles requests against it.

Synchronous: the owner calls `step` in a loop (about ten times a second) and `finish` at the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenserve.carbon.cuts import edges_of
from greenserve.carbon.device_entries import device_entry
from greenserve.carbon.entries import Body
from greenserve.carbon.intervals import interval_between, is_restart
from greenserve.carbon.ledger.boards import Boards, Metered, Writer, half_width_of
from greenserve.carbon.ledger.book import PUBLISH_EVERY_US, SqlLedger
from greenserve.carbon.ledger.forms import Known
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.intake import Intake
from greenserve.carbon.ledger.reserving import reservations_to_tell
from greenserve.carbon.ledger.row import Prepared, prepare
from greenserve.carbon.ledger.rows import Placed
from greenserve.carbon.ledger.settled_rows import Written, pending, pending_line, settled_row, unmetered_row, whole_row
from greenserve.carbon.node_accounts import Round
from greenserve.carbon.reservations import Reservation, named
from greenserve.carbon.settlement import Closed, Settler
from greenserve.carbon.shares import SpanShare
from greenserve.errors import LedgerUnavailable, MeterUnavailable
from greenserve.ports import Clock, EnergyMeter
from greenserve.records import Entry, Reading
from greenserve.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is metered: the CPU's meter, the cumulative CPU time [ns] of our processes, this boot and this run, and the
    node's other devices (None: only the CPU is settled, and no meter entries are written). `reservations` say for whom
    parts of the devices are kept; `metering_ns` gives the CPU time [ns] of reading meters since it was asked last."""

    meter: EnergyMeter
    own_cpu: Callable[[], int]
    boot_id: str
    run_id: str
    metered: Metered | None = None
    reservations: tuple[Reservation, ...] = ()
    metering_ns: Callable[[], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the meter is read, how long an interval waits for late requests, how long an idle node's wait [ns]."""

    settle_every_ns: int = NS_PER_S
    grace_ns: int = 2 * NS_PER_S
    idle_every_ns: int = 60 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one step did: new lines, settled requests; requests that wait for the meter; the meter's fault, if any."""

    added: int
    settled: int
    waiting: int
    meter_fault: str | None


class Ingest:
    """The writer. State: requests that wait for the meter, the settler with its queue of intervals, the last reading,
    the boards' accounts, and entries that a failed transaction left to write again. Everything is derived anew from
    the ledger and the spools after a crash; only one may run per ledger."""

    def __init__(
        self,
        *,
        ledger: SqlLedger,
        spool_folder: Path,
        node: Node,
        clock: Clock,
        pace: Pace | None = None,
        written: Callable[[Sequence[Written]], object] | None = None,
    ) -> None:
        """`written` is told of settled requests and intervals once the ledger holds them."""
        self._ledger, self._node, self._clock, self._pace = ledger, node, clock, pace or Pace()
        self._lock, self._written = ledger.lock_writer(), written
        self._open: dict[str, Placed] = {}
        self._unwritten: list[tuple[Prepared, Placed | None]] = []
        self._ends: dict[int, tuple[Reading, int]] = {}
        self._meter_fault: str | None = None
        self._more = False
        try:
            self._epoch = ledger.take_over(f"{node.run_id} of boot {node.boot_id}")
            self._intake = Intake(spool_folder, ledger.cursors())
            self._half_width_pct = half_width_of(node.meter.describe())
            self._reading, self._own_ns = node.meter.read(), node.own_cpu()
            self._device = self._reading.device
            self._settler = Settler(self._device)
            writer = Writer(boot_id=node.boot_id, run_id=node.run_id)
            self._hours = HourCloser(ledger)
            self._boards = Boards(cpu=self._device, writer=writer, metered=node.metered)
            self._measured_ns = self._closed_ns = self._boards_ns = clock.monotonic_ns()
            self._resume()
        except BaseException:
            self._lock.release()
            raise

    def __repr__(self) -> str:
        return f"<Ingest into {self._ledger.path}: {len(self._open)} waiting, {len(self._unwritten)} to write>"

    def step(self) -> Progress:
        """Take in what the spools hold; read the meter and settle where it is time.

        LedgerUnavailable where the ledger fails (nothing is lost, the next step tries again) or a spool is damaged
        (everything else was taken in).
        """
        self._write()
        added, damage = self._take()
        now_ns, settled = self._clock.monotonic_ns(), 0
        if now_ns - self._measured_ns >= self._pace.settle_every_ns:
            self._measure(now_ns)
            settled = self._close(now_ns)
        self._close_hours()
        self._ledger.publish(every_us=PUBLISH_EVERY_US)
        if damage:
            raise LedgerUnavailable("\n".join(damage))
        return Progress(added=added, settled=settled, waiting=len(self._open), meter_fault=self._meter_fault)

    def finish(self) -> Progress:
        """Drain the spools, read the meter a last time, settle every request, and let the ledger go."""
        try:
            self._write()
            added, damage = self._take()
            while self._more:
                further, damage = self._take()
                added += further
            self._boards.read()
            self._measure(self._clock.monotonic_ns())
            closed = self._settler.finish()
            settled = self._settle(closed, self._boards.accounts.finish(closed), node_ns=1)
            left, self._open = self._open, {}
            self._unwritten += [unmetered_row(first) for first in left.values()]
            self._write()
            self._close_hours()
            self._ledger.publish()
        finally:
            self._lock.release()
        if damage:
            raise LedgerUnavailable("\n".join(damage))
        return Progress(added=added, settled=settled + len(left), waiting=0, meter_fault=self._meter_fault)

    def abandon(self) -> None:
        """Let the ledger go and settle nothing, as a crash does: the next writer goes on from what is recorded."""
        self._lock.release()

    def _resume(self) -> None:
        """Go on where the ledger ends: the same run from its last counters, another run's requests as they are."""
        for device in (*self._boards.accounts.boards, self._device):
            last = self._ledger.last_device_interval(device)
            if last is not None and (body := self._take_over(last.body)):
                self._go_on(body)
        self._tell_meters()
        self._unwritten += [(prepare(entry), None) for entry in _reserved(self._ledger, self._node, self._clock)]
        self._track(self._ledger.unsettled_lines())
        self._write()

    def _take_over(self, body: Any) -> Any:
        """Give what was pending on a device to background; its last interval where the CPU's counter may run on."""
        if body["pending_after_uj"]:
            self._unwritten.append((prepare(_released(body, self._clock.unix_us())), None))
        return body if body["device"] == self._device else None

    def _go_on(self, body: Any) -> None:
        """The same run goes on from its last counters."""
        end = Reading(
            device=self._device, **{name: body["end"][name] for name in Reading.__slots__ if name != "device"}
        )
        same_run = (body["boot_id"], body["run_id"]) == (self._node.boot_id, self._node.run_id)
        if same_run and end.source == self._reading.source and not is_restart(end, self._reading):
            self._reading, self._own_ns = end, min(body["end"]["own_cpu_ns"], self._own_ns)

    def _tell_meters(self) -> None:
        self._unwritten += [(prepare(entry), None) for entry in self._boards.meters(self._clock.unix_us())]

    def _take(self) -> tuple[int, Sequence[str]]:
        waiting = self._intake.look()
        added: list[Placed] = []
        if waiting.cursors or waiting.finished:
            added = self._ledger.append_lines(waiting.lines, waiting.cursors, self._epoch)
            if gone := self._intake.took(waiting):
                self._ledger.forget_cursors(gone)
            if len(added) < len(waiting.lines):
                self._hours.fall_behind()
                waits = [*self._open.values(), *(first for _, first in self._unwritten if first)]
                added = [*_committed_before(self._ledger, waiting.lines, [*added, *waits]), *added]
            self._track(added)
            self._write()
        self._more = waiting.more
        return len(added), waiting.damage

    def _track(self, lines: Sequence[Placed]) -> None:
        """Hand this run's provisional lines to the settler; others keep their value, since no meter saw them."""
        for placed in lines:
            line = placed.line
            if line.kind != "usage" or line.revision:
                self._hours.fall_behind()
                continue
            form = line.form
            if isinstance(form, Known):
                self._await(placed, form)
                continue
            body = line.decoded
            cpu_ns, host_cpu_ns, held_ns = body["cpu_ns"], body["host_cpu_ns"], body["held_ns"]
            spans = body.get("spans", ())
            unknown = cpu_ns is None and host_cpu_ns is None and held_ns is None and not spans
            if body["run_id"] != self._node.run_id or unknown:
                self._unwritten.append(unmetered_row(placed))
                continue
            name = f"{body['request_id']}#{line.attempt}"
            self._open[name] = placed
            self._settler.add_request(pending(name, body))
            if spans:
                shares = [SpanShare.of(members) for members in spans]
                self._boards.accounts.add_request(name, shares, charged=body["charged"], edges_ns=edges_of(body))

    def _await(self, placed: Placed, known: Known) -> None:
        """As `_track` for one line of a request that ran on the CPU alone."""
        line = known.line
        cpu_ns, host_cpu_ns, held_ns = line.cpu_ns, line.host_cpu_ns, line.held_ns
        if line.run_id != self._node.run_id or (cpu_ns is None and host_cpu_ns is None and held_ns is None):
            self._unwritten.append(unmetered_row(placed))
            return
        name = f"{line.request_id}#{line.attempt}"
        self._open[name] = placed
        self._settler.add_request(pending_line(name, line))

    def _measure(self, now_ns: int) -> None:
        """Read the meter; the time since the last good reading becomes an interval."""
        self._measured_ns = now_ns
        self._boards.collect()
        self._tell_meters()
        try:
            reading, own_ns = self._node.meter.read(), self._node.own_cpu()
        except MeterUnavailable as error:
            # The counter is cumulative: the next good reading covers this time too.
            self._meter_fault = str(error)
            return
        self._meter_fault = None
        if reading.source != self._reading.source or is_restart(self._reading, reading):
            self._reading, self._own_ns = reading, own_ns
            return
        interval = interval_between(self._reading, reading)
        if interval is None:
            return
        metering_ns = self._node.metering_ns() if self._node.metering_ns else None
        self._settler.add_interval(interval, max(0, own_ns - self._own_ns), metering_ns=metering_ns)
        self._reading, self._own_ns = reading, own_ns
        self._ends[reading.at_ns] = (reading, own_ns)

    def _close(self, now_ns: int) -> int:
        """Close the devices that have something to settle, or have been idle for long."""
        up_to_ns, idle_ns = now_ns - self._pace.grace_ns, self._pace.idle_every_ns
        accounts, closed = self._boards.accounts, None
        if self._open or now_ns - self._closed_ns >= idle_ns:
            closed = self._settler.close(up_to_ns)
        if accounts.waiting or (accounts.boards and now_ns - self._boards_ns >= idle_ns):
            self._boards_ns = now_ns
            return self._settle(closed, accounts.settle(closed, up_to_ns))
        return self._settle(closed, accounts.alone(closed)) if closed is not None else 0

    def _settle(self, closed: Closed | None, settled: Round, node_ns: int | None = None) -> int:
        """Write a round: models before the lines that use them, lines before the intervals that hold their sums, the
        node's interval behind its devices'; it is at least `node_ns` long (None: as an idle node's)."""
        at_us = self._clock.unix_us()
        self._unwritten += [(prepare(entry), None) for entry in self._boards.models(settled.thetas, at_us)]
        self._unwritten += [
            settled_row(one, self._open.pop(one.request_id), self._half_width_pct) for one in settled.settled
        ]
        if settled.wholes:
            widths = self._boards.half_widths() | {self._device: self._half_width_pct}
            self._unwritten += [
                whole_row(self._boards, whole, self._open.pop(whole.request_id), widths) for whole in settled.wholes
            ]
        self._unwritten += [unmetered_row(self._open.pop(name)) for name in settled.unmetered]
        for interval in settled.intervals:
            told = asdict(interval)
            entry = self._interval(told, at_us) if interval.device == self._device else None
            self._unwritten.append((prepare(entry or self._boards.interval(told, at_us)), None))
        node = self._boards.beyond(settled.intervals, node_ns or self._pace.idle_every_ns, at_us)
        self._unwritten += [(prepare(entry), None) for entry in node]
        if closed is not None:
            self._closed_ns = self._clock.monotonic_ns()
            self._ends = {at_ns: end for at_ns, end in self._ends.items() if at_ns > closed.device.end_ns}
        self._write()
        return len(settled.settled) + len(settled.wholes) + len(settled.unmetered)

    def _close_hours(self) -> None:
        """Write the hours that are due, each in one transaction with its shares."""
        self._unwritten += [(prepare(entry), None) for entry in self._hours.due(self._clock.unix_us())]
        self._write()

    def _interval(self, closed: Body, at_us: int) -> Entry:
        """The entry of the CPU's closed stretch of time, with the counters at its end."""
        reading, own_ns = self._ends.get(closed["end_ns"], (self._reading, self._own_ns))
        end = asdict(reading) | {"own_cpu_ns": own_ns}
        del end["device"]
        node = self._node
        return device_entry(closed | {"flags": []}, at_us=at_us, run_id=node.run_id, boot_id=node.boot_id, end=end)

    def _write(self) -> None:
        """Write what is settled; where that fails it stays here, and the next step writes it."""
        if not self._unwritten:
            return
        placed = self._ledger.append_lines([line for line, _ in self._unwritten], epoch=self._epoch)
        written, self._unwritten = self._unwritten, []
        self._hours.took(placed, [first for _, first in written])
        if self._written is not None:
            self._written([Written(line, None if first is None else first.line) for line, first in written])


def _committed_before(ledger: SqlLedger, lines: Sequence[Prepared], known: Sequence[Placed]) -> list[Placed]:
    """First lines that the ledger had already and nothing settles yet: a transaction was committed whose answer was
    lost. `known` are those that the writer has."""
    missing = {(line.key, line.attempt) for line in lines} - {(one.line.key, one.line.attempt) for one in known}
    return [one for one in ledger.unsettled_lines() if (one.line.key, one.line.attempt) in missing]


def _reserved(ledger: SqlLedger, node: Node, clock: Clock) -> list[Entry]:
    wanted, at_us = named(node.reservations, node.metered.names if node.metered else {}), clock.unix_us()
    return reservations_to_tell(ledger, wanted, at_us=at_us, run_id=node.run_id, boot_id=node.boot_id)


def _released(last: Body, at_us: int) -> Entry:
    """What open requests had received when a writer ended without settling them: it becomes background."""
    nothing = {name: 0 for name, value in last.items() if name.endswith("_uj") and isinstance(value, int)}
    kept = ("device", "tier", "source", "end_ns", "settled_by")
    closed = {name: last[name] for name in kept if name in last} | nothing
    closed |= {
        "start_ns": last["end_ns"],
        "intervals": 0,
        "unmetered_ns": 0,
        "pending_before_uj": last["pending_after_uj"],
        "background_uj": last["pending_after_uj"],
        "flags": ["writer_restarted"],
    }
    return device_entry(closed, at_us=at_us, run_id=last["run_id"], boot_id=last["boot_id"], end=last["end"])
