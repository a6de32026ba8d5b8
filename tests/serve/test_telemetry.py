"""Telemetry: one call per request, told once a second as metrics, lines and spans; nothing of payloads and keys."""

import asyncio
import gzip
import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from greenserve.clock import SystemClock
from greenserve.errors import GreenServeError, InvalidRequest, Overloaded
from greenserve.records import Span
from greenserve.serve.telemetry.hub import Telemetry, telemetry_of
from greenserve.serve.telemetry.logs import JsonFormatter
from greenserve.serve.telemetry.metrics_app import MetricsApp
from greenserve.serve.telemetry.publisher import Publisher
from greenserve.serve.telemetry.traces import Tracer
from tests.serve.building import a_call, a_config, an_answer, until

CLOCK = SystemClock()
TIMES = (("received", 0), ("admit", 1_000_000), ("queue", 3_000_000), ("model", 9_000_000), ("record", 10_000_000))


@pytest.fixture
def telemetry(tmp_path: Path) -> Telemetry:
    """Metrics and every log line, no traces; not started."""
    return Telemetry(clock=CLOCK, models=["tiny"], publisher=Publisher(tmp_path, "gateway"), log_share=1.0)


async def shown(telemetry: Telemetry, *, method: str = "GET", accept: str = "text/plain") -> tuple[int, str, str]:
    """(status, content type, text) of `/metrics`."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    await MetricsApp(telemetry)({"method": method, "headers": [(b"accept", accept.encode())]}, receive, send)
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], headers[b"content-type"].decode(), sent[1]["body"].decode()


async def test_an_answered_request_is_counted_once_everywhere(telemetry: Telemetry) -> None:
    """Requests, durations, stages, overhead, cache, energy with its tier."""
    telemetry.answered(a_call(clock=CLOCK), an_answer(times_ns=TIMES))

    status, _, text = await shown(telemetry)

    where = 'model="tiny",region="north",variant="fp32"'
    assert 200 == status
    for name, labels, value in (
        ("requests_total", 'code="ok",model="tiny",protocol="http",region="north",variant="fp32"', "1.0"),
        ("request_duration_seconds_sum", where, "0.01"),
        ("stage_duration_seconds_sum", 'stage="model"', "0.006"),
        ("gateway_overhead_seconds_sum", where, "0.002"),
        ("queue_wait_seconds_sum", 'model="tiny",variant="fp32"', "0.002"),
        ("cache_requests_total", 'model="tiny",region="north",result="miss",variant="fp32"', "1.0"),
        ("request_energy_joules_sum", 'model="tiny",region="north",tier="class_average",variant="fp32"', "1.234567"),
    ):
        assert f"greenserve_{name}{{{labels}}} {value}" in text, text


@pytest.mark.parametrize(
    ("error", "code"),
    [(Overloaded("full"), "overloaded"), (asyncio.CancelledError(), "client-closed"), (KeyError("x"), "internal")],
)
async def test_what_was_not_answered_is_counted_by_its_code(
    telemetry: Telemetry, error: BaseException, code: str
) -> None:
    """A client that left and a fault of ours have codes too."""
    telemetry.refused(a_call(clock=CLOCK), error)

    _, _, text = await shown(telemetry)

    assert f'greenserve_refused_total{{code="{code}"}} 1.0' in text


async def test_names_that_clients_invent_make_no_series(telemetry: Telemetry) -> None:
    """Else anybody could fill the memory of who scrapes."""
    for number in range(50):
        telemetry.refused(a_call(clock=CLOCK, model=f"invented-{number}"), InvalidRequest("no"))

    _, _, text = await shown(telemetry)

    assert "invented" not in text
    assert 1 == text.count("greenserve_requests_total{")


async def test_a_batch_shows_its_size_time_and_how_well_it_was_foreseen(telemetry: Telemetry) -> None:
    """The ratio is left out where nothing was foreseen."""
    span = Span(
        batch_id="b",
        variant="fp32",
        device="cpu",
        start_ns=0,
        end_ns=4_000_000,
        cpu_ns=1,
        lengths=(3, 4, 5),
        padded_length=5,
    )
    telemetry.batch(span, model="tiny", variant="fp32", predicted_s=0.002)
    telemetry.batch(span, model="tiny", variant="fp32")

    _, _, text = await shown(telemetry)

    where = '{model="tiny",variant="fp32"}'
    assert f"greenserve_batch_size_sum{where} 6.0" in text
    assert f"greenserve_batch_duration_seconds_sum{where} 0.008" in text
    assert f"greenserve_batch_prediction_ratio_sum{where} 2.0" in text
    assert f"greenserve_batch_prediction_ratio_count{where} 1.0" in text


async def test_metrics_come_in_the_format_that_is_asked_for(telemetry: Telemetry) -> None:
    """Prometheus' text or OpenMetrics; HEAD without a body; nothing else than reading."""
    telemetry.gauge("greenserve_ledger_lag_seconds", 0.5)
    plain = await shown(telemetry)
    opened = await shown(telemetry, accept="application/openmetrics-text; version=1.0.0")

    assert plain[1].startswith("text/plain")
    assert opened[1].startswith("application/openmetrics-text")
    assert opened[2].endswith("# EOF\n")
    assert "" == (await shown(telemetry, method="HEAD"))[2]
    assert 405 == (await shown(telemetry, method="POST"))[0]
    assert 404 == (await shown(Telemetry(clock=CLOCK, models=[])))[0]


