"""Joules per request of a variant over the test rows: engine and tokenizer, without the gateway's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenserve.optimize.fit import Interval95, interval
from greenserve.units import seconds_from_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """Dynamic energy per request [J] and its ratio baseline / variant, with 95 % intervals over groups of rows."""

    energy_j: Interval95
    ratio: Interval95
    saved_j: Interval95


def headline(
    *,
    cpu_ns: Sequence[int],
    baseline_cpu_ns: Sequence[int],
    rows: Sequence[int],
    text_cpu_s: float,
    dynamic_w_per_cpu: float,
) -> Headline:
    """From the CPU time [ns] of each group of `rows` requests, the baseline's on the same groups, and the tokenizer's
    mean CPU time per text [s]; ratio and saving pair the groups."""
    ours = [dynamic_w_per_cpu * (seconds_from_ns(ns) / n + text_cpu_s) for ns, n in zip(cpu_ns, rows, strict=True)]
    base = [
        dynamic_w_per_cpu * (seconds_from_ns(ns) / n + text_cpu_s) for ns, n in zip(baseline_cpu_ns, rows, strict=True)
    ]
    return Headline(
        energy_j=interval(ours),
        ratio=interval([theirs / mine for mine, theirs in zip(ours, base, strict=True)]),
        saved_j=interval([theirs - mine for mine, theirs in zip(ours, base, strict=True)]),
    )
