"""A run in figures: latency, time from the intended start, energy per request with its interval, validity, gates."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from statistics import fmean, stdev

from greenserve.loadtest.samples import Recording, Sample
from greenserve.records import Tier, weakest_tier
from greenserve.units import MG_PER_G, MILLI, UJ_PER_J, grams_from_ng

LAG_LIMIT_S = 0.010
CPU_LIMIT = 0.85
BATCHES = 20
LEAST_BATCHES = 10
LEAST_PER_BATCH = 5
KNOWN_SHARE = 0.95
# Two-sided 95 % quantiles of Student's t for 9 to 19 degrees of freedom.
T_975 = (2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Quantiles of the answered requests [ms]."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What the answers that say so cost: total [uJ] and tier, mJ per request with its 95 % interval (None: too few)."""

    answers: int
    total_uj: int
    tier: Tier | None
    mean_mj: float
    low_mj: float | None
    high_mj: float | None
    p95_mj: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Carbon:
    """What the answers that say so emitted: total [ng] and mg per 1,000 requests."""

    answers: int
    total_ng: int
    mg_per_1k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A limit that the run had to meet; `value` None: unknown, so not met."""

    name: str
    value: float | None
    limit: float
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A whole run. None stands for unknown; `invalid` lists why the measurement does not count (empty: valid)."""

    planned: int
    requests: int
    answered: int
    failed: int
    dropped: int
    errors: Mapping[str, int]
    service: Latency | None
    intended: Latency | None
    energy: Energy | None
    carbon: Carbon | None
    routes: Mapping[str, int]
    cache: Mapping[str, int]
    lag_p99_ms: float | None
    cpu_share: float | None
    invalid: tuple[str, ...]


def summarise(recording: Recording) -> Summary:
    """The figures of a run; failed requests count as failures and in nothing else."""
    samples = recording.samples
    answered = [sample for sample in samples if sample.error is None]
    lag_p99_s = quantile([sample.lag_s for sample in samples], 0.99)
    return Summary(
        planned=recording.planned,
        requests=len(samples),
        answered=len(answered),
        failed=len(samples) - len(answered),
        dropped=recording.dropped,
        errors=_counted(sample.error for sample in samples),
        service=_latency([sample.service_s for sample in answered]),
        intended=_latency([sample.total_s for sample in answered]),
        energy=_energy(answered),
        carbon=_carbon(answered),
        routes=_counted(sample.route for sample in answered),
        cache=_counted(sample.cache for sample in answered),
        lag_p99_ms=None if lag_p99_s is None else lag_p99_s * MILLI,
        cpu_share=recording.cpu_share,
        invalid=_invalid(recording, lag_p99_s),
    )


def gates_of(summary: Summary, *, max_mj: float | None, max_p95_ms: float | None) -> tuple[Gate, ...]:
    """The gates that were asked for. Energy counts where at least 95 % of the answers state theirs."""
    gates = []
    if max_mj is not None:
        energy = summary.energy
        known = energy is not None and energy.answers >= KNOWN_SHARE * summary.answered
        gates.append(_gate("mJ/request", energy.mean_mj if energy is not None and known else None, max_mj))
    if max_p95_ms is not None:
        value = None if summary.intended is None else summary.intended.p95_ms
        gates.append(_gate("p95 ms", value, max_p95_ms))
    return tuple(gates)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values don't exceed; None of nothing."""
    return sorted(values)[max(1, ceil(share * len(values))) - 1] if values else None


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean by batch means, so that neighbours may depend on each other; None: too few."""
    batches = min(BATCHES, len(values) // LEAST_PER_BATCH)
    if batches < LEAST_BATCHES:
        return None
    edges = [len(values) * place // batches for place in range(batches + 1)]
    means = [fmean(values[start:end]) for start, end in pairwise(edges)]
    half = T_975[batches - LEAST_BATCHES] * stdev(means) / sqrt(batches)
    return fmean(values) - half, fmean(values) + half


def _latency(values_s: Sequence[float]) -> Latency | None:
    found = [quantile(values_s, share) for share in (0.50, 0.95, 0.99)]
    p50_s, p95_s, p99_s = (value for value in found)
    if p50_s is None or p95_s is None or p99_s is None:
        return None
    return Latency(p50_ms=p50_s * MILLI, p95_ms=p95_s * MILLI, p99_ms=p99_s * MILLI)


def _energy(answered: Sequence[Sample]) -> Energy | None:
    known = [sample for sample in answered if sample.energy_uj is not None]
    values_uj = [sample.energy_uj for sample in known if sample.energy_uj is not None]
    if not values_uj:
        return None
    tiers = {sample.tier for sample in known}
    stated = frozenset(tier for tier in tiers if tier is not None)
    interval = mean_interval(values_uj)
    p95_uj = quantile(values_uj, 0.95)
    assert p95_uj is not None
    return Energy(
        answers=len(values_uj),
        total_uj=sum(values_uj),
        tier=weakest_tier(stated) if len(stated) == len(tiers) else None,
        mean_mj=_mj(sum(values_uj) / len(values_uj)),
        low_mj=None if interval is None else _mj(interval[0]),
        high_mj=None if interval is None else _mj(interval[1]),
        p95_mj=_mj(p95_uj),
    )


def _carbon(answered: Sequence[Sample]) -> Carbon | None:
    values_ng = [sample.emissions_ng for sample in answered if sample.emissions_ng is not None]
    if not values_ng:
        return None
    total_ng = sum(values_ng)
    per_1k = grams_from_ng(total_ng) * MG_PER_G / len(values_ng) * 1000
    return Carbon(answers=len(values_ng), total_ng=total_ng, mg_per_1k=per_1k)


def _mj(energy_uj: float) -> float:
    return energy_uj / UJ_PER_J * MILLI


def _gate(name: str, value: float | None, limit: float) -> Gate:
    return Gate(name=name, value=value, limit=limit, met=value is not None and value <= limit)


def _counted(names: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(name for name in names if name is not None).most_common())


def _invalid(recording: Recording, lag_p99_s: float | None) -> tuple[str, ...]:
    found = []
    if not recording.complete:
        found.append("the run ended before its schedule did")
    if not recording.samples:
        found.append("no request was sent")
    if lag_p99_s is not None and lag_p99_s > LAG_LIMIT_S:
        found.append(f"send lag p99 {lag_p99_s * MILLI:.1f} ms is over {LAG_LIMIT_S * MILLI:.0f} ms")
    if recording.dropped:
        found.append(f"{recording.dropped} arrivals were dropped: too many requests in flight")
    if recording.cpu_share is not None and recording.cpu_share > CPU_LIMIT:
        found.append(f"generator CPU {recording.cpu_share:.0%} is over {CPU_LIMIT:.0%}")
    return tuple(found)