async def test_what_is_over_is_told_without_anybody_asking(tmp_path: Path) -> None:
    """The file of this process appears by itself, and other processes can read it."""
    folder = tmp_path / "metrics"
    telemetry = Telemetry(clock=CLOCK, models=["tiny"], publisher=Publisher(folder, "gateway"))
    telemetry.start()
    telemetry.answered(a_call(clock=CLOCK), an_answer(times_ns=TIMES))

    await until(lambda: any(folder.glob("gateway-*.series")))
    await telemetry.close()

    other = Publisher(folder, "other")
    assert "greenserve_requests_total" in {spec.name for spec, _, _ in other.merged()}


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What the log of requests says, as the formatter writes it."""
    caplog.set_level(logging.INFO, logger="greenserve.requests")
    formatter = JsonFormatter()
    return lambda: [
        json.loads(formatter.format(record)) for record in caplog.records if record.name == "greenserve.requests"
    ]


def test_a_line_holds_ids_times_and_energy_with_its_tier(telemetry: Telemetry, lines: Lines) -> None:
    """One JSON object; what is unknown is not there."""
    answer = an_answer(times_ns=TIMES, emissions_ng=None)
    telemetry.answered(a_call(clock=CLOCK, client_id="mine"), answer)
    telemetry.fold()

    (line,) = lines()
    assert (answer.request_id, "mine", "acme", "tiny", "fp32", "north", "ok") == tuple(
        line[name] for name in ("request_id", "client_id", "tenant", "model", "variant", "region", "code")
    )
    assert (1_234_567, "class_average", 10.0) == (line["energy_uj"], line["tier"], line["duration_ms"])
    assert 6.0 == line["stages_ms"]["model"]
    assert "emissions_ng" not in line


def test_lines_hold_no_payload_and_no_key(telemetry: Telemetry, lines: Lines) -> None:
    """Not even where an error's message quotes what was sent."""
    call = a_call("my secret text", clock=CLOCK, credential="gs_secretkey")
    telemetry.answered(call, an_answer(times_ns=TIMES))
    telemetry.refused(call, InvalidRequest("text[0]: got 'my secret text'"))
    telemetry.refused(call, Overloaded("the queue is full"))
    telemetry.fold()

    assert ["answered", "invalid-request", "the queue is full"] == [line["message"] for line in lines()]
    assert ["info", "warning", "warning"] == [line["level"] for line in lines()]
    assert "secret" not in json.dumps(lines())


def test_errors_are_always_logged_and_of_successes_a_share(lines: Lines) -> None:
    """With a share of nothing only errors are left."""
    silent = Telemetry(clock=CLOCK, models=["tiny"])
    for _ in range(20):
        silent.answered(a_call(clock=CLOCK), an_answer(times_ns=TIMES))
    silent.refused(a_call(clock=CLOCK), GreenServeError("it broke"))
    silent.fold()

    assert [("internal", "error")] == [(line["code"], line["level"]) for line in lines()]


def test_a_fault_keeps_its_trace_in_the_line() -> None:
    """Other loggers' records become objects too."""
    try:
        raise KeyError("x")
    except KeyError as error:
        record = logging.LogRecord("any", logging.ERROR, "f", 1, "it %s", ("broke",), (KeyError, error, None))

    line = json.loads(JsonFormatter().format(record))

    assert ("any", "error", "it broke") == (line["logger"], line["level"], line["message"])
    assert "KeyError" in line["exception"]


def test_only_sampled_requests_make_spans() -> None:
    """A share of nothing, one caller that traces."""
    exporter = InMemorySpanExporter()
    tracer = Tracer(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(clock=CLOCK, models=["tiny"], tracer=tracer)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for traceparent in (None, None, parent):
        telemetry.answered(a_call(clock=CLOCK, traceparent=traceparent), an_answer(times_ns=TIMES))
    telemetry.refused(a_call(clock=CLOCK), Overloaded("full"))
    telemetry.fold()

    found = [span for span in exporter.get_finished_spans() if span.name == "greenserve.request"]
    tracer.close()
    assert 1 == len(found)


def test_what_is_configured_is_built(tiny_manifest: Path, tmp_path: Path) -> None:
    """Metrics by default; none where they are switched off."""
    on = telemetry_of(a_config(tiny_manifest, tmp_path), folder=tmp_path / "on", name="gateway", clock=CLOCK)
    config = a_config(tiny_manifest, tmp_path, telemetry={"prometheus": False})
    off = telemetry_of(config, folder=tmp_path / "off", name="gateway", clock=CLOCK)

    assert on.publisher is not None
    assert off.publisher is None
    assert not (tmp_path / "off").exists()


class Collector(BaseHTTPRequestHandler):
    """Takes what an OTLP exporter sends. State: the bodies by path, for the whole class."""

    bodies: ClassVar[dict[str, list[bytes]]] = {}

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.bodies.setdefault(self.path, []).append(
            gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


async def test_spans_and_metrics_reach_a_collector(tiny_manifest: Path, tmp_path: Path) -> None:
    """Over OTLP, with the optional exporter, when the gateway stops at the latest."""
    Collector.bodies.clear()
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = {"otlp_endpoint": f"http://127.0.0.1:{server.server_port}/", "trace_sample": "100%"}
        config = a_config(tiny_manifest, tmp_path, telemetry=settings)
        telemetry = telemetry_of(config, folder=tmp_path / "metrics", name="gateway", clock=CLOCK)
        telemetry.answered(a_call(clock=CLOCK), an_answer(times_ns=TIMES))
        await telemetry.close()
        server.shutdown()
        thread.join(10.0)

    assert {"/v1/traces", "/v1/metrics"} == set(Collector.bodies)
    assert b"greenserve.request" in b"".join(Collector.bodies["/v1/traces"])
    assert b"http.server.request.duration" in b"".join(Collector.bodies["/v1/metrics"])
