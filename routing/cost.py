"""The one cost function of routing: what a request would take, emit and be charged on each arc.

With phi = [1, b, bL, bL^2], S = theta.phi [s] and E = eta.phi [J] per batch of b requests padded to L tokens:

    ETA   = rtt + residual + backlog + q99 S                                           [s]
    G     = rate E/b + network                                                         [g]
    score = (1 + pi) G + mu S/b - nu (q - mean) + price of latency * ETA + 0.002 g_ref D   [g], the least wins
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from greenserve.records import IntensityReading
from greenserve.routing.records import IDLE, Arc, Coefficients, PoolState
from greenserve.units import grams_per_joule

NETWORK_J_PER_BYTE = 3.6e-6
DEFICIT_SHARE = 0.002
LATENCY_SHARE = 0.25
UNKNOWN_MG_PER_KWH = 1_000_000
_TERMS = tuple.__new__


class Candidate(NamedTuple):
    """An arc with its rates, looked up once per snapshot: gCO2e per joule there, gCO2e per byte to get there."""

    arc: Arc
    rate_g_per_j: float
    net_g_per_byte: float


class Sized(NamedTuple):
    """A candidate at one padded length: what a batch costs, and what each request in it adds, in seconds and joules."""

    name: str
    pool: str
    max_batch: int
    quality: float
    rtt_s: float
    q99: float
    batch_s: float
    request_s: float
    batch_j: float
    request_j: float
    rate_g_per_j: float
    net_g_per_byte: float


class Load(NamedTuple):
    """The work of one request beside its length: rows, bytes that travel."""

    rows: int = 1
    size_bytes: int = 0


class Prices(NamedTuple):
    """What the score charges: pi (1), nu [g per unit of quality], mean quality, latency [g/s], g_ref [g]."""

    pi: float
    nu: float
    mean: float
    latency_g_per_s: float
    g_ref: float


class Terms(NamedTuple):
    """One arc's expectations and the parts of its score; `quality_g` is subtracted, all others are added."""

    eta_s: float
    energy_j: float
    grams_g: float
    capacity_g: float
    quality_g: float
    latency_g: float
    share_g: float
    score_g: float


def at_length(candidates: Sequence[Candidate], length: float) -> tuple[Sized, ...]:
    """The candidates for requests padded to `length` [tokens]: their polynomials in L, evaluated."""
    return tuple(
        Sized(
            name=arc.name,
            pool=arc.pool,
            max_batch=arc.max_batch,
            quality=arc.quality,
            rtt_s=arc.rtt_s,
            q99=arc.q99,
            batch_s=theta[0],
            request_s=theta[1] + length * (theta[2] + length * theta[3]),
            batch_j=eta[0],
            request_j=eta[1] + length * (eta[2] + length * eta[3]),
            rate_g_per_j=rate,
            net_g_per_byte=net,
        )
        for arc, rate, net in candidates
        for theta, eta in (_coefficients(arc),)
    )


def price(
    candidates: Sequence[Sized],
    pools: Mapping[str, PoolState],
    load: Load,
    prices: Prices,
    deficits: Mapping[str, float] | None = None,
) -> list[Terms]:
    """The terms of each candidate for this load, in their order; `deficits` maps arc names to D (none: all 0)."""
    rows, size = load
    pi, nu, mean, latency_price, g_ref = prices
    whole = 1.0 + pi
    terms: list[Terms] = []
    add = terms.append
    last_pool, last_most = None, 0
    wait = share = batches = mu = 0.0
    # This loop is most of a pick: what depends on the pool only is kept from one candidate to the next.
    for name, pool, most, quality, rtt, q99, batch_s, request_s, batch_j, request_j, rate, net in candidates:
        if pool != last_pool or most != last_most:
            last_pool, last_most = pool, most
            state = pools.get(pool, IDLE)
            batch = min(max(state.batch_expected, rows), most)
            share = rows / batch
            batches = ceil(share) / share
            wait, mu = state.residual_s + state.backlog_s, state.mu_g_per_s
        own_s = batch_s * share + request_s * rows
        energy = batch_j * share + request_j * rows
        eta = wait + rtt + q99 * own_s * batches
        grams = rate * energy + net * size
        capacity = mu * own_s
        quality_g = nu * (quality - mean)
        latency_g = latency_price * eta
        owed = DEFICIT_SHARE * g_ref * deficits.get(name, 0.0) if deficits else 0.0
        score = whole * grams + capacity - quality_g + latency_g + owed
        add(_TERMS(Terms, (eta, energy, grams, capacity, quality_g, latency_g, owed, score)))
    return terms


def eta_of(arc: Arc, state: PoolState, length: float, load: Load) -> float | None:
    """ETA [s] of one arc, also where its energy is unknown; None where its time is."""
    if arc.theta is None:
        return None
    sized = at_length((Candidate(arc, 0.0, 0.0),), length)
    return price(sized, {arc.pool: state}, load, Prices(0.0, 0.0, 0.0, 0.0, 0.0))[0].eta_s


def dirtiest_mg_per_kwh(readings: Iterable[IntensityReading | None]) -> int:
    """The rank of an unknown intensity: the dirtiest known one, or one value for all where none is known."""
    return max((reading.mg_per_kwh for reading in readings if reading is not None), default=UNKNOWN_MG_PER_KWH)


def rate_of(arc: Arc, reading: IntensityReading | None, dirtiest: int) -> float:
    """gCO2e per joule at the arc's site; an unknown intensity counts as the dirtiest one for ranking."""
    return grams_per_joule(dirtiest if reading is None else reading.mg_per_kwh, arc.pue_milli)


def network_rate(arc: Arc, rate_g_per_j: float, home_g_per_j: float) -> float:
    """gCO2e per byte that travels to the arc's region: 0 where it stays on this machine; modelled, never metered."""
    return 0.0 if arc.rtt_s == 0.0 else NETWORK_J_PER_BYTE * (rate_g_per_j + home_g_per_j) / 2


def _coefficients(arc: Arc) -> tuple[Coefficients, Coefficients]:
    # An arc of unknown energy is never scored; only its time is asked for, by `eta_of`.
    if arc.theta is None:
        raise ValueError(f"{arc.name} has no known time, so it has no cost")
    return arc.theta, arc.eta or (0.0, 0.0, 0.0, 0.0)
