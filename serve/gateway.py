"""The path of a request, whole and in order."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from types import MappingProxyType

import numpy as np

from greenserve.carbon.entries import Outcome
from greenserve.errors import DeadlineExceeded, InferenceFailed, InvalidRequest, NotImplementedHere, Overloaded
from greenserve.ids import new_request_id
from greenserve.ports import Arrays, Clock
from greenserve.records import Admitted, Decision, InferenceRequest, Item
from greenserve.serve.admission import Admission
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.flight import Landed, Waiter
from greenserve.serve.batching.landing import PATIENCE_OF
from greenserve.serve.cache import AnswerCache
from greenserve.serve.call import Answer, CacheResult, Call
from greenserve.serve.deferral import Deferral
from greenserve.serve.finished import Finished, Recorded, run_of
from greenserve.serve.missing import Missing
from greenserve.serve.models import Models, ServedModel
from greenserve.serve.observers import Observers
from greenserve.serve.once import Once
from greenserve.serve.recorder import Recorder
from greenserve.serve.router import Router
from greenserve.serve.shared_cache import NOTHING, Fetched
from greenserve.serve.texts import LongTexts, is_long, rows_of
from greenserve.units import NS_PER_S

NO_OUTPUTS: Arrays = MappingProxyType({})
NO_REMOTE: Mapping[str, Batcher] = MappingProxyType({})
DEFERRED = "deferred"
"""The flag on the ledger line of a request that could wait for a cleaner grid."""

Times = list[tuple[str, int]]
"""(stage, monotonic ns at its end), in their order."""
Answered = tuple[Finished, ServedModel]
"""What is to be recorded, and the model that answered."""


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
        recorder.owed = lambda finished, recorded: admission.settle(finished.admitted, recorded)
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
            request = self._decode(call, model, rows)
            cost = partial(self.router.cost_bound, model, request, caller.tenant.quality_floor)
            upper, least = partial(cost, max), partial(cost, min)
            admitted = self.admission.admit(caller, request, upper=upper, least=least, paced=long)
            self._mark(times, "admit")
            try:
                finished, model = await self._in_time(call, admitted, model, times)
                recorded = await self.recorder.submit(finished)
            finally:
                self.admission.release(admitted)
            self.admission.settle(finished.admitted, recorded)
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

    async def _in_time(self, call: Call, admitted: Admitted, model: ServedModel, times: Times) -> Answered:
        """At once, or for a request that may wait when the grid is cleaner."""
        if admitted.request.hints.defer_until_us is None:
            return await self._answer(call, admitted, model, times)
        async with AsyncExitStack() as place:
            with self.recorder.paused():
                await place.enter_async_context(self.deferral.turn(admitted))
            self._mark(times, "defer")
            kept = len(times)
            for attempt in count():
                # What ran for an attempt that was refused then is in the ledger: each has a line of its own.
                tried = replace(admitted, request=replace(admitted.request, attempt=attempt))
                began_ns = self._clock.monotonic_ns()
                try:
                    finished, answering = await self._answer(call, tried, model, times)
                except Overloaded as refused:
                    del times[kept:]
                    with self.recorder.paused():
                        if not await self.deferral.again(admitted, refused.retry_after_s or 1):
                            raise
                else:
                    made = replace(finished.decision, flags=(*finished.decision.flags, DEFERRED))
                    return replace(finished, decision=made, began_ns=began_ns), answering
        raise AssertionError("attempts are counted without an end")

    async def _answer(self, call: Call, admitted: Admitted, model: ServedModel, times: Times) -> Answered:
        """Each item from the cache, from an identical item in flight, or by a run of the variant that routing picks."""
        fetched = NOTHING
        admitted, model = self._as_served(call, admitted, model)
        if self.cache.shared is not None:
            fetched = await self.cache.fetch(admitted, model)
            admitted, model = self._as_served(call, admitted, model)
        request = admitted.request
        waiter = Waiter(len(request.rows), partial(self._record_unanswered, admitted, model))
        batcher = self._batcher_of(model)
        missing = self._found(admitted, model, waiter, fetched)
        qualities = [*missing.found]
        self._mark(times, "cache")
        if missing.rows:
            try:
                decision = self.router.route(admitted, model, batcher)
                self._mark(times, "route")
                self._launch(admitted, model, missing, decision, waiter)
            except Exception as refused:
                for _ in missing.rows:  # so that its share of the flights that it joined is recorded once they land
                    waiter.fail(refused)
                raise
            qualities += [model.variants[decision.variant].variant.value_low] * len(missing.rows)
        self.router.answered(admitted, model, batcher, qualities)
        self.admission.door.taken()
        await self._landing(waiter, request.deadline_ns)
        try:
            outputs = _joined(waiter)
        except InferenceFailed:
            self._record_owed(_finished(admitted, model, waiter, missing.result, outcome="error"))
            raise
        finished = _finished(admitted, model, waiter, missing.result, outputs=outputs)
        if finished.run is not None:
            times.append(("queue", max(finished.run.start_ns, times[-1][1])))
            times.append(("model", finished.run.end_ns))
        return finished, model

    def _as_served(self, call: Call, admitted: Admitted, model: ServedModel) -> tuple[Admitted, ServedModel]:
        """The request as the model that serves now reads it, and that model: it may have been reloaded meanwhile, with
        other labels, another tokenizer. Raises ModelUnknown where the version that was asked for is gone."""
        now = self.models.find(call.model, call.version)
        if now is model:
            return admitted, model
        request = replace(admitted.request, rows=rows_of(call, now.task), outputs=_outputs_of(call, now))
        return replace(admitted, request=request), now

    def _found(self, admitted: Admitted, model: ServedModel, waiter: Waiter, fetched: Fetched) -> Missing:
        """Serve what is stored, join what is in flight; what is left, with the keys under which it will be known."""
        request = admitted.request
        key_of = self.cache.keys(admitted, model)
        if key_of is None:
            return Missing(rows=[(place, row, None) for place, row in enumerate(request.rows)], found=(), result="off")
        missing: list[tuple[int, Item, bytes | None]] = []
        found: list[float] = []
        result: CacheResult = "hit"
        floor = self.router.least_quality(admitted, model, self._batcher_of(model))
        for place, row in enumerate(request.rows):
            key = key_of(row)
            if key is None:
                missing.append((place, row, None))
            elif (cached := self.cache.get(model, key, floor, fetched)) is not None:
                decision = self.router.priced_now(model.name, cached.decision)
                waiter.take(place, Landed(outputs=cached.outputs, decision=decision))
                found.append(model.variants[decision.variant].variant.value_low)
            elif (flight := self.cache.in_flight(key, floor)) is not None:
                flight.join(waiter, place, deadline_ns=request.deadline_ns)
                found.append(flight.served.variant.value_low)
                result = "joined"
            else:
                missing.append((place, row, key))
        if missing:
            result = "miss" if any(key is not None for _, _, key in missing) else "off"
        return Missing(rows=missing, found=found, result=result)

    def _launch(
        self, admitted: Admitted, model: ServedModel, missing: Missing, decision: Decision, waiter: Waiter
    ) -> None:
        request, served = admitted.request, model.variants[decision.variant]
        flights, by_key = missing.flights(request, served, decision, waiter, self._clock.monotonic_ns())
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
        self._record_owed(_finished(admitted, model, waiter, "off", outcome=outcome))

    def _record_owed(self, finished: Finished) -> None:
        if finished.run is not None:
            self.recorder.submit_unanswered(finished)

    def _left_s(self, deadline_ns: int) -> float:
        return max(0.0, (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S)

    def _decode(self, call: Call, model: ServedModel, rows: tuple[Item, ...] | None) -> InferenceRequest:
        outputs = _outputs_of(call, model)
        return InferenceRequest(
            request_id=new_request_id(),
            model=model.name,
            rows=rows_of(call, model.task) if rows is None else rows,
            outputs=outputs,
            protocol=call.protocol,
            received_ns=call.received_ns,
            deadline_ns=self.admission.deadline_ns(call),
            hints=call.hints,
            client_id=call.client_id,
        )

    def _mark(self, times: Times, stage: str) -> None:
        times.append((stage, self._clock.monotonic_ns()))


def _outputs_of(call: Call, model: ServedModel) -> tuple[str, ...]:
    """What is asked for, or what the model gives unasked."""
    for name in call.outputs:
        if name not in model.task.offered:
            offered = ", ".join(sorted(model.task.offered))
            raise InvalidRequest(f"outputs: {name!r:.80} is not offered; offered are {offered}")
    return call.outputs or tuple(spec.name for spec in model.task.outputs)


def _expire(waiter: Waiter) -> None:
    """What still runs for the request is recorded once it is done; what waits finds that nobody does."""
    if waiter.waits:
        waiter.future.set_exception(
            DeadlineExceeded("the deadline passed before the answer was there; allow more time")
        )


def _finished(
    admitted: Admitted,
    model: ServedModel,
    waiter: Waiter,
    cache: CacheResult,
    *,
    outcome: Outcome = "ok",
    outputs: Arrays = NO_OUTPUTS,
) -> Finished:
    """What the request used, by what has landed of it."""
    landed = [each for each in waiter.landed if each is not None]
    decision = next((each.decision for each in landed if each.span is not None), landed[0].decision)
    return Finished(
        admitted=admitted,
        decision=decision,
        variant_digest=model.variants[decision.variant].variant.digest,
        outputs=outputs,
        run=run_of(landed),
        cache=cache,
        outcome=outcome,
    )


def _joined(waiter: Waiter) -> Arrays:
    """The items' outputs as the request's; names that only some of them have are left out.

    Raises InferenceFailed where they have no common shape: a model whose outputs are as wide as what ran with them.
    """
    landed = [each.outputs for each in waiter.landed if each is not None]
    first = landed[0]
    if len(landed) == 1:
        return first
    joined = {}
    for name in first:
        if all(name in each for each in landed):
            try:
                joined[name] = np.concatenate([each[name] for each in landed])
            except ValueError:
                shapes = " and ".join(sorted({str(list(each[name].shape[1:])) for each in landed}))
                raise InferenceFailed(
                    f"the model's output {name!r:.80} has another shape for another input ({shapes}), so that they "
                    "cannot be answered as one; send the inputs one by one"
                ) from None
    return joined


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
