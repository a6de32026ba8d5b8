"""From a finished request to its durable ledger line; an answer leaves only after that.

State: the lines that wait for the next group, the requests in progress, and the CPU time up to which host work has
been handed out; changed only on the event loop. Whatever waits is one group: one write, one sync, no timer.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from greenserve.canonical import ledger_json
from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.board_power import NOTHING_DECLARED, DeclaredPowers
from greenserve.carbon.cuts import Later, holds_over, intensity_in, reading_met, readings_over
from greenserve.carbon.entries import Body, UsageLine, usage_body
from greenserve.carbon.feeds.levels import stands_in
from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.provisional import CPU, provisional_usage
from greenserve.carbon.published import PublishedPowers, estimates_of
from greenserve.carbon.slots import CivilTime
from greenserve.errors import LedgerUnavailable
from greenserve.ports import Clock
from greenserve.record import record
from greenserve.records import Decision, IntensityReading
from greenserve.routing.picker import FALLBACK
from greenserve.serve.call_thread import CallThread
from greenserve.serve.finished import Finished, Recorded
from greenserve.trouble import Trouble
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.recorder")
Reads = Callable[[str, int], IntensityReading | None]
QUICK_NS = 1_000_000
"""A disk is quick if its last writes took less than this [ns]."""
SPARE = 2
"""The loop has time to write if lines come less often than this many writes take."""


@record(frozen=True, slots=True, eq=False)
class _Pending:
    finished: Finished
    future: "asyncio.Future[Recorded]"


class Recorder:
    """Turns finished requests into spooled ledger lines, in groups."""

    def __init__(
        self,
        *,
        spool: SpoolWriter,
        power: CpuPower,
        boards: DeclaredPowers = NOTHING_DECLARED,
        clock: Clock,
        run_id: str,
        thread_cpu_ns: Callable[[], int] = time.thread_time_ns,
        powers: Callable[[], PublishedPowers | None] = lambda: None,
        reads: Reads | None = None,
    ) -> None:
        """`power` estimates the CPU's part until `powers` tells, from memory, what is published of the CPU and the
        boards; `reads` tells the grid's reading in a zone at a moment: a run across a grid slot meets the reading of
        each (None: only that of its decision)."""
        self._spool = spool
        self._power = power
        self._boards = boards
        self._clock = clock
        self._run_id = run_id
        self._thread_cpu_ns = thread_cpu_ns
        self._powers = powers
        self._reads = reads
        self._thread = CallThread("spool")
        self._trouble = Trouble(log, "lines are not recorded, and their requests are refused")
        self._spool_cpu_ns = 0
        self._sync_ns = NS_PER_S
        self._written_ns = 0
        self._line_ns = NS_PER_S
        self._waiting: list[_Pending] = []
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._in_progress = 0
        self._handed_out_ns = 0
        self._closing = False
        self.owed: Callable[[Finished, Recorded], None] = lambda finished, recorded: None
        """Told of each charged line that nobody waits for any more, once it is durable."""

    def start(self) -> None:
        """Begin to write groups on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._loop(), name="recording")

    async def close(self) -> None:
        """Write what waits, end the task, close the file."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await self._task
        self._thread.close()
        self._spool.close()

    def begin(self) -> None:
        """A request starts. CPU time that went by while nothing was in progress is nobody's request."""
        if self._in_progress == 0:
            self._handed_out_ns = self._host_clock_ns()
        self._in_progress += 1

    def end(self) -> None:
        """A request is over."""
        self._in_progress -= 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A request waits for something else than this process: the CPU time that goes by meanwhile is not its own,
        what it took before is."""
        self.end()
        own_ns = 0 if self._in_progress else self._host_clock_ns() - self._handed_out_ns
        self._handed_out_ns += own_ns  # a line that is written meanwhile hands out none of it
        try:
            yield
        finally:
            self.begin()
            self._handed_out_ns -= own_ns

    def submit(self, finished: Finished) -> "asyncio.Future[Recorded]":
        """Queue a line; the future holds its usage once it is durable, or LedgerUnavailable."""
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(finished, future))
        if self._in_progress <= 1 and self._is_quick and self._has_time:
            self._write_here()  # nobody will join its group
        else:
            self._work.set()
        return future

    def submit_unanswered(self, finished: Finished) -> None:
        """Queue the line of a request whose client left; nobody waits for it."""
        future = self.submit(finished)
        if not future.cancel() and future.exception() is None and _is_charged(finished):
            self.owed(finished, future.result())

    def _append(self, bodies: list[bytes]) -> None:
        start_ns = self._clock.monotonic_ns()
        try:
            self._spool.append(bodies)
        finally:  # a disk that takes long to fail is a slow one, too
            end_ns = self._clock.monotonic_ns()
            self._sync_ns += (end_ns - start_ns - self._sync_ns) // 2
        self._line_ns += ((end_ns - self._written_ns) // len(bodies) - self._line_ns) // 4
        self._written_ns = end_ns

    def _append_beside(self, bodies: list[bytes]) -> int:
        start_ns = time.thread_time_ns()
        self._append(bodies)
        return time.thread_time_ns() - start_ns

    def _host_clock_ns(self) -> int:
        """CPU time of the loop's and the spool's thread [ns]; Ray's threads in this process are nobody's request."""
        return self._thread_cpu_ns() + self._spool_cpu_ns

    async def _loop(self) -> None:
        while not (self._closing and not self._waiting):
            await self._work.wait()
            self._work.clear()
            if not self._waiting:
                continue
            if self._is_quick and (len(self._waiting) == 1 or self._has_time):
                self._write_here()
            else:
                await self._write_beside()

    @property
    def _is_quick(self) -> bool:
        """Whether the disk syncs so fast that two hops between threads, and the loop's turn at the interpreter, cost as
        much: then lines are written on the loop."""
        return self._sync_ns < QUICK_NS

    @property
    def _has_time(self) -> bool:
        """Whether writes leave the loop time for anything else. Requests that end within one step of the loop, as those
        that the cache answers, would each be written alone, and everybody would wait for each sync."""
        return self._line_ns > SPARE * self._sync_ns

    def _write_here(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            recorded, bodies = self._lines_of(group)
            self._append(bodies)
        except Exception as error:  # nothing of this group may be acknowledged, and the loop goes on
            self._refuse(group, error)
        else:
            self._acknowledge(group, recorded)

    async def _write_beside(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            recorded, bodies = self._lines_of(group)
            self._spool_cpu_ns += await self._thread.submit(self._append_beside, bodies)
        except Exception as error:  # as above
            self._refuse(group, error)
        else:
            self._acknowledge(group, recorded)

    def _acknowledge(self, group: Sequence[_Pending], recorded: Sequence[Recorded]) -> None:
        self._trouble.over()
        for pending, result in zip(group, recorded, strict=True):
            if not pending.future.done():
                pending.future.set_result(result)
            elif _is_charged(pending.finished):
                self.owed(pending.finished, result)

    def _refuse(self, group: Sequence[_Pending], error: Exception) -> None:
        self._trouble.met(error)
        fault = LedgerUnavailable(
            "the ledger cannot take the record, and no answer leaves without it; try again later", retry_after_s=1
        )
        for pending in group:
            if not pending.future.done():
                pending.future.set_exception(fault)

    def _lines_of(self, group: Sequence[_Pending]) -> tuple[list[Recorded], list[bytes]]:
        """The group's results and bodies; the host CPU time since the last group is shared equally."""
        host_ns = max(0, self._host_clock_ns() - self._handed_out_ns)
        self._handed_out_ns += host_ns
        now_ns, now_us = self._clock.monotonic_ns(), self._clock.unix_us()
        recorded, bodies = [], []
        for pending, host_cpu_ns in zip(group, apportion_list(host_ns, [1] * len(group)), strict=True):
            finished = pending.finished
            line = self._line(finished, host_cpu_ns, now_ns, now_us)
            body = usage_body(line)
            assert line.usage is not None
            # Of both bases that the line may know, the answer shows the one whose intensity stands beside it.
            emissions_ng = None if line.intensity is None else body[f"loc_{line.intensity.basis}_ng"]
            met = _shown_of(line, body) if line.later else line.intensity
            met = None if met is finished.decision.intensity else met
            recorded.append(Recorded(usage=line.usage, emissions_ng=emissions_ng, met=met))
            bodies.append(ledger_json(body))
        return recorded, bodies

    def _line(self, finished: Finished, host_cpu_ns: int, now_ns: int, now_us: int) -> UsageLine:
        request, decision, run = finished.admitted.request, finished.decision, finished.run
        cpu_ns, held_ns, spans = (run.cpu_ns, run.held_ns, run.spans) if run else (0, 0, ())
        host_cpu_ns += run.host_cpu_ns if run else 0
        powers = self._powers()
        estimates = estimates_of(spans, powers, now_ns, self._boards) if spans else ()
        usage = provisional_usage(
            request.request_id,
            cpu_ns=cpu_ns,
            host_cpu_ns=host_cpu_ns,
            held_ns=held_ns,
            power=(powers and powers.cpu_at(now_ns)) or self._power,
            boards=estimates,
        )
        start_ns, end_ns = _times_of(finished, now_ns)
        civil = CivilTime(unix_us=now_us, monotonic_ns=now_ns)
        intensity, later = _met(decision, self._reads, start_ns, end_ns, civil)
        return UsageLine(
            request_id=request.request_id,
            tenant=finished.admitted.tenant.tenant_id,
            key_id=finished.admitted.key_id,
            org=finished.admitted.tenant.org,
            project=finished.admitted.project,
            model=request.model,
            run_id=self._run_id,
            ended_us=now_us,
            start_ns=start_ns,
            end_ns=end_ns,
            outcome=finished.outcome,
            protocol=request.protocol,
            cache=finished.cache,
            rows=len(request.rows),
            usage=usage,
            intensity=intensity,
            later=later,
            pue_milli=decision.pue_milli,
            variant=decision.variant,
            variant_digest=finished.variant_digest,
            region=decision.region,
            zone=decision.zone,
            emulated=decision.emulated,
            device=spans[0].device if spans else CPU,
            spans=spans,
            estimates=estimates,
            batch_id=run.batch_id if run else None,
            n_rows=run.batch_rows if run else None,
            tokens_in=request.tokens,
            cpu_ns=cpu_ns,
            host_cpu_ns=host_cpu_ns,
            held_ns=held_ns,
            reason=decision.reason,
            budget_id=finished.admitted.reservation.budget_id,
            reserved=finished.admitted.reservation.amount,
            flags=_flags(decision, [intensity, *(edge.reading for edge in later)]),
            charged=_is_charged(finished),
            attempt=request.attempt,
        )


