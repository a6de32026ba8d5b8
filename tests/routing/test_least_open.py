"""What the quality guard lets through, as one number."""

from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.routing.judge import judge, least_open
from greenserve.routing.records import Features, Snapshot
from greenserve.routing.state import RoutingState


def asking(mean: float, *, variant: str | None = None, length: int = 16) -> Features:
    """A request of a tenant with that mean, over a floor of 0.8."""
    return Features(
        tenant="acme", length=length, deadline_ns=10**12, quality_mean=mean, quality_floor=0.8, variant=variant
    )


def owing(snapshot: Snapshot, debt: float, mean: float) -> RoutingState:
    """A state in which one answer left so much owed."""
    state = RoutingState()
    state.answered(mean - debt, snapshot=snapshot, features=asking(mean))
    return state


@settings(max_examples=100)
@given(debt=st.floats(-0.1, 0.1), mean=st.floats(0.82, 0.91), length=st.sampled_from([16, 64]))
def test_it_is_the_bound_that_the_guard_draws(profile_c: Snapshot, debt: float, mean: float, length: int) -> None:
    """Of the arcs in time exactly those under it are guarded; if all are, the best of them is let through."""
    state, features = owing(profile_c, debt, mean), asking(mean, length=length)
    judged = judge(profile_c, state, features, 0)
    least = least_open(profile_c, state, features)

    quality = [candidate.arc.quality for candidate in judged.view.priced]
    under = {index for index in judged.inside if quality[index] < least}
    best = max(quality[index] for index in judged.inside)
    expected = {index for index in under if quality[index] < best} if judged.unmet_mean else under
    assert expected == judged.guarded


def test_where_no_mean_is_above_the_floor_it_is_the_floor(profile_c: Snapshot) -> None:
    """Nothing can be owed; nor is a pinned variant asked."""
    state = owing(profile_c, 0.1, 0.9)

    assert 0.8 == least_open(profile_c, state, asking(0.7))
    assert 0.8 == least_open(profile_c, state, asking(0.9, variant="static"))
    assert 0.8 < least_open(profile_c, state, asking(0.9))


def test_kept_answers_are_counted_as_runs_are(profile_c: Snapshot) -> None:
    """Two answers 0.05 under the mean and one 0.02 over it."""
    state = RoutingState()
    for quality in (0.82, 0.82, 0.89):
        state.answered(quality, snapshot=profile_c, features=asking(0.87))

    assert 0.08 == round(state.debt("acme", profile_c.model), 9)
