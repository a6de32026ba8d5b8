"""Fronts and recommendations."""

from hypothesis import given
from hypothesis import strategies as st

from greenserve.optimize.pareto import Candidate, dominates, front, recommended


def candidate(
    name: str = "a", *, energy_j: float = 1.0, loss: float = 0.0, p95_s: float | None = 0.01, verdict: str = "pass"
) -> Candidate:
    """A candidate with defaults."""
    return Candidate(name=name, verdict=verdict, energy_j=energy_j, loss_points=loss, p95_s=p95_s)


drawn = st.lists(
    st.builds(
        candidate,
        name=st.uuids().map(str),
        energy_j=st.sampled_from([0.1, 0.5, 0.505, 1.0]),
        loss=st.sampled_from([-0.5, 0.0, 0.05, 2.0]),
        p95_s=st.sampled_from([None, 0.001, 0.00101, 0.01]),
        verdict=st.sampled_from(["pass", "undecided", "below_gate"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.name,
)


@given(drawn)
def test_the_front_is_never_empty_and_nothing_on_it_is_dominated(candidates: list[Candidate]) -> None:
    """Whoever is left out is beaten by someone; whoever stays is beaten by nobody."""
    kept = front(candidates)

    assert kept
    for one in candidates:
        assert (one.name not in kept) == any(dominates(other, one) for other in candidates)


@given(drawn)
def test_the_front_runs_from_least_loss_to_most(candidates: list[Candidate]) -> None:
    """Its order is the order of falling back."""
    losses = {one.name: one.loss_points for one in candidates}
    ordered = [losses[name] for name in front(candidates)]

    assert sorted(ordered) == ordered


@given(drawn)
def test_the_recommended_one_passed_and_no_other_that_passed_needs_less(candidates: list[Candidate]) -> None:
    """Least joules among those that passed, or none."""
    name = recommended(candidates)
    passed = {one.name: one.energy_j for one in candidates if one.verdict == "pass"}

    assert (name is None) == (not passed)
    assert name is None or min(passed.values()) == passed[name]


def test_a_difference_within_the_slack_does_not_decide() -> None:
    """1 % of joules keeps both on the front, 5 % does not."""
    base = candidate("base", energy_j=1.0)

    assert not dominates(candidate(energy_j=0.99), base)
    assert dominates(candidate(energy_j=0.95), base)


def test_an_unknown_latency_is_not_compared() -> None:
    """None is no zero: it neither wins nor loses."""
    assert dominates(candidate(energy_j=0.5, p95_s=None), candidate(p95_s=0.001))
    assert not dominates(candidate(p95_s=None), candidate(p95_s=0.5))
