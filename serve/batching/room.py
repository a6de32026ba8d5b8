"""How much can wait: the work that leaves time for a large batch before the objective, and the part to be used."""

from collections.abc import Sequence

from greenserve.serve.batching.lane import Lane
from greenserve.units import NS_PER_S

FULL, SHARED = 0.5, 0.45
"""The pressure up to which there is room for whoever comes. Over it heads would be due so soon that they force small
batches; where several tenants are active, over half of it shares begin to bind and admission would refuse."""
AT_ONCE = 8.0
"""Rows find room in such portions: more, decoded in one turn of the event loop, would hold it up for all others."""
NO_SLO_S = 1.0
"""How much work counts as a full queue where no objective is set."""
LEAST_SHARE = 0.1
"""The part of an objective that is never taken away from its queue."""


def last_s(lane: Lane, bucket: int) -> float:
    """What must be left for the run that a row of that bucket will be in [s]: of a large batch behind a long queue.

    With less, each head would force a small batch just when large ones are needed; of the rows of its length that
    wait now, half are taken to be still there.
    """
    rates = lane.rates(bucket)
    rows = min(lane.most(rates), 1 + lane.queue.sizes[bucket] // 2)
    return 0.0 if rates is None else rates.high_s(rows)


def horizon_of_s(lane: Lane, bucket: int, overhead_ns: int) -> float:
    """H [s]: the most work that can be ahead of a row and still leave it its objective, after `overhead_ns` [ns]."""
    slo_s = lane.settings.slo_s if lane.settings.slo_s is not None else NO_SLO_S
    return max(LEAST_SHARE * slo_s, slo_s - overhead_ns / NS_PER_S - last_s(lane, bucket))


def horizon_s(lanes: Sequence[Lane], overhead_ns: int) -> float:
    """The least H [s] of the lanes in which rows wait, by their shortest ones; `NO_SLO_S` where none do."""
    horizons = [
        horizon_of_s(lane, next(index for index, size in enumerate(lane.queue.sizes) if size), overhead_ns)
        for lane in lanes
        if lane.queue.rows
    ]
    return min(horizons, default=NO_SLO_S)
