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
from greenserve.ports import Arrays, Clock
from greenserve.records import Batch, Span
from greenserve.serve.batching.flight import Flight
from greenserve.serve.batching.queue import DeadlineQueue, Waiting
from greenserve.units import ns_from_seconds, seconds_from_ns

log = logging.getLogger("greenserve.batching")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Flights that went through the engine together, or the error that they met."""

    flights: Sequence[Flight]
    outputs: Arrays | None
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

    def submit(self, flights: Sequence[Flight]) -> None:
        """Let a request's items wait, all or none; raises Overloaded where the queue is full, Draining where it closes."""
        if self._closing:
            raise Draining("this gateway replica is going away; send the request again")
        if len(self._queue) + len(flights) > self._max_queued:
            raise Overloaded(
                f"{len(self._queue)} of {self._max_queued} places are taken and {len(flights)} are needed; "
                "send again later or slower",
                retry_after_s=1,
            )
        for flight in flights:
            self._push(flight)
        self._work.set()

    def _push(self, flight: Flight) -> None:
        self._queue.push(key=flight.served.key, length=len(flight.item), deadline_ns=flight.deadline_ns, row=flight)

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        ran: Sequence[Ran] = ()
        while True:
            flights = self._cut()
            running = loop.run_in_executor(self._thread, self._execute, flights) if flights else None
            self._land_all(ran)  # the engine already runs the next batch meanwhile
            ran = await running if running is not None else ()
            if not flights and not len(self._queue):
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()

    def _cut(self) -> list[Flight]:
        now_ns = self._clock.monotonic_ns()
        batch, expired = self._queue.cut(now_ns=now_ns, max_batch=self._max_batch)
        for waiting in expired:
            flight = _flight_of(waiting)
            if flight.deadline_ns > now_ns:  # somebody more patient joined meanwhile
                self._push(flight)
            else:
                flight.fail(DeadlineExceeded("the deadline passed while the request waited; nothing was run for it"))
        if batch:
            profile = _flight_of(batch[0]).served.profile
            longest = max(waiting.length for waiting in batch)
            expected_s = profile.seconds(batch=len(batch), length=longest) if profile else 0.0
            self._running_until_ns = now_ns + ns_from_seconds(expected_s)
        return [_flight_of(waiting) for waiting in batch]

    def _execute(self, flights: Sequence[Flight]) -> list[Ran]:
        """Run the items, those of one shape together. Never raises."""
        shapes: dict[object, list[Flight]] = {}
        for flight in flights:
            shapes.setdefault(getattr(flight.item, "shapes", None), []).append(flight)
        return [ran for alike in shapes.values() for ran in self._run(alike)]

    def _run(self, flights: Sequence[Flight]) -> list[Ran]:
        """One batch; where the engine raises, halves run again until the culprit stands alone."""
        served = flights[0].served
        batch = Batch(
            batch_id=new_request_id(),
            variant=served.variant.name,
            rows=tuple(flight.item for flight in flights),
            padded_length=max(len(flight.item) for flight in flights),
            input_names=served.input_names,
        )
        try:
            outputs, span = served.engine.run(batch)
            return [Ran(flights=flights, outputs=served.task.finish(outputs), span=span)]
        except Exception as error:  # an engine may raise anything; the request that caused it gets the message
            if len(flights) == 1:
                return [Ran(flights=flights, outputs=None, span=None, error=type(error).__name__)]
            middle = len(flights) // 2
            return self._run(flights[:middle]) + self._run(flights[middle:])

    def _land_all(self, ran: Sequence[Ran]) -> None:
        for each in ran:
            try:
                self._land(each)
            except Exception:  # the task that everybody waits for outlives any single batch
                log.exception("a batch could not be answered")
                for flight in each.flights:
                    flight.fail(InferenceFailed("the answer could not be put together"))

    def _land(self, ran: Ran) -> None:
        if ran.outputs is None or ran.span is None:
            for flight in ran.flights:
                flight.poison(ran.error or "no answer")
            return
        span, served = ran.span, ran.flights[0].served
        self.spans_cpu_ns += span.cpu_ns
        cpu, held = split_span(span, served.cost, self._share_milli)
        outputs = tuple(ran.outputs.items())
        for place, (flight, cpu_ns, held_ns) in enumerate(zip(ran.flights, cpu, held, strict=True)):
            own = {name: array[place : place + 1] for name, array in outputs}
            flight.land(own, span, cpu_ns=cpu_ns, held_ns=held_ns)


def _flight_of(waiting: Waiting) -> Flight:
    assert isinstance(waiting.row, Flight)
    return waiting.row


def _is_wanted(waiting: Waiting) -> bool:
    flight = _flight_of(waiting)
    if not flight.wanted and not flight.over:
        flight.drop()
    return flight.wanted
