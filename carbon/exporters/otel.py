"""Trackers as OpenTelemetry metrics, through whichever meter provider the programme has set up."""

from functools import cache

from opentelemetry.metrics import Counter, MeterProvider, get_meter_provider
from opentelemetry.metrics import _Gauge as Gauge

from greenserve.carbon.tracked import CarbonReport
from greenserve.units import grams_from_ng, joules_from_uj

SCOPE = "greenserve.tracker"


@cache
def _instruments(provider: MeterProvider) -> tuple[Counter, Counter, Gauge]:
    """One set for a provider: a second one of the same names would be told as a mistake."""
    meter = provider.get_meter(SCOPE)
    return (
        meter.create_counter("greenserve.tracked.energy", unit="J", description="IT energy of tracked work."),
        meter.create_counter(
            "greenserve.tracked.uncovered", unit="J", description="Site energy whose grid intensity is unknown."
        ),
        # No counter: a provider may restate an earlier sample's intensity.
        meter.create_gauge("greenserve.tracked.emissions", unit="g", description="CO2e of the run, location-based."),
    )


class OpenTelemetryExporter:
    """Adds what is new at each sample; unknown emissions are not told. State: what was told already [uJ]."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._energy, self._uncovered, self._emissions = _instruments(provider or get_meter_provider())
        self._told = [0, 0]

    def __repr__(self) -> str:
        return f"<OpenTelemetryExporter {self._told[0]} uJ told>"

    def write(self, report: CarbonReport) -> None:
        """Tell the difference to the last report, and the emissions so far."""
        names = {"label": report.label, "zone": report.zone}
        tier: dict[str, str] = {"tier": report.tier} if report.tier else {}
        now = [report.energy_uj or 0, report.uncovered_uj]
        more = [max(0, value - told) for value, told in zip(now, self._told, strict=True)]
        self._energy.add(joules_from_uj(more[0]), names | tier)
        self._uncovered.add(joules_from_uj(more[1]), names)
        self._told = [max(value, told) for value, told in zip(now, self._told, strict=True)]
        if report.emissions_ng is not None:
            self._emissions.set(grams_from_ng(report.emissions_ng), names)

    def close(self) -> None:
        """The provider sends in its own rhythm."""
