"""The path of a request, whole and in order."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np

from greenserve.carbon.entries import Outcome
from greenserve.errors import DeadlineExceeded, InvalidRequest, NotImplementedHere, Overloaded
from greenserve.ids import new_request_id
from greenserve.ports import Arrays, CachedAnswer, Clock
from greenserve.record import record
from greenserve.records import Admitted, Decision, InferenceRequest, Item
from greenserve.serve.admission import Admission
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.flight import Flight, Landed, Waiter
from greenserve.serve.batching.landing import PATIENCE_OF
from greenserve.serve.cache import NOTHING, AnswerCache, floor_of
from greenserve.serve.call import Answer, CacheResult, Call
from greenserve.serve.deferral import Deferral
from greenserve.serve.models import Models, ServedModel
from greenserve.serve.observers import Observers
from greenserve.serve.once import Once
from greenserve.serve.recorder import Finished, Recorded, Recorder, run_of
from greenserve.serve.router import Router
from greenserve.serve.texts import LongTexts, is_long, rows_of
from greenserve.units import NS_PER_S

NO_REMOTE: Mapping[str, Batcher] = MappingProxyType({})
DEFERRED = "deferred"
"""The flag on the ledger line of a request that could wait for a cleaner grid."""


class Gateway:
    """Answers calls of any protocol: what happens to each stands in `handle`, in order."""

    def __init__(
        self,
        *,
        models: Models,
        admission: Admission,
        cache: AnswerCache,
        router: Router,
        batcher: Batcher,
        recorder: Recorder,
        observers: Observers,
        clock: Clock,
    ) -> None:
        """`batcher` has the models whose engines run here; `remote`, set afterwards, those of others by name.

        `once`, set afterwards too, answers calls with an idempotency key. So may be `texts`, whose CPU time the
        recorder has to know of.
        """
        self.models = models
        self.admission = admission
        self.cache = cache
        self.router = router
        self.batcher = batcher
        self.remote: Mapping[str, Batcher] = NO_REMOTE
        self.once: Once | None = None
        self.texts = LongTexts()
        self.deferral = Deferral(outlook=router.outlook, busy=self._is_busy, clock=clock)
        self.recorder = recorder
        self.observers = observers
        self._clock = clock

    async def handle(self, call: Call) -> Answer:
        """The answer of a call; raises a GreenServeError for everything that a user can meet."""
        if call.idempotency_key is not None:
            return await self._once_of(call).handle(call, self.handle)
        times = [("received", call.received_ns)]
        self.recorder.begin()
        try:
            self._mark(times, "accept")
            caller = self.admission.authenticate(call.credential)
            model = self.models.find(call.model, call.version)
            rows = None
            if long := is_long(call):
                # Nothing is read for those who are refused anyway.
                self.admission.check_scope(caller, model=model.name, variant=call.hints.variant, protocol=call.protocol)
                self.admission.pace(caller)
                rows = await self.texts.rows(call, model.task, left_s=self._left_s(self.admission.deadline_ns(call)))
                model = self.models.find(model.name)  # it may have been reloaded meanwhile
            request = self._decode(call, model, rows)
            cost = partial(self.router.cost_bound, model, request, caller.tenant.quality_floor)
            upper, least = partial(cost, max), partial(cost, min)
            admitted = self.admission.admit(caller, request, upper=upper, least=least, paced=long)
            self._mark(times, "admit")
            try:
                finished = await self._in_time(admitted, model, times)
                recorded = await self.recorder.submit(finished)
            finally:
                self.admission.release(admitted)
            self.admission.settle(admitted, recorded)
            self._mark(times, "record")
            if finished.run is not None:
                policy = self._batcher_of(model).policy
                policy.overhead_ns = policy.tail.note(times[-1][1] - finished.run.end_ns)
            answer = _encode(finished, recorded, model, tuple(times))
            self.admission.door.done()
            self.observers.answered(call, answer)
            return answer
        except BaseException as error:
            if isinstance(error, Overloaded):
                self.admission.door.refused()
            self.observers.refused(call, error)
            raise
        finally:
            self.recorder.end()

    async def _in_time(self, admitted: Admitted, model: ServedModel, times: list[tuple[str, int]]) -> Finished:
        """At once, or for a request that may wait when the grid is cleaner."""
        if admitted.request.hints.defer_until_us is None:
            return await self._answer(admitted, model, times)
        async with self.deferral.turn(admitted):
            self._mark(times, "defer")
            kept = len(times)
            while True:
                try:
                    # It may have been reloaded meanwhile.
                    finished = await self._answer(admitted, self.models.find(model.name), times)
                except Overloaded as refused:
                    del times[kept:]
                    if not self.deferral.has_time(admitted):
                        raise
                    await asyncio.sleep(refused.retry_after_s or 1)
                else:
                    made = finished.decision
                    return replace(finished, decision=replace(made, flags=(*made.flags, DEFERRED)))

    async def _answer(self, admitted: Admitted, model: ServedModel, times: list[tuple[str, int]]) -> Finished:
        """Each item from the cache, from an identical item in flight, or by a run of the variant that routing picks."""
        request = admitted.request
        fetched = NOTHING
        if self.cache.shared is not None:
            fetched = await self.cache.fetch(admitted, model)
            model = self.models.find(model.name)  # it may have been reloaded meanwhile
        waiter = Waiter(len(request.rows), partial(self._record_unanswered, admitted, model))
        missing = self._found(admitted, model, waiter, fetched)
        self._mark(times, "cache")
        if missing.rows:
            decision = self.router.route(admitted, model, self._batcher_of(model))
            self._mark(times, "route")
            self._launch(admitted, model, missing, decision, waiter)
        self.admission.door.taken()
        await self._landing(waiter, request.deadline_ns)
        finished = _finished(admitted, model, waiter, missing.result)
        if finished.run is not None:
            times.append(("queue", max(finished.run.start_ns, times[-1][1])))
            times.append(("model", finished.run.end_ns))
        return finished

    def _found(
        self, admitted: Admitted, model: ServedModel, waiter: Waiter, fetched: Mapping[bytes, CachedAnswer]
    ) -> "_Missing":
        """Serve what is stored, join what is in flight; what is left, with the keys under which it will be known."""
        request = admitted.request
        key_of = self.cache.keys(admitted, model)
        if key_of is None:
            return _Missing(rows=[(place, row, None) for place, row in enumerate(request.rows)], result="off")
        missing: list[tuple[int, Item, bytes | None]] = []
        result: CacheResult = "hit"
        floor = floor_of(admitted, model)
        for place, row in enumerate(request.rows):
            key = key_of(row)
            if key is None:
                missing.append((place, row, None))
            elif (cached := self.cache.get(model, key, floor, fetched)) is not None:
                decision = self.router.priced_now(model.name, cached.decision)
                waiter.take(place, Landed(outputs=cached.outputs, decision=decision))
            elif (flight := self.cache.in_flight(key, floor)) is not None:
                flight.join(waiter, place, deadline_ns=request.deadline_ns)
                result = "joined"
            else:
                missing.append((place, row, key))
        if missing:
            result = "miss" if any(key is not None for _, _, key in missing) else "off"
        return _Missing(rows=missing, result=result)

    def _launch(
        self, admitted: Admitted, model: ServedModel, missing: "_Missing", decision: Decision, waiter: Waiter
    ) -> None:
        request, served = admitted.request, model.variants[decision.variant]
        now_ns = self._clock.monotonic_ns()
        flights: list[Flight] = []
        by_key: dict[bytes, Flight] = {}
        for place, row, key in missing.rows:
            twin = by_key.get(key) if key is not None else None
            if twin is not None:
                twin.join(waiter, place, deadline_ns=request.deadline_ns)
                continue
            flight = Flight(
                served=served,
                decision=decision,
                item=row,
                arrived_ns=now_ns,
                deadline_ns=request.deadline_ns,
                priority=request.hints.priority,
            )
            flight.join(waiter, place, deadline_ns=request.deadline_ns)
            flights.append(flight)
            if key is not None:
                by_key[key] = flight
        tenant = admitted.tenant
        policy = request.hints.policy or tenant.policy
        batcher = self._batcher_of(model)
        batcher.submit(flights, tenant=tenant.tenant_id, patience=None if policy is None else PATIENCE_OF[policy])
        for key, flight in by_key.items():
            self.cache.take_off(key, flight)

    def _is_busy(self) -> bool:
        return any(batcher.queued for batcher in (self.batcher, *self.remote.values()))

    def _once_of(self, call: Call) -> Once:
        if self.once is None:
            raise NotImplementedHere("Idempotency-Key: this gateway keeps no answers by key; leave it out")
        return self.once

    def _batcher_of(self, model: ServedModel) -> Batcher:
        return self.remote.get(model.name, self.batcher)

    async def _landing(self, waiter: Waiter, deadline_ns: int) -> None:
        if not waiter.waits:
            waiter.future.result()
            return
        # The batcher starts nothing that would be late, but a run may take longer than it ever did before.
        timer = asyncio.get_running_loop().call_later(self._left_s(deadline_ns), _expire, waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            # The client left. What landed in the same instant is recorded here, what lands later by its flights.
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.settled(waiter)
            raise
        finally:
            timer.cancel()

    def _record_unanswered(self, admitted: Admitted, model: ServedModel, waiter: Waiter) -> None:
        """What ran for a client that left, or for a request that failed as a whole, is owed all the same."""
        outcome: Outcome = "cancelled" if waiter.future.cancelled() or waiter.future.exception() is None else "error"
        finished = _finished(admitted, model, waiter, "off", outcome=outcome)
        if finished.run is not None:
            self.recorder.submit_unanswered(finished)

    def _left_s(self, deadline_ns: int) -> float:
        return max(0.0, (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S)

    def _decode(self, call: Call, model: ServedModel, rows: tuple[Item, ...] | None) -> InferenceRequest:
        task = model.task
        for name in call.outputs:
            if name not in task.offered:
                raise InvalidRequest(
                    f"outputs: {name!r:.80} is not offered; offered are {', '.join(sorted(task.offered))}"
                )
        return InferenceRequest(
            request_id=new_request_id(),
            model=model.name,
            rows=rows_of(call, task) if rows is None else rows,
            outputs=call.outputs or tuple(spec.name for spec in task.outputs),
            protocol=call.protocol,
            received_ns=call.received_ns,
            deadline_ns=self.admission.deadline_ns(call),
            hints=call.hints,
            client_id=call.client_id,
        )

    def _mark(self, times: list[tuple[str, int]], stage: str) -> None:
        times.append((stage, self._clock.monotonic_ns()))


def _expire(waiter: Waiter) -> None:
    """What still runs for the request is recorded once it is done; what waits finds that nobody does."""
    if waiter.waits:
        waiter.future.set_exception(
            DeadlineExceeded("the deadline passed before the answer was there; allow more time")
        )


@record(frozen=True, slots=True)
class _Missing:
    """Items that are neither stored nor in flight, each with its place and its key, and how the cache did."""

    rows: list[tuple[int, Item, bytes | None]]
    result: CacheResult


def _finished(
    admitted: Admitted, model: ServedModel, waiter: Waiter, cache: CacheResult, *, outcome: Outcome = "ok"
) -> Finished:
    landed = [each for each in waiter.landed if each is not None]
    decision = next((each.decision for each in landed if each.span is not None), landed[0].decision)
    return Finished(
        admitted=admitted,
        decision=decision,
        variant_digest=model.variants[decision.variant].variant.digest,
        outputs=_joined(landed),
        run=run_of(landed),
        cache=cache,
        outcome=outcome,
    )


def _joined(landed: Sequence[Landed]) -> Arrays:
    """The items' outputs as the request's; names that only some of them have are left out."""
    first = landed[0].outputs
    if len(landed) == 1:
        return first
    shared = [name for name in first if all(name in each.outputs for each in landed)]
    return {name: np.concatenate([each.outputs[name] for each in landed]) for name in shared}


def _encode(finished: Finished, recorded: Recorded, model: ServedModel, times: tuple[tuple[str, int], ...]) -> Answer:
    request, decision = finished.admitted.request, finished.decision
    if recorded.met is not None:
        decision = replace(decision, intensity=recorded.met)
    return Answer(
        request_id=request.request_id,
        client_id=request.client_id,
        model=model.name,
        version=model.version,
        outputs=model.task.encode(finished.outputs, request.outputs),
        tokens=request.tokens,
        decision=decision,
        usage=recorded.usage,
        emissions_ng=recorded.emissions_ng,
        tenant=finished.admitted.tenant,
        cache=finished.cache,
        times_ns=times,
    )
