"""Weigh every arc for one request: admissible, kept by the quality guard, chosen, and for what reason."""

from collections.abc import Sequence
from typing import NamedTuple

from greenserve.routing.cost import LATENCY_SHARE, Load, Prices, Terms, eta_of, price
from greenserve.routing.records import IDLE, Arc, Features, Promise, Snapshot, promise_of
from greenserve.routing.state import RoutingState
from greenserve.routing.view import View, sized_for, view_of
from greenserve.units import NS_PER_S

MARGIN = 0.95
TIE = 1e-12
PI_MOST = 4.0
CLOSE_SHARE = 0.05
CLOSE_S = 0.002
ROUNDING = 1e-12
NONE: frozenset[int] = frozenset()


class Judgement(NamedTuple):
    """How a request was weighed. Indexes point into `view.priced` and `terms`.

    `inside`: ETA within the limit; `kept`: of these, what the quality guard and the policy leave, best first;
    `lone`: the arc of unknown energy that answers since it is pinned or alone. Nothing chosen: both empty.
    """

    promise: Promise
    view: View
    terms: Sequence[Terms]
    limit_s: float
    inside: Sequence[int]
    guarded: frozenset[int]
    kept: Sequence[int]
    lone: Arc | None
    lone_eta_s: float | None
    at_risk: bool
    unmet_mean: bool
    reason: str


def judge(snapshot: Snapshot, state: RoutingState, features: Features, now_ns: int) -> Judgement:
    """Weigh the arcs of a snapshot for one request; changes nothing."""
    promise = promise_of(snapshot.objective, features)
    view = view_of(snapshot, promise)
    load = Load(features.rows, features.size_bytes)
    latency_price = LATENCY_SHARE * view.g_ref / promise.latency_s if promise.policy == "balanced" else 0.0
    # A budget that runs out moves the mean to the floor, so quality above the floor loses its price with it.
    nu = state.nu(features.tenant, snapshot.model, view.slope) * (1.0 - promise.degrade)
    prices = Prices(PI_MOST * promise.degrade, nu, promise.mean, latency_price, view.g_ref)
    terms = price(sized_for(view, features.length), state.pools, load, prices)
    left_s = MARGIN * (features.deadline_ns - now_ns) / NS_PER_S
    limit_s = min(left_s, MARGIN * promise.latency_s)
    inside = [index for index, term in enumerate(terms) if term.eta_s <= limit_s]
    at_risk = not inside
    if at_risk:
        inside = [index for index, term in enumerate(terms) if term.eta_s <= left_s]
    open_to_guard = not at_risk and promise.variant is None
    debt = state.debt(features.tenant, snapshot.model)
    guarded, unmet = _guarded(view, inside, debt, promise.mean) if open_to_guard else (NONE, False)
    left_over = [index for index in inside if index not in guarded] if guarded else inside
    kept = _ranked(view, terms, left_over, "at-risk" if at_risk else promise.policy)
    lone, lone_eta_s = (None, None) if kept else _lone(view, state, features, left_s)
    return Judgement(
        promise=promise,
        view=view,
        terms=terms,
        limit_s=limit_s,
        inside=inside,
        guarded=guarded,
        kept=kept,
        lone=lone,
        lone_eta_s=lone_eta_s,
        at_risk=at_risk and bool(kept),
        unmet_mean=unmet,
        reason=_reason(promise, terms, inside, kept, at_risk=at_risk),
    )


def least_open(snapshot: Snapshot, state: RoutingState, features: Features) -> float:
    """The least quality that the quality guard lets through now: the floor while nothing is owed to the mean.

    Where no arc in time is that good, `judge` takes the best of them instead.
    """
    promise = promise_of(snapshot.objective, features)
    if promise.mean <= promise.floor or promise.variant is not None:
        return promise.floor
    view = view_of(snapshot, promise)
    allowed = view.spread - state.debt(features.tenant, snapshot.model) + ROUNDING
    return max(promise.floor, promise.mean - max(allowed, ROUNDING))


