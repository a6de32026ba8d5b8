"""A run as documents: one JSON object, and a CSV file with a line per request."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO

from greenserve.loadtest.plan import Plan
from greenserve.loadtest.samples import Recording
from greenserve.loadtest.summary import Gate, Summary
from greenserve.units import NS_PER_S

COLUMNS = (
    "intended_s",
    "lag_s",
    "service_s",
    "from_intended_s",
    "error",
    "energy_uj",
    "tier",
    "emissions_ng",
    "route",
    "cache",
)


def document_of(plan: Plan, summary: Summary, gates: Sequence[Gate]) -> Mapping[str, object]:
    """Plan, figures, validity and gates; unknown members are null."""
    return {
        "plan": plan.public(),
        **asdict(summary),
        "valid": not summary.invalid,
        "gates": [asdict(gate) for gate in gates],
        "passed": all(gate.met for gate in gates) if gates else None,
    }


def csv_of(recording: Recording) -> str:
    """One line per request; an unknown value is an empty field."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample in recording.samples:
        times = (sample.intended_s, sample.lag_s, sample.service_s, sample.total_s)
        told = (sample.error, sample.energy_uj, sample.tier, sample.emissions_ng, sample.route, sample.cache)
        writer.writerow([*(round(time * NS_PER_S) / NS_PER_S for time in times), *told])
    return out.getvalue()
