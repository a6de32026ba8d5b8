"""The effect side of batching: one task that cuts batches, one thread that runs them.

State: the queue and the time of the running batch, changed only on the event loop that called `start`. A client may
vanish at any time: its future is then already done, and setting it would kill the task that everybody waits for, so
every future is asked first (flight.py).
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from greenserve.carbon.provisional import split_span
from greenserve.errors import DeadlineExceeded, Draining, InferenceFailed, Overloaded
from greenserve.ids import new_request_id
from greenserve.inputs import softmax
from greenserve.ports import Clock
from greenserve.records import Batch, Row, Span
from greenserve.serve.batching.flight import Flight, Probabilities
from greenserve.serve.batching.queue import DeadlineQueue, Waiting
from greenserve.units import ns_from_seconds, seconds_from_ns

log = logging.getLogger("greenserve.batching")


@dataclass(frozen=True, slots=True)
class FlightRow:
    """A row of a flight: what the queue carries."""

    flight: Flight
    index: int

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The row's tokens."""
        return self.flight.rows[self.index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Rows that went through the engine together, or the error that they met."""

    rows: Sequence[FlightRow]
    probabilities: Probabilities | None
    span: Span | None
    error: str | None = None


class Batcher:
    """Forms batches late: a batch is cut only when the engine can start it."""

    def __init__(
        self, *, clock: Clock, buckets: Sequence[int], max_batch: Mapping[str, int], max_queued: int, share_milli: int
    ) -> None:
        self._clock = clock
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._share_milli = share_milli
        self._queue = DeadlineQueue(buckets=buckets, alive=_is_wanted)
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None
        self._running_until_ns = 0
        self._closing = False
        self.spans_cpu_ns = 0

    def __repr__(self) -> str:
        return f"<Batcher {self._queue!r} {'closing' if self._closing else 'open'}>"

    def start(self) -> None:
        """Begin to cut batches on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._loop(), name="batching")

    async def close(self) -> None:
        """Refuse new work, finish what waits, end the task and the thread."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)

    @property
    def alive(self) -> bool:
        """Whether the batching task runs."""
        return self._task is not None and not self._task.done()

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return len(self._queue)

    def backlog(self) -> Mapping[str, int]:
        """Rows that wait, by model/variant."""
        return self._queue.waiting()

    def residual_s(self) -> float:
        """Predicted rest of the running batch [s]."""
        return max(0.0, seconds_from_ns(self._running_until_ns - self._clock.monotonic_ns()))

    def submit(self, flight: Flight) -> None:
        """Let the flight's rows wait; raises Overloaded where the queue is full, Draining where it closes."""
        if self._closing:
            raise Draining("this gateway replica is going away; send the request again")
        if len(self._queue) + len(flight.rows) > self._max_queued:
            raise Overloaded(
                f"{len(self._queue)} of {self._max_queued} places are taken and {len(flight.rows)} are needed; "
                "send again later or slower",
                retry_after_s=1,
            )
        for index in range(len(flight.rows)):
            self._push(FlightRow(flight, index))
        self._work.set()

    def _push(self, row: FlightRow) -> None:
        flight = row.flight
        self._queue.push(key=flight.served.key, length=len(row.token_ids), deadline_ns=flight.deadline_ns, row=row)

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        ran: Sequence[Ran] = ()
        while True:
            rows = self._cut()
            running = loop.run_in_executor(self._thread, self._execute, rows) if rows else None
            self._land_all(ran)  # the engine already runs the next batch meanwhile
            ran = await running if running is not None else ()
            if not rows and not len(self._queue):
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()

    def _cut(self) -> list[FlightRow]:
        now_ns = self._clock.monotonic_ns()
        batch, expired = self._queue.cut(now_ns=now_ns, max_batch=self._max_batch)
        for waiting in expired:
            row = _row_of(waiting)
            if row.flight.deadline_ns > now_ns:  # somebody more patient joined meanwhile
                self._push(row)
            else:
                row.flight.fail(
                    DeadlineExceeded("the deadline passed while the request waited; nothing was run for it")
                )
        if batch:
            profile = _row_of(batch[0]).flight.served.profile
            longest = max(waiting.length for waiting in batch)
            expected_s = profile.seconds(batch=len(batch), length=longest) if profile else 0.0
            self._running_until_ns = now_ns + ns_from_seconds(expected_s)
        return [_row_of(waiting) for waiting in batch]

    def _execute(self, rows: Sequence[FlightRow]) -> list[Ran]:
        """Run the rows; where the engine raises, halves run again until the culprit stands alone. Never raises."""
        served = rows[0].flight.served
        batch = Batch(
            batch_id=new_request_id(),
            variant=served.variant.name,
            rows=tuple(Row(request_id="", index=index, token_ids=row.token_ids) for index, row in enumerate(rows)),
            padded_length=max(len(row.token_ids) for row in rows),
        )
        try:
            outputs, span = served.engine.run(batch)
        except Exception as error:  # an engine may raise anything; the request that caused it gets the message
            if len(rows) == 1:
                return [Ran(rows=rows, probabilities=None, span=None, error=type(error).__name__)]
            middle = len(rows) // 2
            return self._execute(rows[:middle]) + self._execute(rows[middle:])
        probabilities = softmax(outputs["logits"].astype("float32", copy=False))
        return [Ran(rows=rows, probabilities=probabilities, span=span)]

    def _land_all(self, ran: Sequence[Ran]) -> None:
        for each in ran:
            try:
                self._land(each)
            except Exception:  # the task that everybody waits for outlives any single batch
                log.exception("a batch could not be answered")
                for row in each.rows:
                    row.flight.fail(InferenceFailed("the answer could not be put together"))

    def _land(self, ran: Ran) -> None:
        if ran.probabilities is None or ran.span is None:
            for row in ran.rows:
                row.flight.fail(InferenceFailed(f"the model could not run text[{row.index}] ({ran.error})"))
            return
        span = ran.span
        self.spans_cpu_ns += span.cpu_ns
        cost = ran.rows[0].flight.served.cost
        cpu, held = split_span(span, cost, self._share_milli)
        for place, (row, cpu_ns, held_ns) in enumerate(zip(ran.rows, cpu, held, strict=True)):
            own = ran.probabilities[place : place + 1]
            if row.flight.add(index=row.index, probabilities=own, span=span, cpu_ns=cpu_ns, held_ns=held_ns):
                row.flight.land()


def _row_of(waiting: Waiting) -> FlightRow:
    assert isinstance(waiting.row, FlightRow)
    return waiting.row


def _is_wanted(waiting: Waiting) -> bool:
    flight = _row_of(waiting).flight
    if not flight.wanted and not flight.failed:
        flight.drop()
    return flight.wanted
