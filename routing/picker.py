"""Choose region and variant for one request, in microseconds."""

from greenserve.carbon.feeds.levels import stands_in
from greenserve.errors import NoFeasibleRoute
from greenserve.records import Beaten, Decision, IntensityReading
from greenserve.routing.judge import Judgement, judge, lost_by
from greenserve.routing.records import Arc, Features, Snapshot
from greenserve.routing.state import RoutingState
from greenserve.routing.verdicts import verdicts

BEATEN_SHOWN = 3
REFUSALS_SHOWN = 24
FALLBACK = "fallback-signal"
"""The flag of a request whose grid reading is another slot's or a year's value, or unknown."""


def pick(snapshot: Snapshot, state: RoutingState, features: Features, now_ns: int) -> Decision:
    """The choice for one request at `now_ns` (monotonic); changes nothing, so `state.apply` it where it is carried out.

    Raises NoFeasibleRoute that says of each arc why it cannot answer. A latency that nobody measured is None, with the
    flag `latency-unknown`; unknown energy and emissions are None too.
    """
    judged = judge(snapshot, state, features, now_ns)
    if judged.lone is not None:
        return _unpriced(snapshot, judged, judged.lone)
    if not judged.kept:
        raise _refusal(snapshot, judged)
    view, terms = judged.view, judged.terms
    chosen = judged.kept[0]
    arc, winner = view.priced[chosen].arc, terms[chosen]
    reading = snapshot.readings.get(arc.zone)
    return Decision(
        region=arc.region,
        zone=arc.zone,
        variant=arc.variant,
        reason=judged.reason,
        latency_s=winner.eta_s,
        energy_j=winner.energy_j,
        emissions_g=None if reading is None else winner.grams_g,
        intensity=reading,
        pue_milli=arc.pue_milli,
        emulated=arc.emulated,
        flags=_flags(judged, arc, reading),
        beaten=_beaten(snapshot, judged),
    )


def _beaten(snapshot: Snapshot, judged: Judgement) -> tuple[Beaten, ...]:
    terms, priced = judged.terms, judged.view.priced
    winner = terms[judged.kept[0]]
    beaten = []
    for index in judged.kept[1 : BEATEN_SHOWN + 1]:
        arc, term = priced[index].arc, terms[index]
        beaten.append(
            Beaten(
                region=arc.region,
                variant=arc.variant,
                verdict=lost_by(winner, term),
                latency_s=term.eta_s,
                energy_j=term.energy_j,
                emissions_g=None if snapshot.readings.get(arc.zone) is None else term.grams_g,
                score_g=term.score_g,
            )
        )
    return tuple(beaten)


def _unpriced(snapshot: Snapshot, judged: Judgement, arc: Arc) -> Decision:
    reading = snapshot.readings.get(arc.zone)
    eta_s = judged.lone_eta_s
    flags = (*_flags(judged, arc, reading), "energy-unknown", *(("latency-unknown",) if eta_s is None else ()))
    return Decision(
        region=arc.region,
        zone=arc.zone,
        variant=arc.variant,
        reason=judged.reason,
        latency_s=eta_s,
        energy_j=None,
        emissions_g=None,
        intensity=reading,
        pue_milli=arc.pue_milli,
        emulated=arc.emulated,
        flags=flags,
    )


def _flags(judged: Judgement, arc: Arc, reading: IntensityReading | None) -> tuple[str, ...]:
    flags = ["no-plan"]
    if stands_in(reading):
        flags.append(FALLBACK)
    if judged.view.mixed_basis:
        flags.append("signal-basis")
    if arc.prior:
        flags.append("prior")
    if judged.at_risk:
        flags.append("slo-at-risk")
    if judged.unmet_mean:
        flags.append("quality-debt")
    if len(judged.inside) < len(judged.terms) and judged.kept:
        grams = judged.terms[judged.kept[0]].grams_g
        if any(term.grams_g < grams and term.eta_s > judged.limit_s for term in judged.terms):
            flags.append("latency-bound")
    return tuple(flags)


def _refusal(snapshot: Snapshot, judged: Judgement) -> NoFeasibleRoute:
    lines = [f"{verdict.arc.name}: {verdict.text}" for verdict in verdicts(judged)]
    shown = lines[:REFUSALS_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    asked = judged.promise
    wanted = f"latency {asked.latency_s:g} s and quality {asked.floor:.3f}"
    if not lines:
        return NoFeasibleRoute(f"{snapshot.model}: no variant is loaded in any region; see `greenserve status`")
    return NoFeasibleRoute(
        f"{snapshot.model}: no region and variant meets {wanted} now; allow more time, a lower quality or more "
        f"regions. {'; '.join(shown)}",
        retry_after_s=1 if judged.terms and judged.limit_s > 0 else None,
        details={"candidates": lines},
    )
