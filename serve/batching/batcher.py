"""The effect side of batching: one task that does what the policy decides, on the event loop that called `start`.

State: the tickets of the flights that wait and the batches that are out; changed only on that loop. A client may
vanish at any time: its future is then already done, and setting it would kill the task that everybody waits for, so
every future is asked first (flight.py).
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from greenserve.errors import Draining, InferenceFailed
from greenserve.ports import Clock
from greenserve.serve.batching.dispatch import Dropped, Launch
from greenserve.serve.batching.execute import Executor, InlineExecutor, Ran
from greenserve.serve.batching.flight import Flight
from greenserve.serve.batching.landing import dropped_error, land, refused, runs_of
from greenserve.serve.batching.lane import Lane, LaneSettings
from greenserve.serve.batching.policy import Idle, Policy, WaitUntil
from greenserve.serve.batching.queue import Patience, Ticket
from greenserve.serve.batching.settings import Options, lane_of
from greenserve.serve.batching.trial import Trials
from greenserve.serve.batching.watch import Watch
from greenserve.serve.models import ServedVariant
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.batching")


class Batcher:
    """Forms batches late: a batch is cut only when the engine can start it. `policy` decides, and shows its state."""

    def __init__(
        self,
        *,
        clock: Clock,
        buckets: Sequence[int],
        max_batch: Mapping[str, int],
        max_queued: int,
        share_milli: int,
        options: Options | None = None,
    ) -> None:
        """`buckets` and `max_batch` hold for variants without settings of their own in `options`."""
        self._clock = clock
        self._buckets = tuple(buckets)
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._share_milli = share_milli
        self._options = options or Options()
        self._executor: Executor = self._options.executor or InlineExecutor()
        self.policy = Policy((), max_queued=max_queued, executors=self._executor.slots)
        self._loaded: dict[str, ServedVariant] = {}
        self._tickets: dict[Flight, Ticket] = {}
        self._out: dict[int, tuple[Launch, asyncio.Future[list[Ran]]]] = {}
        self._done: list[tuple[int, Launch, list[Ran]]] = []
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        self._closing = False
        self._watch = Watch()
        self._trials = Trials(self._watch, self._executor, clock=clock, retry_s=self._options.retry_s)
        self.spans_cpu_ns = self.loop_errors = 0

    def __repr__(self) -> str:
        return f"<Batcher {self.policy!r} {len(self._out)} out {'closing' if self._closing else 'open'}>"

    def start(self) -> None:
        """Begin to cut batches on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._loop(), name="batching")

    async def close(self) -> None:
        """Refuse new work, finish what waits, end the task and the executor."""
        self._closing = True
        self.policy.hurry = True
        self._work.set()
        if self._task is not None:
            await self._task
        self._trials.close()
        self._executor.close()

    # What others ask

    @property
    def alive(self) -> bool:
        """Whether the batching task runs."""
        return self._task is not None and not self._task.done()

    @property
    def queued(self) -> int:
        """Items that wait."""
        return len(self.policy)

    def backlog(self) -> Mapping[str, int]:
        """Items that wait, by model/variant."""
        return {key: self.policy.lane(key).queue.rows for key in self._loaded}

    def residual_s(self) -> float:
        """Predicted rest of the running batch [s]."""
        return self.policy.residual_s(self._clock.monotonic_ns())

    def pressure(self) -> float:
        """Running and queued work over the work that can still be answered in time; 1 = nothing more fits."""
        return self.policy.pressure(self._clock.monotonic_ns())

    @property
    def brownout(self) -> bool:
        """Whether the pressure has been over 0.9 for half a second: cheaper variants should answer."""
        return self.policy.brownout(self._clock.monotonic_ns())

    @property
    def unhealthy(self) -> Mapping[str, str]:
        """Variants (model/variant) that fail, with the reason, until one runs again: not to be routed to."""
        return self._watch.sick

    def findings(self) -> list[str]:
        """What is wrong with this batcher, a sentence each; empty = healthy. Safe from other threads."""
        ended = [] if self.alive or self._closing or self._task is None else ["the batching task has ended"]
        return ended + self._watch.findings(self._clock.monotonic_ns())

    def healed(self, key: str, digest: str | None) -> None:
        """The variant was loaded again, as that artefact; None: it is not served any more."""
        self._trials.healed(key, digest)

    def grid(self, key: str, *, now_mg_per_kwh: float | None, mean_mg_per_kwh: float | None) -> None:
        """The grid intensity [mg/kWh] where this variant runs and its 24 h mean; dirtier hours wait longer."""
        if key in self._loaded:
            self.policy.lane(key).patience.grid(now_mg_per_kwh, mean_mg_per_kwh)

    # A request arrives

    def submit(self, flights: Sequence[Flight], *, tenant: str = "", patience: Patience | None = None) -> None:
        """Let a request's items wait, all or none; raises Draining, DeadlineExceeded or Overloaded."""
        if self._closing:
            raise Draining("this gateway replica is going away; send the request again")
        served, now_ns = flights[0].served, self._clock.monotonic_ns()
        lane = self.lane(served)
        wish = patience or lane.settings.patience
        tickets = [
            Ticket(flight, len(flight.item), flight.arrived_ns, flight.deadline_ns, 0, flight.priority, wish, tenant)
            for flight in flights
        ]
        refusal = self.policy.arrive(served.key, tickets, now_ns)
        if refusal is not None:
            raise refused(refusal, key=lane.key, rows=len(flights), queued=self.queued, max_queued=self._max_queued)
        self._tickets.update(zip(flights, tickets, strict=True))
        for waiter in {waiter for flight in flights for waiter, _ in flight.waiters}:
            waiter.future.add_done_callback(partial(self._left, flights))
        if len(self._out) < self._executor.slots:
            self._work.set()

    def _left(self, flights: Sequence[Flight], future: "asyncio.Future[None]") -> None:
        """Where the client has left, what nobody else waits for is forgotten at once."""
        if not future.cancelled():
            return
        for flight in flights:
            ticket = self._tickets.get(flight)
            if ticket is not None and not flight.wanted:
                self.policy.discard(flight.served.key, ticket)
                del self._tickets[flight]
                flight.drop()

    def lane(self, served: ServedVariant) -> Lane:
        """The lane of a variant, new with its first item and where another artefact replaced it."""
        held = self._loaded.get(served.key)
        if held is not None and (held is served or self.policy.lane(served.key).queue.rows):
            return self.policy.lane(served.key)  # a lane is replaced once its rows are out
        settings = self._options.lanes.get(served.key)
        if settings is None:
            settings = LaneSettings(buckets=self._buckets, max_batch=self._max_batch[served.key], slo_s=None)
        self.policy.add(lane_of(served, settings))
        self._loaded[served.key] = served
        return self.policy.lane(served.key)

    # The task

    async def _loop(self) -> None:
        while True:
            self._work.clear()
            done, self._done = self._done, []
            for number, launch, _ in done:
                del self._out[number]
                self._watch.returned(number)
                self.policy.freed(launch)
            timer = None
            try:
                timer = self._fill()
            except Exception:  # the task that everybody waits for outlives any single decision
                self.loop_errors += 1
                log.exception("a batch could not be cut")
                self._watch.waits(self._clock.monotonic_ns(), until_s=0.0)
            self._land_all(done)  # the engine already runs the next batch meanwhile
            if self._closing and not self._out and not self.queued and not self._done:
                return
            await self._work.wait()
            if timer is not None:
                timer.cancel()

    def _fill(self) -> asyncio.TimerHandle | None:
        """Launch while there are free slots; the timer of a wait for company, if one was decided."""
        while len(self._out) < self._executor.slots:
            now_ns = self._clock.monotonic_ns()
            cut = self.policy.cut(now_ns)
            requeued = [self._drop(dropped) for dropped in cut.dropped]
            if isinstance(cut, Launch):
                self._launch(cut, now_ns)
            elif any(requeued):
                continue
            elif isinstance(cut, Idle):
                self._watch.idles()
                return None
            else:
                return self._wait(cut, now_ns)
        return None

    def _wait(self, cut: WaitUntil, now_ns: int) -> asyncio.TimerHandle:
        left_s = max(0.0, (cut.at_ns - now_ns) / NS_PER_S)
        self._watch.waits(now_ns, until_s=left_s)
        return asyncio.get_running_loop().call_later(left_s, self._work.set)

    def _launch(self, launch: Launch, now_ns: int) -> None:
        flights: list[Flight] = []
        for ticket in launch.tickets:
            flight = _flight_of(ticket)
            self._tickets.pop(flight, None)
            if flight.wanted:
                flights.append(flight)
            elif not flight.over:
                flight.drop()
        if not flights:  # nothing is run for those who have all left
            self.policy.freed(launch)
            return
        self._number += 1
        future = self._executor.start(flights)
        self._out[self._number] = (launch, future)
        self._watch.launched(self._number, launch.lane.key, now_ns, launch.high_s)
        future.add_done_callback(partial(self._returned, self._number, launch))

    def _returned(self, number: int, launch: Launch, future: "asyncio.Future[list[Ran]]") -> None:
        self._done.append((number, launch, future.result()))
        self._work.set()

    def _drop(self, dropped: Dropped) -> bool:
        """Fail a row that will not run; True where somebody more patient has joined it, and it waits again."""
        flight, ticket = _flight_of(dropped.ticket), dropped.ticket
        if dropped.code == "deadline-exceeded" and flight.deadline_ns - self.policy.overhead_ns > ticket.deadline_ns:
            self.policy.requeue(dropped.lane.key, ticket, deadline_ns=flight.deadline_ns)
            return True
        self._tickets.pop(flight, None)
        flight.fail(dropped_error(dropped.code))
        return False

    # What a batch brings

    def _land_all(self, done: Sequence[tuple[int, Launch, list[Ran]]]) -> None:
        for _, launch, ran in done:
            for each in ran:
                try:
                    self.spans_cpu_ns += land(each, self._share_milli)
                except Exception:
                    self.loop_errors += 1
                    log.exception("a batch could not be answered")
                    for flight in each.flights:
                        flight.fail(InferenceFailed("the answer could not be put together"))
            try:
                self._trials.ran(launch.lane.key, ran)
                self._learn(launch, ran)
            except Exception:
                self.loop_errors += 1
                log.exception("a batch could not be learned from")

    def _learn(self, launch: Launch, ran: Sequence[Ran]) -> None:
        if not (spans := [each.span for each in ran if each.span is not None]):
            return
        if self._options.on_span is not None:
            for span in spans:
                predicted_s = launch.lane.cost.seconds(len(span.lengths), span.padded_length)
                self._options.on_span(launch.lane.key, span, predicted_s)
        end_ns = max([span.end_ns for span in spans])
        self.policy.learn(launch, end_ns=end_ns, runs=runs_of(ran, self._options.power))


def _flight_of(ticket: Ticket) -> Flight:
    assert isinstance(ticket.row, Flight)
    return ticket.row
