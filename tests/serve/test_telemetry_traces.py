"""Traces: a span tree made from a request's times, sampled as its caller has it or by share."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from greenserve.ids import new_request_id
from greenserve.serve.telemetry.facts import Facts
from greenserve.serve.telemetry.otel_metrics import OtelMetrics
from greenserve.serve.telemetry.sampling import flags_of, is_logged, is_traced
from greenserve.serve.telemetry.series import Series
from greenserve.serve.telemetry.traces import Tracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = ("accept", "admit", "cache", "route", "queue", "model", "record")
OFFSET_NS = 1_700_000_000_000_000_000


def some_facts(*, run_end_ns: int = 6_000, **changes: object) -> Facts:
    """An answered request whose stages end 1 us apart."""
    ends = {stage: 1_000 * place for place, stage in enumerate(STAGES, start=1)} | {"model": run_end_ns}
    times = (("received", 0), *ends.items())
    facts = Facts("tiny", "1", "http", "ok", times, None, None, request_id=new_request_id(), variant="fp32", tokens=5)
    return facts._replace(region="here", energy_uj=2_500_000, tier="modelled", **changes)  # type: ignore[arg-type]


class Exported:
    """A tracer, and the spans that it made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = Tracer(SimpleSpanProcessor(self.exporter))

    def spans(self, *facts: Facts) -> list[ReadableSpan]:
        """The spans of requests, in the order in which they start."""
        self.tracer.export(facts, unix_offset_ns=OFFSET_NS)
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


@pytest.fixture
def exported() -> Iterator[Exported]:
    """A tracer into memory."""
    made = Exported()
    yield made
    made.tracer.close()


def test_a_request_is_a_span_with_a_child_for_each_stage(exported: Exported) -> None:
    """From receipt to record, by the request's own times."""
    spans = {span.name: span for span in exported.spans(some_facts())}

    whole = spans["greenserve.request"]
    assert {"greenserve.request", "admit", "cache", "route", "queue", "run", "record"} == set(spans)
    assert (OFFSET_NS, OFFSET_NS + 7_000) == (whole.start_time, whole.end_time)
    assert (OFFSET_NS + 5_000, OFFSET_NS + 6_000) == (spans["run"].start_time, spans["run"].end_time)
    children = [span for name, span in spans.items() if name != "greenserve.request"]
    assert whole.context is not None
    assert {whole.context.span_id} == {child.parent.span_id for child in children if child.parent}
    assert whole.attributes is not None
    assert (2.5, "modelled", "tiny") == tuple(
        whole.attributes[name]
        for name in ("greenserve.request.energy", "greenserve.request.energy.tier", "gen_ai.request.model")
    )
    assert "greenserve.request.carbon" not in whole.attributes


def test_a_callers_trace_goes_on(exported: Exported) -> None:
    """Its trace id, and its span as the parent."""
    (whole,) = (span for span in exported.spans(some_facts(traceparent=PARENT)) if span.name == "greenserve.request")

    assert whole.parent is not None
    assert (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331) == (whole.parent.trace_id, whole.parent.span_id)


def test_runs_link_the_requests_of_their_batch(exported: Exported) -> None:
    """Those whose run ended together, and no others."""
    spans = exported.spans(some_facts(), some_facts(), some_facts(run_end_ns=6_500))

    links = sorted(len(span.links) for span in spans if span.name == "run")
    requests = {span.context.trace_id for span in spans if span.name == "greenserve.request" and span.context}
    (one, two) = (span for span in spans if span.links)
    assert [0, 1, 1] == links
    assert {link.context.trace_id for link in (*one.links, *two.links)} < requests
    assert one.context is not None
    assert one.links[0].context.trace_id != one.context.trace_id


def test_a_refusal_is_an_error_with_its_code(exported: Exported) -> None:
    """And without stages that it never saw."""
    refused = Facts("tiny", "1", "grpc", "overloaded", (("received", 0), ("refused", 50)), None, PARENT)
    (span,) = exported.spans(refused)

    assert span.attributes is not None
    assert ("overloaded", "grpc") == (span.attributes["error.type"], span.attributes["rpc.system"])
    assert not span.status.is_ok


@given(st.booleans(), st.floats(0, 1))
def test_the_callers_decision_wins(sampled: bool, share: float) -> None:
    """Parent-based: the flag decides, whatever the share."""
    parent = PARENT[:-2] + ("01" if sampled else "00")

    assert sampled == is_traced(new_request_id(), parent, share=share)


def test_of_requests_without_a_trace_a_share_is_taken() -> None:
    """All of 100 %, none of 0 %, about 5 % of many; logs take another 5 %."""
    ids = [new_request_id() for _ in range(4_000)]

    assert all(is_traced(each, None, share=1.0) and is_logged(each, share=1.0) for each in ids)
    assert not any(is_traced(each, None, share=0.0) or is_logged(each, share=0.0) for each in ids)
    assert 120 < sum(is_traced(each, None, share=0.05) for each in ids) < 280
    assert 120 < sum(is_logged(each, share=0.05) for each in ids) < 280


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "x",
        PARENT[:-1],
        PARENT.upper(),
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
    ],
)
def test_a_broken_traceparent_is_none(broken: str) -> None:
    """The request starts a trace of its own, by the share."""
    assert flags_of(broken) is None


def test_metrics_of_requests_and_meters_are_told() -> None:
    """Unknown emissions are not recorded; the meter's joules are those of this process's series."""
    series = Series()
    series.add("greenserve_meter_energy_joules_total", ("cpu", "rapl"), 12.5)
    reader = InMemoryMetricReader()
    metrics = OtelMetrics(reader, series=lambda: series)
    metrics.record(some_facts())

    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, list[Any]] = {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    metrics.close()
    assert {"http.server.request.duration", "greenserve.request.energy", "hw.energy"} == set(found)
    assert [2.5] == [point.sum for point in found["greenserve.request.energy"]]
    assert [12.5] == [point.value for point in found["hw.energy"]]
