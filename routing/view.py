"""What one class of requests may choose from: the arcs of a snapshot after the masks that do not change by request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from greenserve.routing.cost import (
    Candidate,
    Load,
    Prices,
    Sized,
    at_length,
    dirtiest_mg_per_kwh,
    network_rate,
    price,
    rate_of,
)
from greenserve.routing.records import Arc, Promise, Snapshot
from greenserve.units import grams_per_joule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """`priced` arcs compete by score; `unpriced` ones (energy unknown) only answer when pinned or alone.

    `rejected` pairs an arc with why it cannot answer; `g_ref` [g], `slope` [g per unit of quality] and `spread` (of
    quality) scale the small constants; `least_quality` is that of the priced arcs.
    """

    priced: tuple[Candidate, ...]
    unpriced: tuple[Arc, ...]
    rejected: tuple[tuple[Arc, str], ...]
    g_ref: float
    slope: float
    spread: float
    least_quality: float
    mixed_basis: bool


def view_of(snapshot: Snapshot, promise: Promise) -> View:
    """The view of a promise; computed once per snapshot, floor, residency and pin."""
    return _view(snapshot, promise.floor, promise.regions, promise.variant)


@lru_cache(maxsize=1024)
def sized_for(view: View, length: float) -> tuple[Sized, ...]:
    """The view's priced arcs at one padded length [tokens]; there are as many lengths as buckets."""
    return at_length(view.priced, length)


@lru_cache(maxsize=256)
def _view(snapshot: Snapshot, floor: float, regions: frozenset[str] | None, variant: str | None) -> View:
    allowed, rejected = [], []
    for arc in sorted(snapshot.arcs, key=lambda arc: (arc.region, arc.variant)):
        verdict = _mask(arc, floor, regions, variant)
        if verdict is None:
            allowed.append(arc)
        else:
            rejected.append((arc, verdict))
    kept = allowed if variant is not None else prune(allowed)
    kept_names = {arc.name for arc in kept}
    rejected.extend((arc, "dominated in its pool") for arc in allowed if arc.name not in kept_names)
    priced = candidates_of(snapshot, [arc for arc in kept if arc.eta is not None])
    bases = {reading.basis for reading in snapshot.readings.values() if reading is not None}
    g_ref, slope, spread = _scales(snapshot, candidates_of(snapshot, [arc for arc in allowed if arc.eta is not None]))
    return View(
        priced=priced,
        unpriced=tuple(arc for arc in kept if arc.eta is None),
        rejected=tuple(rejected),
        g_ref=g_ref,
        slope=slope,
        spread=spread,
        least_quality=min((candidate.arc.quality for candidate in priced), default=0.0),
        mixed_basis=len(bases) > 1,
    )


def candidates_of(snapshot: Snapshot, arcs: Sequence[Arc]) -> tuple[Candidate, ...]:
    """Arcs of known energy with their rates; an unknown intensity ranks as the dirtiest one of the snapshot."""
    dirtiest = dirtiest_mg_per_kwh(snapshot.readings.values())
    at_home = [
        rate_of(arc, snapshot.readings.get(arc.zone), dirtiest) for arc in snapshot.arcs if _is_home(snapshot, arc)
    ]
    home = at_home[0] if at_home else grams_per_joule(dirtiest, 1000)
    prepared = []
    for arc in arcs:
        rate = rate_of(arc, snapshot.readings.get(arc.zone), dirtiest)
        prepared.append(Candidate(arc, rate, network_rate(arc, rate, home)))
    return tuple(prepared)


def prune(arcs: Sequence[Arc]) -> list[Arc]:
    """Drop arcs for which another of the same region is no worse in quality, time and energy, and better in one."""
    return [arc for arc in arcs if not any(_dominates(other, arc) for other in arcs)]


def _is_home(snapshot: Snapshot, arc: Arc) -> bool:
    return arc.region == snapshot.home


def _mask(arc: Arc, floor: float, regions: frozenset[str] | None, variant: str | None) -> str | None:
    if variant is not None and arc.variant != variant:
        return f"pinned to {variant}"
    if regions is not None and arc.region not in regions:
        return f"residency: only {', '.join(sorted(regions)) or 'no region'}"
    if arc.quality < floor:
        return f"quality {arc.quality:.3f} under the floor {floor:.3f}"
    return None


def _dominates(other: Arc, arc: Arc) -> bool:
    if other.theta is None or other.eta is None or arc.theta is None or arc.eta is None:
        return False
    if (other.region, other.pool, other.rtt_s, other.pue_milli) != (arc.region, arc.pool, arc.rtt_s, arc.pue_milli):
        return False
    worse = (arc.q99, -arc.max_batch, -arc.quality, *arc.theta, *arc.eta)
    better = (other.q99, -other.max_batch, -other.quality, *other.theta, *other.eta)
    return better != worse and all(left <= right for left, right in zip(better, worse, strict=True))


def _scales(snapshot: Snapshot, candidates: Sequence[Candidate]) -> tuple[float, float, float]:
    if not candidates:
        return 0.0, 0.0, 0.0
    sized = at_length(candidates, snapshot.reference_length)
    grams = [term.grams_g for term in price(sized, {}, Load(), Prices(0.0, 0.0, 0.0, 0.0, 0.0))]
    qualities = [candidate.arc.quality for candidate in candidates]
    home = [pair for pair in zip(qualities, grams, candidates, strict=True) if _is_home(snapshot, pair[2].arc)]
    best = max(quality for quality, _, _ in home) if home else None
    g_ref = min((gram for quality, gram, _ in home if quality == best), default=max(grams))
    spread = max(qualities) - min(qualities)
    return g_ref, (max(grams) - min(grams)) / spread if spread > 0 else 0.0, spread
