"""What is counted of an open loop: good, late, refused, failed, and when it is clean again."""

from benchmarks.open_loop import Arrival, poisson_times_s
from benchmarks.overload import Outcomes, outcomes_of, recovery_s


def an_arrival(status: int | None = 200, *, latency_s: float | None = 0.01, due_s: float = 0.0) -> Arrival:
    """An arrival with defaults: answered in 10 ms."""
    return Arrival(due_s=due_s, latency_s=latency_s, status=status)


def test_every_request_is_counted_once() -> None:
    """Good, late, refused and failed add up; goodput and attainment count the good ones only."""
    arrivals = [
        an_arrival(),
        an_arrival(),
        an_arrival(latency_s=0.3),
        an_arrival(429, latency_s=0.004),
        an_arrival(503, latency_s=0.002),
        an_arrival(504),
        an_arrival(None, latency_s=None),
    ]

    assert Outcomes(
        sent=7, good=2, late=1, refused=2, failed=2, goodput_per_s=1.0, refusal_p99_ms=4.0, attained=0.4
    ) == outcomes_of(arrivals, 2.0)


def test_what_did_not_happen_is_unknown() -> None:
    """Without a refusal there is no refusal time, without an admitted request no attainment."""
    assert outcomes_of([an_arrival()], 1.0).refusal_p99_ms is None
    assert outcomes_of([an_arrival(429)], 1.0).attained is None


def test_recovery_ends_with_the_last_slice_that_was_not_clean() -> None:
    """A late, refused or lost request after the end keeps its quarter of a second from being clean."""
    after = [an_arrival(due_s=10.0 + 0.1 * number) for number in range(20)]

    assert 0.0 == recovery_s([an_arrival(429, due_s=9.9), *after], 10.0)
    assert 0.75 == recovery_s([*after, an_arrival(429, due_s=10.6)], 10.0)
    assert recovery_s([*after, an_arrival(None, latency_s=None, due_s=11.95)], 10.0) is None


def test_poisson_arrivals_come_at_their_rate_and_the_same_for_a_seed() -> None:
    """The n-th request has one time for a seed, so that a run can be repeated."""
    times_s = poisson_times_s(1000.0, 10.0, seed=1)

    assert times_s == sorted(times_s) == poisson_times_s(1000.0, 10.0, seed=1)
    assert times_s != poisson_times_s(1000.0, 10.0, seed=2)
    assert 9_700 < len(times_s) < 10_300
    assert 0.0 < times_s[0] < times_s[-1] < 10.0