def lost_by(winner: Terms, loser: Terms) -> str:
    """In one word, what a ranked arc lost by: the leading term of the score, speed, or nothing but the tie's rule."""
    if abs(loser.score_g - winner.score_g) <= TIE * abs(winner.score_g):
        return "tie"
    if loser.score_g < winner.score_g:
        return "slower"
    return "carbon" if loser.grams_g >= winner.grams_g else largest_gain(winner, loser)


def largest_gain(winner: Terms, other: Terms) -> str:
    """The term of the score by which the winner lies furthest ahead of another arc."""
    gains = (
        (winner.quality_g - other.quality_g, "quality-budget"),
        (other.capacity_g - winner.capacity_g, "capacity"),
        (other.latency_g - winner.latency_g, "latency"),
        (other.share_g - winner.share_g, "plan-share"),
    )
    return max(gains, key=lambda gain: gain[0])[1]


def _guarded(view: View, inside: Sequence[int], debt: float, mean: float) -> tuple[frozenset[int], bool]:
    # Nobody knows here how many requests the window still brings, so a debt may never exceed one request's spread:
    # the mean over n answers then lies at most spread / n below its target, whenever the window ends.
    allowed = view.spread - debt + ROUNDING
    if mean - view.least_quality <= max(allowed, ROUNDING):
        return NONE, False
    priced = view.priced
    guarded = frozenset(
        index for index in inside if (owed := mean - priced[index].arc.quality) > ROUNDING and owed > allowed
    )
    if not guarded or len(guarded) < len(inside):
        return guarded, False
    best = max(priced[index].arc.quality for index in inside)
    return frozenset(index for index in inside if priced[index].arc.quality < best), True


def _ranked(view: View, terms: Sequence[Terms], indexes: Sequence[int], policy: str) -> list[int]:
    """Best first. Scores within a relative 1e-12 are equal: then ETA, quality, a local region and the name decide."""
    if not indexes:
        return []
    if policy == "at-risk":
        return sorted(indexes, key=lambda index: (terms[index].eta_s, -view.priced[index].arc.quality))
    ranked = sorted(indexes, key=lambda index: terms[index].score_g)
    if policy == "min-latency":
        least = min(terms[index].eta_s for index in indexes)
        close = least + max(CLOSE_SHARE * least, CLOSE_S)
        ranked.sort(key=lambda index: terms[index].eta_s > close)
        ranked_close = [index for index in ranked if terms[index].eta_s <= close]
    else:
        ranked_close = ranked
    best = terms[ranked[0]].score_g
    most = best + TIE * abs(best)
    tied = [index for index in ranked_close if terms[index].score_g <= most]
    if len(tied) > 1:
        priced = view.priced
        first = min(tied, key=lambda i: (terms[i].eta_s, -priced[i].arc.quality, priced[i].arc.rtt_s > 0.0, i))
        ranked.remove(first)
        ranked.insert(0, first)
    return ranked


def _lone(view: View, state: RoutingState, features: Features, left_s: float) -> tuple[Arc | None, float | None]:
    """The best arc of unknown energy: highest quality, then the name; one that cannot be in time does not count."""
    if left_s <= 0 or view.priced:
        return None, None
    for arc in sorted(view.unpriced, key=lambda arc: -arc.quality):
        eta = eta_of(arc, state.pools.get(arc.pool, IDLE), features.length, Load(features.rows))
        if eta is None or eta <= left_s:
            return arc, eta
    return None, None


def _reason(
    promise: Promise,
    terms: Sequence[Terms],
    inside: Sequence[int],
    kept: Sequence[int],
    *,
    at_risk: bool,
) -> str:
    if promise.variant is not None:
        return "pinned"
    if len(inside) < 2:
        return "only-candidate"
    if promise.degrade > 0:
        return "budget"
    if at_risk:
        return "slo-at-risk"
    if promise.brownout:
        return "overload"
    if promise.policy == "min-latency":
        return "policy-latency"
    greenest = min(inside, key=lambda index: terms[index].grams_g)
    chosen = kept[0]
    if terms[chosen].grams_g <= terms[greenest].grams_g:
        return "carbon"
    return "quality-budget" if greenest not in kept else largest_gain(terms[chosen], terms[greenest])
