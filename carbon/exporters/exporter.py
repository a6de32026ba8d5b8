"""What an exporter is, and the figures that those of monitoring systems tell."""

from collections.abc import Mapping
from typing import Protocol

from greenserve.carbon.tracked import CarbonReport
from greenserve.units import grams_from_ng, joules_from_uj


class Exporter(Protocol):
    """Takes a tracker's report at each sample and at its end; called on the tracker's threads, one call at a time.

    What it raises is told in the report's remarks and the log; the tracked programme goes on.
    """

    def write(self, report: CarbonReport) -> None:
        """Take the report so far; its `state` is `final` the last time."""

    def close(self) -> None:
        """No more comes."""


def take(exporter: Exporter, report: CarbonReport) -> str | None:
    """Give an exporter the report, the final one being its last; what went wrong, or None."""
    try:
        exporter.write(report)
        if report.state == "final":
            exporter.close()
    except Exception as error:  # it may be anybody's code, and what it stands beside goes on
        why = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        return f"{exporter!r} did not take the figures: {why}"
    return None


def scalars(report: CarbonReport) -> Mapping[str, float]:
    """Totals so far, with their units in the names; what is unknown is absent, never 0."""
    joules = {"energy_joules": report.energy_uj, "energy_low_joules": report.energy.low_uj}
    joules |= {"energy_high_joules": report.energy.high_uj, "facility_energy_joules": report.facility_uj}
    grams = {"emissions_grams": report.emissions_ng, "emissions_low_grams": report.low_ng}
    grams |= {"emissions_high_grams": report.high_ng}
    found = {name: joules_from_uj(value) for name, value in joules.items() if value is not None}
    found |= {name: grams_from_ng(value) for name, value in grams.items() if value is not None}
    return found | {"uncovered_energy_joules": joules_from_uj(report.uncovered_uj)}
