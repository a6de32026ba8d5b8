"""The path of a request, whole and in order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from greenserve.carbon.entries import Outcome
from greenserve.errors import InvalidRequest
from greenserve.ids import new_request_id
from greenserve.ports import Arrays, Clock
from greenserve.records import Admitted, Decision, InferenceRequest, Item
from greenserve.serve.admission import Admission
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.flight import Flight, Landed, Waiter
from greenserve.serve.batching.landing import PATIENCE_OF
from greenserve.serve.cache import AnswerCache
from greenserve.serve.call import Answer, CacheResult, Call
from greenserve.serve.models import Models, ServedModel
from greenserve.serve.recorder import Finished, Recorded, Recorder, run_of
from greenserve.serve.router import Router
from greenserve.serve.statistics import Statistics
from greenserve.units import ns_from_seconds


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
        statistics: Statistics,
        clock: Clock,
    ) -> None:
        self.models = models
        self.admission = admission
        self.cache = cache
        self.router = router
        self.batcher = batcher
        self.recorder = recorder
        self.statistics = statistics
        self._clock = clock

    async def handle(self, call: Call) -> Answer:
        """The answer of a call; raises a GreenServeError for everything that a user can meet."""
        times = [("received", call.received_ns)]
        self.recorder.begin()
        try:
            self._mark(times, "accept")
            caller = self.admission.authenticate(call.credential)
            model = self.models.find(call.model, call.version)
            request = self._decode(call, model)
            cost = partial(self.router.cost_bound, model, request, caller.tenant.quality_floor)
            admitted = self.admission.admit(caller, request, upper=partial(cost, max), least=partial(cost, min))
            self._mark(times, "admit")
            try:
                finished = await self._answer(admitted, model, times)
                recorded = await self.recorder.submit(finished)
            finally:
                self.admission.release(admitted)
            self.admission.settle(admitted, recorded)
            self._mark(times, "record")
            answer = _encode(finished, recorded, model, tuple(times))
            self.statistics.seen(answer)
            return answer
        finally:
            self.recorder.end()

    async def _answer(self, admitted: Admitted, model: ServedModel, times: list[tuple[str, int]]) -> Finished:
        """Each item from the cache, from an identical item in flight, or by a run of the variant that routing picks."""
        request = admitted.request
        waiter = Waiter(len(request.rows), partial(self._record_unanswered, admitted, model))
        missing = self._found(admitted, model, waiter)
        self._mark(times, "cache")
        if missing.rows:
            decision = self.router.route(admitted, model, self.batcher)
            self._mark(times, "route")
            self._launch(admitted, model, missing, decision, waiter)
        await self._landing(waiter)
        finished = _finished(admitted, model, waiter, missing.result)
        if finished.run is not None:
            times.append(("queue", max(finished.run.start_ns, times[-1][1])))
            times.append(("model", finished.run.end_ns))
        return finished

    def _found(self, admitted: Admitted, model: ServedModel, waiter: Waiter) -> "_Missing":
        """Serve what is stored, join what is in flight; what is left, with the keys under which it will be known."""
        request = admitted.request
        key_of = self.cache.keys(admitted, model)
        if key_of is None:
            return _Missing(rows=[(place, row, None) for place, row in enumerate(request.rows)], result="off")
        missing: list[tuple[int, Item, bytes | None]] = []
        result: CacheResult = "hit"
        for place, row in enumerate(request.rows):
            key = key_of(row)
            cached = self.cache.get(model, key)
            if cached is not None:
                decision = self.router.priced_now(model.name, cached.decision)
                waiter.take(place, Landed(outputs=cached.outputs, decision=decision))
            elif (flight := self.cache.in_flight(key)) is not None:
                flight.join(waiter, place, deadline_ns=request.deadline_ns)
                result = "joined"
            else:
                missing.append((place, row, key))
        return _Missing(rows=missing, result="miss" if missing else result)

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
        self.batcher.submit(flights, tenant=tenant.tenant_id, patience=None if policy is None else PATIENCE_OF[policy])
        for key, flight in by_key.items():
            self.cache.take_off(key, flight)

    async def _landing(self, waiter: Waiter) -> None:
        try:
            await waiter.future
        except asyncio.CancelledError:
            # The client left. What landed in the same instant is recorded here, what lands later by its flights.
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.settled(waiter)
            raise

    def _record_unanswered(self, admitted: Admitted, model: ServedModel, waiter: Waiter) -> None:
        """What ran for a client that left, or for a request that failed as a whole, is owed all the same."""
        outcome: Outcome = "cancelled" if waiter.future.cancelled() or waiter.future.exception() is None else "error"
        finished = _finished(admitted, model, waiter, "off", outcome=outcome)
        if finished.run is not None:
            self.recorder.submit_unanswered(finished)

    def _decode(self, call: Call, model: ServedModel) -> InferenceRequest:
        task, wishes = model.task, (self.admission.timeout_s, call.timeout_s, call.hints.deadline_s)
        for name in call.outputs:
            if name not in task.offered:
                raise InvalidRequest(
                    f"outputs: {name!r:.80} is not offered; offered are {', '.join(sorted(task.offered))}"
                )
        return InferenceRequest(
            request_id=new_request_id(),
            model=model.name,
            rows=task.rows(call),
            outputs=call.outputs or tuple(spec.name for spec in task.outputs),
            protocol=call.protocol,
            received_ns=call.received_ns,
            deadline_ns=call.received_ns + ns_from_seconds(min(wish for wish in wishes if wish is not None)),
            hints=call.hints,
            client_id=call.client_id,
        )

    def _mark(self, times: list[tuple[str, int]], stage: str) -> None:
        times.append((stage, self._clock.monotonic_ns()))


@dataclass(frozen=True, slots=True)
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
    request = finished.admitted.request
    return Answer(
        request_id=request.request_id,
        client_id=request.client_id,
        model=model.name,
        version=model.version,
        outputs=model.task.encode(finished.outputs, request.outputs),
        tokens=request.tokens,
        decision=finished.decision,
        usage=recorded.usage,
        emissions_ng=recorded.emissions_ng,
        tenant=finished.admitted.tenant,
        cache=finished.cache,
        times_ns=times,
    )
