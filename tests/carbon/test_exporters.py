"""Exporters of a tracker: what they write, that unknown is absent, that one that fails stops nothing."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import greenserve.carbon as carbon
from greenserve.carbon import CarbonReport, CarbonTracker, EnergyReport
from greenserve.carbon.energy_report import DeviceEnergy
from greenserve.carbon.exporters.exporter import scalars
from greenserve.carbon.exporters.files import CsvFile, JsonFile
from greenserve.carbon.exporters.json_lines import JsonLines
from greenserve.carbon.exporters.named import exporters_of
from greenserve.carbon.exporters.otel import OpenTelemetryExporter
from greenserve.carbon.exporters.prometheus import PrometheusExporter
from greenserve.carbon.tracked import Pue, tracked_line
from greenserve.errors import ConfigInvalid
from tests.carbon.grid_server import NOW_US, a_reading

SECOND_US = 1_000_000


def a_report(energy_uj: int | None = 3_600_000_000, *, known: bool = True, **changes: Any) -> CarbonReport:
    device = DeviceEnergy(
        device="cpu",
        meter="a test",
        energy_uj=energy_uj,
        static_uj=None,
        active_uj=None,
        foreign_uj=None,
        own_uj=energy_uj,
        low_uj=energy_uj,
        high_uj=energy_uj,
        half_width_pct=0,
        tier="modelled",
        unknown_ns=0,
    )
    energy = EnergyReport(label="train", start_us=NOW_US, duration_ns=10**9, devices=(device,))
    line = tracked_line(
        start_us=NOW_US,
        end_us=NOW_US + SECOND_US,
        energy_uj=energy_uj,
        tier="modelled",
        intensity=a_reading(start_us=NOW_US, level=4, u_grid_bp=4_000) if known else None,
        pue_milli=2_000,
    )
    pue = Pue(milli=2_000, source="a test", half_width_bp=0)
    whole = CarbonReport(label="train", zone="DE", state="running", energy=energy, pue=pue, lines=(line,))
    return replace(whole, **changes)


def prometheus_samples(text: str) -> dict[str, tuple[dict[str, str], float]]:
    return {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_one_import_gives_the_public_names() -> None:
    """As the guide writes it; another name is told apart with those that exist."""
    assert {"CarbonTracker", "EnergyProfiler"} <= set(dir(carbon))
    assert all(getattr(carbon, name).__name__ == name for name in carbon.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Tracker'; it has CarbonReport, CarbonTracker"):
        _ = carbon.Tracker


def test_files_hold_the_report_whole(tmp_path: Path) -> None:
    """JSON the document, CSV the lines; no half-written file is left."""
    JsonFile(tmp_path / "run.json").write(a_report())
    CsvFile(tmp_path / "run.csv").write(a_report(known=False))

    assert 432_000_000 == json.loads((tmp_path / "run.json").read_text())["emissions_ng"]
    (row,) = csv.DictReader((tmp_path / "run.csv").read_text().splitlines())
    assert ("3600000000", "", "") == (row["energy_uj"], row["mg_per_kwh"], row["emissions_ng"])
    assert {"run.json", "run.csv"} == {file.name for file in tmp_path.iterdir()}


def test_lines_of_totals_are_appended(tmp_path: Path) -> None:
    """Every sample one line, the last is the final one; what is unknown is null."""
    lines = JsonLines(tmp_path / "runs.jsonl")
    for report in (a_report(known=False), a_report(state="final")):
        lines.write(report)

    found = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [(None, "running"), (432_000_000, "final")] == [(one["emissions_ng"], one["state"]) for one in found]
    assert {"greenserve.carbon-track-line/1"} == {one["schema"] for one in found}


def test_prometheus_shows_joules_with_tier_and_grams_with_basis() -> None:
    """1 kWh at the meter of the machines, PUE 2, 216 g/kWh; trackers of one label add up."""
    registry = CollectorRegistry()
    for exporter in (PrometheusExporter(registry=registry), PrometheusExporter(registry=registry)):
        exporter.write(a_report(1))
        exporter.write(a_report())
        exporter.close()

    found = prometheus_samples(generate_latest(registry).decode())
    names = {"label": "train", "zone": "DE"}
    assert (names | {"tier": "modelled"}, 7_200.0) == found["greenserve_tracked_energy_joules_total"]
    labels, grams = found["greenserve_tracked_emissions_grams"]
    assert names | {"basis": "lifecycle"} == labels
    assert pytest.approx(0.864) == grams
    assert (names, 0.0) == found["greenserve_tracked_uncovered_joules_total"]


def test_unknown_emissions_are_no_sample(tmp_path: Path) -> None:
    """Neither in Prometheus nor among the scalars; the joules without grams are told."""
    PrometheusExporter(file=tmp_path / "run.prom").write(a_report(known=False))

    found = prometheus_samples((tmp_path / "run.prom").read_text())
    assert "greenserve_tracked_emissions_grams" not in found
    assert 7_200.0 == found["greenserve_tracked_uncovered_joules_total"][1]
    assert "emissions_grams" not in scalars(a_report(known=False))
    assert {"uncovered_energy_joules": 0.0} == dict(scalars(a_report(None)))


def test_opentelemetry_gets_what_is_new() -> None:
    """A counter of joules that ends at the total, a gauge of grams."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    for exporter in (OpenTelemetryExporter(provider), OpenTelemetryExporter(provider)):
        exporter.write(a_report(1_600_000_000))
        exporter.write(a_report())
        exporter.close()

    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    found: dict[str, tuple[Any, Any]] = {one.name: (one.unit, next(iter(one.data.data_points))) for one in metrics}
    unit, point = found["greenserve.tracked.energy"]
    assert ("J", 7_200.0) == (unit, point.value)
    assert {"label": "train", "zone": "DE", "tier": "modelled"} == dict(point.attributes or {})
    assert ("g", pytest.approx(0.432)) == (
        found["greenserve.tracked.emissions"][0],
        found["greenserve.tracked.emissions"][1].value,
    )
    provider.shutdown()


@pytest.mark.parametrize("given", [["xml"], ["run.txt"], ["none/run.csv"], ["csv", "csv"], "csv"])
def test_other_exporters_are_refused_with_what_is_allowed(given: Any) -> None:
    """Before anything is measured."""
    with pytest.raises(ConfigInvalid, match=r"csv, json, jsonl, prom, prometheus, otel|each stands once"):
        exporters_of(given, "train")


def test_a_kind_of_file_is_named_by_the_label() -> None:
    """No sign in a label leads to another folder."""
    (found,) = exporters_of(["csv"], "../fine tune/1")

    assert "<CsvFile fine-tune-1.csv>" == repr(found)


class Broken:
    """An exporter that never works, and one beside which others go on."""

    def write(self, report: CarbonReport) -> None:
        """Fail."""
        raise RuntimeError("no route")

    def close(self) -> None:
        """Never reached."""

    def __repr__(self) -> str:
        return "<Broken>"


def test_an_exporter_that_fails_is_a_remark_and_stops_nothing(tmp_path: Path) -> None:
    """The work ends as it would, the next exporter has everything."""
    file = tmp_path / "run.json"
    with CarbonTracker("work", zone="FR", exporters=[Broken(), file]) as tracker:
        pass

    told = "<Broken> did not take the figures: RuntimeError: no route"
    assert told in tracker.report.remarks
    assert tracker.report.energy_uj == json.loads(file.read_text())["energy_uj"]
