"""Requests that are over, counted group by group: what shares all labels and stages is one array. Pure."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from greenserve.serve.telemetry.facts import OK, Facts
from greenserve.serve.telemetry.series import Series
from greenserve.units import NS_PER_S, UJ_PER_J

Group = tuple[str, ...]


def count_all(series: Series, requests: Sequence[Facts]) -> None:
    """Add requests to the series of metrics."""
    groups: dict[Group, list[Facts]] = defaultdict(list)
    for facts in requests:
        key = (facts.model, facts.variant, facts.region, facts.protocol, facts.code, facts.cache, facts.tier)
        groups[key + _stages_of(facts)].append(facts)
    for group in groups.values():
        _count(series, group)


def _stages_of(facts: Facts) -> tuple[str, ...]:
    return tuple([stage for stage, _ in facts.times_ns])


def _count(series: Series, group: Sequence[Facts]) -> None:
    first = group[0]
    where = (first.model, first.variant, first.region)
    series.add("greenserve_requests_total", (*where, first.protocol, first.code), len(group))
    if first.code != OK:
        series.add("greenserve_refused_total", (first.code,), len(group))
        return
    series.add("greenserve_cache_requests_total", (*where, first.cache), len(group))
    stages = _stages_of(first)[1:]
    ends_ns = np.array([[at_ns for _, at_ns in facts.times_ns] for facts in group], dtype=np.int64)
    took_s = np.diff(ends_ns, axis=1) / NS_PER_S
    elsewhere_s = np.zeros(len(group))
    for index, stage in enumerate(stages):
        series.observe_all("greenserve_stage_duration_seconds", (stage,), took_s[:, index])
        if stage == "queue":
            series.observe_all("greenserve_queue_wait_seconds", (first.model, first.variant), took_s[:, index])
        if stage in {"defer", "queue", "model"}:
            elsewhere_s += took_s[:, index]
    whole_s = (ends_ns[:, -1] - ends_ns[:, 0]) / NS_PER_S
    series.observe_all("greenserve_request_duration_seconds", where, whole_s)
    series.observe_all("greenserve_gateway_overhead_seconds", where, np.maximum(whole_s - elsewhere_s, 0.0))
    known_uj = [facts.energy_uj for facts in group if facts.energy_uj is not None]
    if known_uj:
        energy_j = np.array(known_uj, dtype=np.float64) / UJ_PER_J
        series.observe_all("greenserve_request_energy_joules", (*where, first.tier), energy_j)
