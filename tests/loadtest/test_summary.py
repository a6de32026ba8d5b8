"""Figures of a run: quantiles, interval, unknowns, validity, gates."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.loadtest.samples import Recording, Sample
from greenserve.loadtest.summary import gates_of, mean_interval, quantile, summarise


def a_sample(
    intended_s: float = 0.0,
    *,
    lag_s: float = 0.001,
    service_s: float = 0.010,
    error: str | None = None,
    energy_uj: int | None = 30_000,
    emissions_ng: int | None = 1_000,
) -> Sample:
    return Sample(intended_s, lag_s, service_s, error, energy_uj, "modelled", emissions_ng, "north/int8-dyn", "miss")


def a_recording(*samples: Sample, dropped: int = 0, cpu_share: float | None = 0.3, complete: bool = True) -> Recording:
    return Recording(
        samples=samples,
        planned=len(samples) + dropped,
        dropped=dropped,
        wall_s=1.0,
        cpu_share=cpu_share,
        complete=complete,
    )


def test_service_and_intended_times_are_told_apart() -> None:
    """A request that was sent 90 ms late took 10 ms to serve and 100 ms to wait for."""
    summary = summarise(a_recording(a_sample(lag_s=0.09)))

    assert summary.service is not None
    assert summary.intended is not None
    assert pytest.approx(10) == summary.service.p95_ms
    assert pytest.approx(100) == summary.intended.p95_ms


def test_unknown_energy_is_counted_apart_and_never_zero() -> None:
    """Two known answers and one unknown: the mean is that of the two; none known: no figure at all."""
    summary = summarise(a_recording(a_sample(), a_sample(energy_uj=50_000), a_sample(energy_uj=None)))
    nothing = summarise(a_recording(a_sample(energy_uj=None, emissions_ng=None)))

    assert summary.energy is not None
    assert (2, 80_000) == (summary.energy.answers, summary.energy.total_uj)
    assert pytest.approx(40) == summary.energy.mean_mj
    assert (None, None) == (nothing.energy, nothing.carbon)


def test_failures_count_as_failures_only() -> None:
    """A refused request adds no latency, energy or route."""
    summary = summarise(a_recording(a_sample(), a_sample(error="503 overloaded", service_s=9.0)))

    assert (2, 1, 1) == (summary.requests, summary.answered, summary.failed)
    assert {"503 overloaded": 1} == summary.errors
    assert {"north/int8-dyn": 1} == summary.routes
    assert summary.service is not None
    assert pytest.approx(10) == summary.service.p99_ms


def test_carbon_is_given_per_thousand_requests() -> None:
    """1,000 ng a request are 1 mg per 1,000."""
    summary = summarise(a_recording(a_sample(), a_sample()))

    assert summary.carbon is not None
    assert 2_000 == summary.carbon.total_ng
    assert pytest.approx(1.0) == summary.carbon.mg_per_1k


@pytest.mark.parametrize(
    ("recording", "complaint"),
    [
        (a_recording(a_sample(lag_s=0.02)), "send lag p99 20.0 ms is over 10 ms"),
        (a_recording(a_sample(), dropped=2), "2 arrivals were dropped"),
        (a_recording(a_sample(), cpu_share=0.9), "generator CPU 90% is over 85%"),
        (a_recording(a_sample(), complete=False), "ended before its schedule"),
        (a_recording(), "no request was sent"),
    ],
)
def test_a_bad_measurement_says_why(recording: Recording, complaint: str) -> None:
    """Late sending, drops, a busy generator or a short run: not valid."""
    assert any(complaint in why for why in summarise(recording).invalid)
    assert () == summarise(a_recording(a_sample())).invalid


def test_gates_judge_known_figures_only() -> None:
    """Under and over the limit; an unknown figure, or one that under 95 % of the answers state, is not met."""
    good = summarise(a_recording(a_sample()))
    partly = summarise(a_recording(a_sample(), a_sample(energy_uj=None)))

    assert [True, True] == [gate.met for gate in gates_of(good, max_mj=30, max_p95_ms=11)]
    assert [False, False] == [gate.met for gate in gates_of(good, max_mj=29.9, max_p95_ms=10.9)]
    assert [(None, False)] == [(gate.value, gate.met) for gate in gates_of(partly, max_mj=100, max_p95_ms=None)]
    assert () == gates_of(good, max_mj=None, max_p95_ms=None)


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_covers_its_share_and_is_a_value(values: list[float], share: float) -> None:
    """At least `share` of the values don't exceed it, and fewer would not exceed any smaller value."""
    found = quantile(values, share)

    assert found in values
    assert found is not None
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_the_interval_of_the_mean_covers_it_about_as_often_as_it_says() -> None:
    """300 seeded runs of 400 exponential values: between 90 and 99 % of the 95 % intervals hold the true mean."""
    random = Random(5)
    hits = 0
    for _ in range(300):
        interval = mean_interval([random.expovariate(1.0) for _ in range(400)])
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]

    assert 270 <= hits <= 297


def test_too_few_answers_have_no_interval() -> None:
    """Under 50 values nothing is claimed; a run of equal values has an interval of no width."""
    assert mean_interval([1.0] * 49) is None
    assert (1.0, 1.0) == mean_interval([1.0] * 50)


def test_the_tier_of_a_run_is_its_weakest() -> None:
    """One simulated answer makes the sum simulated; one without a tier leaves it unknown."""
    metered = a_sample()._replace(tier="metered")
    mixed = summarise(a_recording(metered, a_sample()._replace(tier="simulated"))).energy
    unstated = summarise(a_recording(metered, a_sample()._replace(tier=None))).energy

    assert mixed is not None
    assert unstated is not None
    assert ("simulated", None) == (mixed.tier, unstated.tier)


def test_a_short_run_keeps_its_unknown_cpu() -> None:
    """CPU that was not measured is None in the summary too."""
    assert summarise(replace(a_recording(a_sample()), cpu_share=None)).cpu_share is None
