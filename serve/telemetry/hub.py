"""What the gateway tells telemetry: one call per request and one per batch, worked off once a second.

State: the requests and batches that are over and not yet worked off, and this process's series; changed on the
listeners' loop alone.
"""

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from greenserve.config import Config
from greenserve.errors import GreenServeError
from greenserve.ports import Clock
from greenserve.records import Span
from greenserve.serve.call import Answer, Call
from greenserve.serve.telemetry import facts as over
from greenserve.serve.telemetry.counting import count_all
from greenserve.serve.telemetry.exposition import exposed
from greenserve.serve.telemetry.facts import OK, Facts
from greenserve.serve.telemetry.logs import log_request
from greenserve.serve.telemetry.otel_metrics import OtelMetrics
from greenserve.serve.telemetry.otlp import otlp
from greenserve.serve.telemetry.publisher import Publisher
from greenserve.serve.telemetry.sampling import is_logged, is_traced
from greenserve.serve.telemetry.series import Series
from greenserve.serve.telemetry.traces import Tracer
from greenserve.trouble import Trouble
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.telemetry")
EVERY_S = 1.0
MOST_WAITING = 512
"""Facts that may wait for the next second; more are worked off at once."""

NS_PER_US = 1_000
CLIENT_CLOSED = "client-closed"
INTERNAL = "internal"
CROWDED, MOST_CROWD = frozenset({"overloaded", "rate-limited"}), 20
"""An overload must not be made worse by a line for each of its refusals: so many are logged at a time (one second)."""
NO_ID = "0" * 8


class Telemetry:
    """Metrics, traces and logs of one process; tells nothing of payloads and keys.

    `publisher` None keeps no metrics; `tracer` and `otel` None send none; `log_share` and `trace_share` are 0..1.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        models: Collection[str],
        publisher: Publisher | None = None,
        tracer: Tracer | None = None,
        otel: OtelMetrics | None = None,
        log_share: float = 0.0,
        trace_share: float = 0.0,
    ) -> None:
        self.publisher = publisher
        self._clock = clock
        self._models = frozenset(models)
        self._tracer = tracer
        self._otel = otel
        self._log_share = log_share
        self._trace_share = trace_share
        self._waiting: list[Facts] = []
        self._trouble = Trouble(log, "telemetry could not be told; it goes on")
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Telemetry {len(self._waiting)} waiting, {self.publisher!r}>"

    def start(self) -> None:
        """Begin to work off on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_telling(), name="telemetry")

    async def close(self) -> None:
        """Work off what waits and end; the file with the counters stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._tell()
        for sender in (self._tracer, self._otel):
            if sender is not None:
                await asyncio.to_thread(sender.close)

    def answered(self, call: Call, answer: Answer) -> None:
        """A request was answered."""
        self._waiting.append(over.answered(call, answer))
        if len(self._waiting) >= MOST_WAITING:
            self.fold()

    def refused(self, call: Call, error: BaseException) -> None:
        """A request was refused, failed, or left by its client."""
        if isinstance(error, GreenServeError):
            code, words = error.code, str(error)
        else:
            code, words = (CLIENT_CLOSED if isinstance(error, asyncio.CancelledError) else INTERNAL), ""
        known = call.model in self._models
        now_ns = self._clock.monotonic_ns()
        self._waiting.append(over.refused(call, code, words, known_model=known, now_ns=now_ns))
        if len(self._waiting) >= MOST_WAITING:
            self.fold()

    def batch(self, span: Span, *, model: str, variant: str, predicted_s: float | None = None) -> None:
        """A batch has run; `predicted_s` [s] is what it was thought to take."""
        if self.publisher is None:
            return
        series, labels = self.publisher.series, (model, variant)
        took_s = (span.end_ns - span.start_ns) / NS_PER_S
        series.observe("greenserve_batch_size", labels, len(span.lengths))
        series.observe("greenserve_batch_duration_seconds", labels, took_s)
        if predicted_s:
            series.observe("greenserve_batch_prediction_ratio", labels, took_s / predicted_s)

    def gauge(self, name: str, value: float | None, **labels: str) -> None:
        """Say how much there is of something now; None: that is not known."""
        if self.publisher is not None:
            self.publisher.gauge(name, value, **labels)

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        if self.publisher is not None:
            self.publisher.count(name, amount, **labels)

    async def exposition(self, accept: str) -> tuple[str, bytes] | None:
        """(content type, body) of the metrics of all processes of this node; None where none are kept."""
        if self.publisher is None:
            return None
        self.fold()
        merged = await asyncio.to_thread(self.publisher.merged, self.publisher.snapshot())
        return exposed(merged, accept=accept)

    def fold(self) -> None:
        """Work off the requests that wait: into series, spans and lines."""
        waiting, self._waiting = self._waiting, []
        if self.publisher is not None:
            count_all(self.publisher.series, waiting)
        if self._otel is not None:
            for facts in waiting:
                self._otel.record(facts)
        self._log(waiting)
        if self._tracer is not None:
            sampled = [facts for facts in waiting if self._is_traced(facts)]
            offset_ns = self._clock.unix_us() * NS_PER_US - self._clock.monotonic_ns()
            self._tracer.export(sampled, unix_offset_ns=offset_ns)

    def _log(self, waiting: list[Facts]) -> None:
        """Answers by their share, errors all; of those refused for want of capacity the first, and how many more."""
        crowd = 0
        for facts in waiting:
            if facts.code in CROWDED:
                crowd += 1
                if crowd > MOST_CROWD:
                    continue
            if facts.code != OK or is_logged(facts.request_id, share=self._log_share):
                log_request(facts)
        if crowd > MOST_CROWD:
            log.warning("%d more requests were refused as overloaded or rate-limited", crowd - MOST_CROWD)

    def _is_traced(self, facts: Facts) -> bool:
        # A refusal has no id of its own: it is traced where its caller traces.
        share = self._trace_share if facts.request_id else 0.0
        return is_traced(facts.request_id or NO_ID, facts.traceparent, share=share)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._tell()

    async def _tell(self) -> None:
        try:
            self.fold()
            if self.publisher is not None:
                await asyncio.to_thread(self.publisher.write, self.publisher.document())
        except Exception as error:  # a full disk must not end the service, nor its stop
            self._trouble.met(error)
        else:
            self._trouble.over()


def telemetry_of(config: Config, *, folder: Path, name: str, clock: Clock) -> Telemetry:
    """The configured telemetry of one process; its series are shown in `folder`. Raises DependencyMissing, OSError."""
    settings = config.telemetry
    publisher = Publisher(folder, name) if settings.prometheus else None
    tracer, otel = None, None
    if settings.otlp_endpoint is not None:
        spans, metrics = otlp(settings.otlp_endpoint)
        tracer = Tracer(spans)
        otel = OtelMetrics(metrics, series=Series if publisher is None else publisher.snapshot)
    return Telemetry(
        clock=clock,
        models=[model.name for model in config.models],
        publisher=publisher,
        tracer=tracer,
        otel=otel,
        log_share=settings.log_sample,
        trace_share=settings.trace_sample,
    )
