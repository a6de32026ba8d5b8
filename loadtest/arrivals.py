"""When requests start: seeded schedules of offsets [s] from the start of a run, decided before anything is sent."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from math import ceil
from random import Random


def constant(*, rate_per_s: float, duration_s: float) -> Iterator[float]:
    """One arrival every 1/rate seconds, from 0 on."""
    for index in count():
        offset_s = index / rate_per_s
        if offset_s >= duration_s:
            return
        yield offset_s


def poisson(*, rate_per_s: float, duration_s: float, seed: int) -> Iterator[float]:
    """Independent arrivals: exponential gaps with a mean of 1/rate seconds."""
    random = Random(seed)
    offset_s = random.expovariate(rate_per_s)
    while offset_s < duration_s:
        yield offset_s
        offset_s += random.expovariate(rate_per_s)


def trace(recorded_s: Sequence[float], *, rate_per_s: float, duration_s: float, seed: int) -> Iterator[float]:
    """Recorded arrivals [s], scaled to a mean rate by superposing looped copies at seeded offsets and thinning.

    Never by playing it faster: that would change how bursty it is.
    """
    if len(recorded_s) < 2 or recorded_s[-1] <= recorded_s[0]:
        raise ValueError("a trace needs at least two arrivals at different times")
    random = Random(seed)
    gap_s = (recorded_s[-1] - recorded_s[0]) / (len(recorded_s) - 1)
    period_s = gap_s * len(recorded_s)
    wanted = rate_per_s * gap_s
    copies = ceil(wanted)
    shifted = [_looped(recorded_s, period_s, random.uniform(0, period_s)) for _ in range(copies)]
    for offset_s in heapq.merge(*shifted):
        if offset_s >= duration_s:
            return
        if random.random() * copies < wanted:
            yield offset_s


def _looped(recorded_s: Sequence[float], period_s: float, skip_s: float) -> Iterator[float]:
    first_s = recorded_s[0]
    for turn in count():
        for at_s in recorded_s:
            offset_s = at_s - first_s + turn * period_s - skip_s
            if offset_s >= 0:
                yield offset_s


SCHEDULES: tuple[str, ...] = ("constant", "poisson", "trace:FILE")


def schedule(
    kind: str,
    *,
    rate_per_s: float,
    duration_s: float,
    seed: int,
    read_trace: Callable[[str], Sequence[float]],
) -> Iterator[float]:
    """The schedule named `kind`; `read_trace` fetches the arrivals [s] of `trace:FILE`. ValueError for others."""
    if rate_per_s <= 0 or duration_s <= 0:
        raise ValueError(f"rate and duration must be over 0, got {rate_per_s}/s for {duration_s} s")
    if kind == "constant":
        return constant(rate_per_s=rate_per_s, duration_s=duration_s)
    if kind == "poisson":
        return poisson(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    name, _, file = kind.partition(":")
    if name == "trace" and file:
        return trace(read_trace(file), rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    raise ValueError(f"arrivals {kind!r}; allowed are {', '.join(SCHEDULES)}")
