"""What happens past capacity, and how many requests meet their objective below it: open loop, Poisson arrivals."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.closed_loop import drive, unique_texts
from benchmarks.gateway import Running, gateway
from benchmarks.latency import quantile_ms
from benchmarks.open_loop import Arrival, poisson_times_s, send_open
from benchmarks.systems import http_api

PEAK_CONNECTIONS = 64
OBJECTIVE_S = 0.2
OVERLOAD, RECOVERED, BUSY = 3.0, 0.5, 0.8
REFUSED = frozenset({429, 503})
SLICE_S = 0.25
RECOVERY_S = 8.0
BAR_GOODPUT, BAR_REFUSAL_MS, BAR_RECOVERY_S, BAR_ATTAINED = 0.9, 20.0, 5.0, 0.995


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What came of the requests of an interval: counts, requests/s that met the objective, refusal p99 [ms].

    `attained` is the share of the admitted ones that met it. None where no request was refused or admitted.
    """

    sent: int
    good: int
    late: int
    refused: int
    failed: int
    goodput_per_s: float
    refusal_p99_ms: float | None
    attained: float | None


def outcomes_of(arrivals: Sequence[Arrival], duration_s: float) -> Outcomes:
    """Count an interval of `duration_s` [s]: good (200 in time), late, refused (429, 503), failed (all else)."""
    answered_s = [one.latency_s for one in arrivals if one.status == 200 and one.latency_s is not None]
    refused_s = sorted(one.latency_s for one in arrivals if one.status in REFUSED and one.latency_s is not None)
    good = sum(latency_s <= OBJECTIVE_S for latency_s in answered_s)
    admitted = len(arrivals) - len(refused_s)
    return Outcomes(
        sent=len(arrivals),
        good=good,
        late=len(answered_s) - good,
        refused=len(refused_s),
        failed=admitted - len(answered_s),
        goodput_per_s=good / duration_s,
        refusal_p99_ms=quantile_ms(refused_s, 0.99) if refused_s else None,
        attained=good / admitted if admitted else None,
    )


def recovery_s(arrivals: Sequence[Arrival], end_s: float) -> float | None:
    """When, after `end_s` [s], the last slice of time with a request refused, failed or late was over [s].

    Zero where every slice afterwards was clean, None where the last one still was not.
    """
    bad = [
        one.due_s
        for one in arrivals
        if one.due_s >= end_s and not (one.status == 200 and one.latency_s is not None and one.latency_s <= OBJECTIVE_S)
    ]
    if not bad:
        return 0.0
    cleared_s = (int((max(bad) - end_s) / SLICE_S) + 1) * SLICE_S
    return cleared_s if any(one.due_s >= end_s + cleared_s for one in arrivals) else None


def capacity_per_s(running: Running, seconds: float, seed: int) -> float:
    """Requests/s of the closed loop with enough connections: the peak."""
    requests = http_api(running).requests(unique_texts(seed))
    return drive(requests, address=running.address, connections=PEAK_CONNECTIONS, duration_s=seconds).per_s


def overload(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Three times the capacity: goodput to peak, p99 of refusals, time until half the capacity runs clean again."""
    return _in_rounds(_overloaded, _print_overload, rounds, seconds)


def slo(*, rounds: int, seconds: float) -> dict[str, Any]:
    """The share of admitted requests that meet the objective at 80 % of the capacity."""
    return _in_rounds(_busy, _print_slo, rounds, seconds)


Round = dict[str, float | None]


def _in_rounds(
    one_round: Callable[[Running, int, float], Round], show: Callable[[Round], None], rounds: int, seconds: float
) -> dict[str, Any]:
    found = []
    with gateway() as running:
        for number in range(rounds):
            found.append(one_round(running, number, seconds))
    median = {name: _median([one[name] for one in found]) for name in found[0]}
    show(median)
    return {"objective_ms": OBJECTIVE_S * 1e3, "rounds": found, "median": median}


def _overloaded(running: Running, number: int, seconds: float) -> Round:
    peak = capacity_per_s(running, seconds, 2 * number)
    times_s = poisson_times_s(OVERLOAD * peak, seconds, seed=number)
    times_s += [seconds + at_s for at_s in poisson_times_s(RECOVERED * peak, RECOVERY_S, seed=1000 + number)]
    arrivals = send_open(http_api(running).requests(unique_texts(2 * number + 1)), times_s, address=running.address)
    outcomes = outcomes_of([one for one in arrivals if one.due_s < seconds], seconds)
    return {
        "peak_per_s": peak,
        "sent_per_s": outcomes.sent / seconds,
        "goodput_per_s": outcomes.goodput_per_s,
        "goodput_to_peak": outcomes.goodput_per_s / peak,
        "refused": float(outcomes.refused),
        "late": float(outcomes.late),
        "failed": float(outcomes.failed),
        "refusal_p99_ms": outcomes.refusal_p99_ms,
        "recovery_s": recovery_s(arrivals, seconds),
    }


def _busy(running: Running, number: int, seconds: float) -> Round:
    peak = capacity_per_s(running, seconds, 2 * number)
    times_s = poisson_times_s(BUSY * peak, seconds, seed=number)
    arrivals = send_open(http_api(running).requests(unique_texts(2 * number + 1)), times_s, address=running.address)
    outcomes = outcomes_of(arrivals, seconds)
    answered_s = sorted(one.latency_s for one in arrivals if one.latency_s is not None and one.status == 200)
    return {
        "peak_per_s": peak,
        "sent_per_s": outcomes.sent / seconds,
        "attained": outcomes.attained,
        "refused": float(outcomes.refused),
        "late": float(outcomes.late),
        "failed": float(outcomes.failed),
        "p50_ms": quantile_ms(answered_s, 0.5) if answered_s else None,
        "p99_ms": quantile_ms(answered_s, 0.99) if answered_s else None,
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _print_overload(median: Round) -> None:
    print(
        f"{OVERLOAD:g}x overload, {_shown(median['sent_per_s'], ',.0f')}/s sent    "
        f"goodput {_shown(median['goodput_per_s'], ',.0f')}/s = {_shown(median['goodput_to_peak'], '.2f')} of the peak "
        f"{_shown(median['peak_per_s'], ',.0f')}/s (bar {BAR_GOODPUT})\n"
        f"refusals                           p99 {_shown(median['refusal_p99_ms'], '.1f')} ms (bar {BAR_REFUSAL_MS:g})"
        f"  late {_shown(median['late'], '.0f')}  failed {_shown(median['failed'], '.0f')}\n"
        f"recovery                           {_shown(median['recovery_s'], '.2f')} s (bar {BAR_RECOVERY_S:g})",
        flush=True,
    )


def _print_slo(median: Round) -> None:
    print(
        f"{BUSY:.0%} of capacity, {_shown(median['sent_per_s'], ',.0f')}/s sent  "
        f"{_shown(median['attained'], '.2%')} of the admitted in {OBJECTIVE_S * 1e3:g} ms (bar {BAR_ATTAINED:.1%})  "
        f"refused {_shown(median['refused'], '.0f')}  p50 {_shown(median['p50_ms'], '.1f')} ms  "
        f"p99 {_shown(median['p99_ms'], '.1f')} ms",
        flush=True,
    )
