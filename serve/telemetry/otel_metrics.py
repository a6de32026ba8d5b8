"""OpenTelemetry's metrics: duration, energy and emissions of requests, and what the meters counted."""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader

from greenserve.serve.telemetry.facts import OK, Facts
from greenserve.serve.telemetry.series import Series
from greenserve.serve.telemetry.traces import resource
from greenserve.units import NG_PER_G, UJ_PER_J

METERED = "greenserve_meter_energy_joules_total"


class OtelMetrics:
    """Instruments that are fed with requests that are over; `series` says what the meters counted."""

    def __init__(self, reader: MetricReader, *, series: Callable[[], Series]) -> None:
        self._provider = MeterProvider(metric_readers=[reader], resource=resource(), shutdown_on_exit=False)
        meter = self._provider.get_meter("greenserve")
        self._duration = meter.create_histogram("http.server.request.duration", "s", "Duration of requests")
        self._energy = meter.create_histogram("greenserve.request.energy", "J", "Provisional energy of requests")
        self._carbon = meter.create_histogram("greenserve.request.carbon", "g", "Provisional emissions of requests")
        self._series = series
        meter.create_observable_counter("hw.energy", [self._metered], "J", "Energy that the meters counted")

    def record(self, facts: Facts) -> None:
        """One request; what is unknown of it is not recorded."""
        where = {
            "greenserve.model": facts.model,
            "greenserve.variant": facts.variant,
            "greenserve.region": facts.region,
        }
        ended = {"error.type": facts.code} if facts.code != OK else {}
        self._duration.record(facts.duration_s, where | ended | {"network.protocol.name": facts.protocol})
        evidence = where | {"greenserve.tier": facts.tier}
        if facts.energy_uj is not None:
            self._energy.record(facts.energy_uj / UJ_PER_J, evidence)
        if facts.emissions_ng is not None:
            self._carbon.record(facts.emissions_ng / NG_PER_G, evidence)

    def close(self) -> None:
        """Send what waits, end."""
        self._provider.shutdown()

    def _metered(self, options: CallbackOptions) -> Iterable[Observation]:
        for spec, labels, value in self._series():
            if spec.name == METERED and isinstance(value, float):
                device, source = labels
                yield Observation(value, {"hw.id": device, "greenserve.source": source})
