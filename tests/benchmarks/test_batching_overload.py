"""A replica past its capacity, simulated: how much is answered in time, what refusals cost, and who gets in."""

import pytest

from benchmarks.batching_overload import Replica, asking, capacity_per_s

SEEDS = (1, 2)
SECONDS = 3.0


@pytest.mark.parametrize(("times", "least"), [(1.1, 0.9), (2.0, 0.85), (3.0, 0.8)])
def test_past_capacity_most_of_it_is_answered_in_time(times: float, least: float) -> None:
    """Turning away costs the rest; batches are large, few are late or refused after decoding. Once 0.86, 0.75, 0.73."""
    for seed in SEEDS:
        found = Replica(asking(seed, SECONDS, {"a": times * capacity_per_s()}), seed).run()

        assert found.good.total() >= least * SECONDS * capacity_per_s()
        assert found.late.total() <= 0.05 * found.good.total()
        assert found.refused.total() <= 0.1 * found.good.total()
        assert found.rows_per_batch is not None
        assert found.rows_per_batch > 22
        assert found.refusal_p99_s is not None
        assert found.refusal_p99_s < 0.02


@pytest.mark.parametrize("per_s", [40.0, 150.0])
def test_who_stays_within_a_part_is_answered_whoever_floods(per_s: float) -> None:
    """Three times the capacity by another: most of theirs is answered, and the core is not wasted on it."""
    for seed in SEEDS:
        rates = {"greedy": 3.0 * capacity_per_s(), "modest": per_s}
        found = Replica(asking(seed, SECONDS, rates), seed).run()

        assert found.good["modest"] >= 0.85 * SECONDS * per_s
        assert found.good.total() >= 0.75 * SECONDS * capacity_per_s()


def test_everybody_is_answered_or_refused() -> None:
    """Nothing is lost in the simulation; the same arguments give the same outcome."""
    asked = asking(1, 1.0, {"a": 2_000.0, "b": 100.0})

    first, second = (Replica(asked, 1).run() for _ in range(2))

    counted = first.good + first.late + first.away + first.refused
    assert sum(one.at_s >= 1.0 for one in asked) == counted.total()
    assert first == second
