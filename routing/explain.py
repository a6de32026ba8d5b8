"""A dry run of the picker that keeps what it weighed: one row per arc, with why it lost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from greenserve.errors import NoFeasibleRoute
from greenserve.records import Decision, IntensityReading, Tier
from greenserve.routing.judge import judge
from greenserve.routing.picker import pick
from greenserve.routing.records import Features, Snapshot
from greenserve.routing.state import RoutingState
from greenserve.routing.verdicts import Verdict, verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arc: quality, ETA [s], energy [J] with its tier, emissions and score parts [g] (None: unknown), verdict."""

    region: str
    variant: str
    quality: float
    eta_s: float | None
    energy_j: float | None
    tier: Tier | None
    emissions_g: float | None
    capacity_g: float | None
    quality_g: float | None
    latency_g: float | None
    score_g: float | None
    picked: bool
    verdict: str


class Explanation(NamedTuple):
    """The decision, or None with the refusal's message, and all rows, best first."""

    decision: Decision | None
    refusal: str | None
    rows: tuple[Row, ...]


def explain(snapshot: Snapshot, state: RoutingState, features: Features, now_ns: int) -> Explanation:
    """Weigh one request and keep every arc's terms and verdict; changes nothing."""
    rows = tuple(_row(snapshot, verdict) for verdict in verdicts(judge(snapshot, state, features, now_ns)))
    try:
        return Explanation(pick(snapshot, state, features, now_ns), None, rows)
    except NoFeasibleRoute as refused:
        return Explanation(None, str(refused), rows)


def with_intensity(snapshot: Snapshot, readings: Mapping[str, IntensityReading | None]) -> Snapshot:
    """The same snapshot on another grid: readings of the given zones replace its own."""
    return replace(snapshot, readings={**snapshot.readings, **readings})


def _row(snapshot: Snapshot, verdict: Verdict) -> Row:
    arc, terms = verdict.arc, verdict.terms
    unknown = terms is None or snapshot.readings.get(arc.zone) is None
    return Row(
        region=arc.region,
        variant=arc.variant,
        quality=arc.quality,
        eta_s=None if terms is None else terms.eta_s,
        energy_j=None if terms is None else terms.energy_j,
        tier=arc.tier,
        emissions_g=None if terms is None or unknown else terms.grams_g,
        capacity_g=None if terms is None else terms.capacity_g,
        quality_g=None if terms is None else terms.quality_g,
        latency_g=None if terms is None else terms.latency_g,
        score_g=None if terms is None else terms.score_g,
        picked=verdict.picked,
        verdict=verdict.text,
    )
