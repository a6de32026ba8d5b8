"""The path of a request, whole and in order."""

import asyncio
from functools import partial

from greenserve.carbon.entries import Outcome
from greenserve.ids import new_request_id
from greenserve.ports import Clock
from greenserve.records import Admitted, Decision, InferenceRequest
from greenserve.serve.admission import Admission
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.flight import Flight, Probabilities, Run, Waiter
from greenserve.serve.cache import AnswerCache
from greenserve.serve.call import Answer, CacheResult, Call
from greenserve.serve.models import Models, ServedModel
from greenserve.serve.recorder import Finished, Recorded, Recorder
from greenserve.serve.router import Router
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
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self.models = models
        self.admission = admission
        self.cache = cache
        self.router = router
        self.batcher = batcher
        self.recorder = recorder
        self._clock = clock
        self._timeout_s = timeout_s

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
            return _encode(finished, recorded, model, tuple(times))
        finally:
            self.recorder.end()

    async def _answer(self, admitted: Admitted, model: ServedModel, times: list[tuple[str, int]]) -> Finished:
        """From the cache, from an identical question in flight, or by routing it to a variant and running that."""
        key = self.cache.key(admitted, model)
        cached = self.cache.get(model.name, key)
        if cached is not None:
            self._mark(times, "cache")
            decision = self.router.priced_now(model.name, cached.decision)
            return _finished(admitted, model, decision, cached.probabilities, cache="hit")
        waiter = Waiter(
            asyncio.get_running_loop().create_future(),
            partial(self._record_abandoned, admitted, model),
        )
        flight = self.cache.in_flight(key)
        result: CacheResult = "off" if key is None else "miss" if flight is None else "joined"
        deadline_ns = admitted.request.deadline_ns
        if flight is None:
            decision = self.router.route(admitted, model, self.batcher)
            self._mark(times, "route")
            flight = Flight(
                served=model.variants[decision.variant],
                decision=decision,
                rows=admitted.request.rows,
                deadline_ns=deadline_ns,
            )
            flight.join(waiter, deadline_ns=deadline_ns)
            self.batcher.submit(flight)
            self.cache.take_off(model.name, key, flight)
        else:
            flight.join(waiter, deadline_ns=deadline_ns)
        run = await self._landing(waiter)
        times.append(("queue", max(run.start_ns, times[-1][1])))
        times.append(("model", run.end_ns))
        return _finished(admitted, model, run.decision, run.probabilities, cache=result, run=run)

    async def _landing(self, waiter: Waiter) -> Run:
        try:
            return await waiter.future
        except asyncio.CancelledError:
            # The client left. A run that landed in the same instant is recorded here, a later one by its flight.
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.abandoned(waiter.future.result())
            raise

    def _record_abandoned(self, admitted: Admitted, model: ServedModel, run: Run) -> None:
        finished = _finished(
            admitted, model, run.decision, run.probabilities, cache="off", run=run, outcome="cancelled"
        )
        self.recorder.submit_unanswered(finished)

    def _decode(self, call: Call, model: ServedModel) -> InferenceRequest:
        wishes = (self._timeout_s, call.timeout_s, call.hints.deadline_s)
        return InferenceRequest(
            request_id=new_request_id(),
            model=model.name,
            rows=model.encoder.encode(call.texts),
            outputs=call.outputs,
            protocol=call.protocol,
            received_ns=call.received_ns,
            deadline_ns=call.received_ns + ns_from_seconds(min(wish for wish in wishes if wish is not None)),
            hints=call.hints,
            client_id=call.client_id,
        )

    def _mark(self, times: list[tuple[str, int]], stage: str) -> None:
        times.append((stage, self._clock.monotonic_ns()))


def _finished(
    admitted: Admitted,
    model: ServedModel,
    decision: Decision,
    probabilities: Probabilities,
    *,
    cache: CacheResult,
    run: Run | None = None,
    outcome: Outcome = "ok",
) -> Finished:
    return Finished(
        admitted=admitted,
        decision=decision,
        variant_digest=model.variants[decision.variant].variant.digest,
        probabilities=probabilities,
        run=run,
        cache=cache,
        outcome=outcome,
    )


def _encode(finished: Finished, recorded: Recorded, model: ServedModel, times: tuple[tuple[str, int], ...]) -> Answer:
    request, labels = finished.admitted.request, model.manifest.labels
    return Answer(
        request_id=request.request_id,
        client_id=request.client_id,
        model=model.name,
        version=model.version,
        outputs=request.outputs,
        labels=tuple(labels[index] for index in finished.probabilities.argmax(axis=1).tolist()),
        probabilities=finished.probabilities,
        decision=finished.decision,
        usage=recorded.usage,
        emissions_ng=recorded.emissions_ng,
        tenant=finished.admitted.tenant,
        cache=finished.cache,
        times_ns=times,
    )
