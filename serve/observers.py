"""Who is told of every request and every batch: the protocol's statistics, and telemetry."""

from greenserve.ports import Clock
from greenserve.records import Span
from greenserve.serve.call import Answer, Call
from greenserve.serve.models import Models
from greenserve.serve.statistics import Statistics
from greenserve.serve.telemetry.hub import Telemetry


class Observers:
    """Tells both; neither may fail a request."""

    def __init__(self, *, models: Models, statistics: Statistics, telemetry: Telemetry, clock: Clock) -> None:
        self.statistics = statistics
        self.telemetry = telemetry
        self._models = models
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Observers {self.statistics!r} {self.telemetry!r}>"

    def answered(self, call: Call, answer: Answer) -> None:
        """A request was answered."""
        self.statistics.seen(answer)
        self.telemetry.answered(call, answer)

    def refused(self, call: Call, error: BaseException) -> None:
        """A request was refused, failed, or left by its client."""
        model = self._models.get(call.model)
        if model is not None:
            after_ns = self._clock.monotonic_ns() - call.received_ns
            self.statistics.failed(model.name, model.version, after_ns=after_ns)
        self.telemetry.refused(call, error)

    def ran(self, key: str, span: Span, predicted_s: float | None) -> None:
        """A batch of the variant `key` (model/variant) has run; `predicted_s` [s] is what it was thought to take."""
        name, _, variant = key.partition("/")
        model = self._models.get(name)
        if model is not None:
            took_ns = span.end_ns - span.start_ns
            self.statistics.ran(name, model.version, variant, items=len(span.lengths), took_ns=took_ns)
        self.telemetry.batch(span, model=name, variant=variant, predicted_s=predicted_s)
