"""What stands beside a report's figures in a system that keeps words apart from numbers."""

import re
from collections.abc import Mapping

from greenserve.carbon.tracked import CarbonReport
from greenserve.units import MILLI

UNKNOWN = "unknown"


def notes(report: CarbonReport) -> Mapping[str, str]:
    """Label, zone, tier, PUE with its source, basis and origin of the intensity; what nobody knows is `unknown`."""
    readings = [line.intensity for line in report.lines if line.intensity is not None]
    bases = "+".join(sorted({reading.basis for reading in readings}))
    origins = "+".join(sorted({reading.origin for reading in readings}))
    return {
        "label": report.label,
        "zone": report.zone,
        "state": report.state,
        "tier": report.tier or UNKNOWN,
        "pue": f"{report.pue.milli / MILLI:g} ({report.pue.source})",
        "basis": bases or UNKNOWN,
        "origin": origins or UNKNOWN,
    }


def end_us(report: CarbonReport) -> int:
    """Where the report ends [us UTC]: its last sample's end, else its start."""
    return report.lines[-1].end_us if report.lines else report.energy.start_us


def stem_of(label: str) -> str:
    """The label as a name of a file or folder in the working directory and in no other."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip(".-") or "run"
