"""Trackers as Prometheus metrics: on the process's own `/metrics`, or in a file for node_exporter."""

import threading
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from greenserve.carbon.exporters.files import replace_file
from greenserve.carbon.tracked import CarbonReport
from greenserve.units import grams_from_ng, joules_from_uj

LABELS = ("label", "zone")
UNKNOWN = "unknown"
_ADDING = threading.Lock()


class Tracked(Collector):
    """The trackers of a registry. State, under `_lock`: the last report of each tracker by its number, and
    how many numbers were given.

    Trackers of one label and zone are one series: their sum. A figure that is unknown has no sample.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[int, CarbonReport] = {}
        self._given = 0

    def put(self, number: int, report: CarbonReport) -> None:
        """Take the present report of tracker `number`."""
        with self._lock:
            self._reports[number] = report

    def number(self) -> int:
        """A number for one more tracker; ended ones keep theirs, or their joules would leave the counter."""
        with self._lock:
            self._given += 1
            return self._given

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """The families, as they are now."""
        with self._lock:
            reports = list(self._reports.values())
        energy = CounterMetricFamily(
            "greenserve_tracked_energy_joules", "IT energy of tracked work.", labels=(*LABELS, "tier")
        )
        uncovered = CounterMetricFamily(
            "greenserve_tracked_uncovered_joules", "Site energy whose grid intensity is unknown.", labels=LABELS
        )
        # A gauge: what a provider restates makes an earlier sample's grams fewer, which no counter may become.
        grams = GaugeMetricFamily(
            "greenserve_tracked_emissions_grams", "CO2e of tracked work, location-based.", labels=(*LABELS, "basis")
        )
        for report in reports:
            names = (report.label, report.zone)
            if report.energy_uj is not None:
                energy.add_metric((*names, report.tier or UNKNOWN), joules_from_uj(report.energy_uj))
            uncovered.add_metric(names, joules_from_uj(report.uncovered_uj))
            if report.emissions_ng is not None:
                grams.add_metric((*names, _basis(report)), grams_from_ng(report.emissions_ng))
        for family in (energy, uncovered, grams):
            yield _summed(family)


class PrometheusExporter:
    """Reports to a registry (default: the process's, which `prometheus_client.start_http_server` shows), or writes a
    `.prom` file for the textfile collector of node_exporter."""

    def __init__(self, *, registry: CollectorRegistry = REGISTRY, file: Path | None = None) -> None:
        self._file = file
        self._registry = CollectorRegistry() if file is not None else registry
        self._tracked = _tracked_of(self._registry)
        self._number = self._tracked.number()

    def __repr__(self) -> str:
        return f"<PrometheusExporter {self._file or 'registry'}>"

    def write(self, report: CarbonReport) -> None:
        """Show the report; a file is written whole."""
        self._tracked.put(self._number, report)
        if self._file is not None:
            replace_file(self._file, generate_latest(self._registry).decode())

    def close(self) -> None:
        """The figures stay: what was used does not go away."""


_BY_REGISTRY: WeakKeyDictionary[CollectorRegistry, Tracked] = WeakKeyDictionary()


def _tracked_of(registry: CollectorRegistry) -> Tracked:
    """The one collector of a registry: two with the same families would make an exposition that is refused."""
    with _ADDING:
        found = _BY_REGISTRY.get(registry)
        if found is None:
            found = _BY_REGISTRY[registry] = Tracked()
            registry.register(found)
        return found


def _basis(report: CarbonReport) -> str:
    """The basis of the lines' readings; both names where a run had both."""
    return "+".join(sorted({line.intensity.basis for line in report.lines if line.intensity is not None}))


def _summed(family: CounterMetricFamily | GaugeMetricFamily) -> CounterMetricFamily | GaugeMetricFamily:
    """One sample for each set of labels."""
    sums: dict[tuple[str, ...], float] = {}
    for sample in family.samples:
        key = tuple(sample.labels.values())
        sums[key] = sums.get(key, 0.0) + sample.value
    family.samples = []
    for key, value in sums.items():
        family.add_metric(key, value)
    return family