def _times_of(finished: Finished, now_ns: int) -> tuple[int, int]:
    """When its run began and ended [monotonic ns]; of what the cache answered, when it began and now."""
    if finished.run is not None:
        return finished.run.start_ns, finished.run.end_ns
    start_ns = finished.admitted.request.received_ns if finished.began_ns is None else finished.began_ns
    return start_ns, max(now_ns, start_ns + 1)


def _met(
    decision: Decision, reads: Reads | None, start_ns: int, end_ns: int, civil: CivilTime
) -> tuple[IntensityReading | None, tuple[Later, ...]]:
    """The grid's reading when a run began, and those that it met later; nearly all runs lie in one slot."""
    given = decision.intensity
    start_us, end_us = civil.us_at(start_ns), civil.us_at(end_ns)
    if given is None or reads is None or holds_over(given, start_us, end_us):
        return given, ()
    first, *later = readings_over(given, start_us, end_us, lambda at_us: reads(decision.zone, at_us))
    edges = [(civil.ns_at(from_us), from_us, reading) for from_us, reading in later]
    return first[1], tuple(Later(*edge) for edge in edges if start_ns < edge[0] < end_ns)


def _shown_of(line: UsageLine, body: Body) -> IntensityReading | None:
    """The intensity beside the emissions of a run across slots: the mean of its pieces by their energy. Where one is
    not known there are no emissions to stand beside."""
    if line.intensity is None or line.usage is None:
        return line.intensity
    mean = intensity_in(body, line.intensity.basis, line.usage.energy_uj)
    return reading_met(line.intensity, line.later, mean) or line.intensity


def _flags(decision: Decision, met: Sequence[IntensityReading | None]) -> tuple[str, ...]:
    """The decision's flags; whether a value stands in is told of the readings that the run met."""
    if met == [decision.intensity]:
        return decision.flags
    kept = tuple(flag for flag in decision.flags if flag != FALLBACK)
    return (*kept, FALLBACK) if any(map(stands_in, met)) else kept


def _is_charged(finished: Finished) -> bool:
    return finished.outcome != "error"
