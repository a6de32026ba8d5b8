"""Schedules: seeded, rising, inside the run, at the asked rate."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.loadtest.arrivals import constant, poisson, schedule, trace

rates = st.floats(0.5, 50)
durations = st.floats(0.1, 3)
traces = st.lists(st.floats(0, 10), min_size=2, max_size=50).map(sorted).filter(lambda t: t[-1] - t[0] > 1)


@settings(max_examples=100)
@given(rates, durations, st.integers(0, 2**32), traces)
def test_every_schedule_rises_within_its_run(rate: float, duration_s: float, seed: int, recorded: list[float]) -> None:
    """Offsets lie in [0, duration) and never fall."""
    for offsets in (
        list(constant(rate_per_s=rate, duration_s=duration_s)),
        list(poisson(rate_per_s=rate, duration_s=duration_s, seed=seed)),
        list(trace(recorded, rate_per_s=rate, duration_s=duration_s, seed=seed)),
    ):
        assert all(0 <= offset < duration_s for offset in offsets)
        assert all(first <= second for first, second in pairwise(offsets))


@settings(max_examples=50)
@given(rates, durations, st.integers(0, 2**32), traces)
def test_a_seed_fixes_the_schedule(rate: float, duration_s: float, seed: int, recorded: list[float]) -> None:
    """The same seed gives the same offsets, so that a run can be repeated."""
    first, again = (list(poisson(rate_per_s=rate, duration_s=duration_s, seed=seed)) for _ in range(2))
    played, replayed = (list(trace(recorded, rate_per_s=rate, duration_s=duration_s, seed=seed)) for _ in range(2))

    assert first == again
    assert played == replayed


def test_constant_arrivals_do_not_drift() -> None:
    """Arrival k comes at k / rate, also after many."""
    offsets = list(constant(rate_per_s=30, duration_s=100))

    assert 3000 == len(offsets)
    assert 2999 / 30 == offsets[-1]


def test_poisson_arrivals_keep_the_rate_and_spread() -> None:
    """10,000 arrivals at 100/s: the count within 4 %, counts per second about as variable as their mean."""
    offsets = list(poisson(rate_per_s=100, duration_s=100, seed=7))

    counts = Counter(int(offset) for offset in offsets)
    mean = len(offsets) / 100
    variance = sum((counts[second] - mean) ** 2 for second in range(100)) / 99
    assert abs(len(offsets) - 10_000) < 400
    assert 0.6 < variance / mean < 1.5


@pytest.mark.parametrize("rate", [0.5, 2.0, 37.0])
def test_a_trace_is_scaled_in_rate_and_not_sped_up(rate: float) -> None:
    """Ten at once every ten seconds: at any rate arrivals still come in bunches, at the asked mean."""
    recorded = [10.0 * bunch + 0.001 * place for bunch in range(20) for place in range(10)]

    offsets = list(trace(recorded, rate_per_s=rate, duration_s=4000, seed=1))

    gaps = [second - first for first, second in pairwise(offsets)]
    assert rate == pytest.approx(len(offsets) / 4000, rel=0.1)
    assert sum(gap < 0.01 for gap in gaps) / len(gaps) > 0.7


def test_another_seed_starts_elsewhere_in_the_trace() -> None:
    """At the trace's own rate one copy is played whole; where it starts depends on the seed."""
    recorded = [0.0, 1.0, 5.0, 6.0, 8.0]

    first, second = (list(trace(recorded, rate_per_s=0.5, duration_s=20, seed=seed)) for seed in (1, 2))

    assert first != second
    assert 9 <= len(first) <= 11


def test_an_unknown_schedule_names_the_known_ones() -> None:
    """The message lists what is allowed."""
    with pytest.raises(ValueError, match="allowed are constant, poisson, trace:FILE"):
        schedule("uniform", rate_per_s=1, duration_s=1, seed=0, read_trace=lambda _: ())


def test_a_schedule_is_chosen_by_its_name() -> None:
    """`trace:FILE` reads that file, the others none."""
    asked = []

    def read(file: str) -> list[float]:
        asked.append(file)
        return [0.0, 1.0, 2.0]

    first = list(schedule("constant", rate_per_s=2, duration_s=1, seed=0, read_trace=read))
    list(schedule("trace:a.csv", rate_per_s=2, duration_s=1, seed=0, read_trace=read))

    assert [0.0, 0.5] == first
    assert ["a.csv"] == asked
