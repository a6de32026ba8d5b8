"""Spans of requests, built from their times once they are over: an unsampled request costs nothing."""

from collections import defaultdict
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from greenserve import __version__
from greenserve.serve.telemetry.facts import OK, Facts
from greenserve.units import NG_PER_G, UJ_PER_J

REQUEST = "greenserve.request"
CHILD_OF_STAGE = {
    "admit": "admit",
    "cache": "cache",
    "route": "route",
    "queue": "queue",
    "model": "run",
    "record": "record",
}
SYSTEMS = {"grpc": {"rpc.system": "grpc", "rpc.method": "inference.GRPCInferenceService/ModelInfer"}}


class Tracer:
    """Makes the span tree of a request: `greenserve.request` with a child for each stage that it went through.

    The `run` spans of requests that shared a batch link each other's request.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("greenserve", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def export(self, requests: Sequence[Facts], *, unix_offset_ns: int) -> None:
        """Build the spans of requests that are over; `unix_offset_ns` makes Unix time [ns] of monotonic time."""
        opened = [(facts, self._open(facts, unix_offset_ns)) for facts in requests]
        mates: dict[int, list[SpanContext]] = defaultdict(list)
        for facts, span in opened:
            if (end_ns := dict(facts.times_ns).get("model")) is not None:
                mates[end_ns].append(span.get_span_context())
        for facts, span in opened:
            self._stages(facts, span, mates, unix_offset_ns)
            span.end(facts.times_ns[-1][1] + unix_offset_ns)

    def close(self) -> None:
        """Send what waits, end."""
        self._provider.shutdown()

    def _open(self, facts: Facts, unix_offset_ns: int) -> trace.Span:
        carrier = {"traceparent": facts.traceparent} if facts.traceparent else {}
        span = self._tracer.start_span(
            REQUEST,
            context=self._propagator.extract(carrier, context=Context()),
            kind=SpanKind.SERVER,
            attributes=attributes_of(facts),
            start_time=facts.times_ns[0][1] + unix_offset_ns,
        )
        if facts.code != OK:
            span.set_status(Status(StatusCode.ERROR, facts.message or facts.code))
        return span

    def _stages(
        self, facts: Facts, parent: trace.Span, mates: dict[int, list[SpanContext]], unix_offset_ns: int
    ) -> None:
        context = trace.set_span_in_context(parent, Context())
        before_ns = facts.times_ns[0][1]
        for stage, at_ns in facts.times_ns[1:]:
            if stage in CHILD_OF_STAGE:
                others = [each for each in mates[at_ns] if each is not parent.get_span_context()]
                child = self._tracer.start_span(
                    CHILD_OF_STAGE[stage],
                    context=context,
                    links=[Link(each) for each in others] if stage == "model" else [],
                    start_time=before_ns + unix_offset_ns,
                )
                child.end(at_ns + unix_offset_ns)
            before_ns = at_ns


def resource() -> Resource:
    """Who tells."""
    return Resource.create({"service.name": "greenserve", "service.version": __version__})


def attributes_of(facts: Facts) -> dict[str, AttributeValue]:
    """What a request's span says; unknown is left out."""
    known: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": "embeddings" if facts.protocol == "openai" else "inference",
        "gen_ai.request.model": facts.model or None,
        "gen_ai.usage.input_tokens": facts.tokens,
        "greenserve.request.id": facts.request_id or None,
        "greenserve.tenant": facts.tenant or None,
        "greenserve.variant": facts.variant or None,
        "greenserve.region": facts.region or None,
        "greenserve.cache": facts.cache or None,
        "greenserve.request.energy": None if facts.energy_uj is None else facts.energy_uj / UJ_PER_J,
        "greenserve.request.energy.tier": facts.tier or None,
        "greenserve.request.energy.state": facts.state or None,
        "greenserve.request.carbon": None if facts.emissions_ng is None else facts.emissions_ng / NG_PER_G,
        "error.type": None if facts.code == OK else facts.code,
        **SYSTEMS.get(facts.protocol, {"http.request.method": "POST"}),
    }
    return {name: value for name, value in known.items() if value is not None}
