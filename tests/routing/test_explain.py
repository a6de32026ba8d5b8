"""The dry run shows what the picker weighed."""

from greenserve.routing.explain import explain, with_intensity
from greenserve.routing.picker import pick
from greenserve.routing.records import Features, PoolState, Snapshot
from greenserve.routing.state import RoutingState

REQUEST = Features(tenant="acme", length=64, deadline_ns=10**9, size_bytes=4096)


def test_every_arc_has_a_row_and_the_winner_stands_first(profile_c: Snapshot, busy_pools: dict[str, PoolState]) -> None:
    """15 arcs, 15 rows, exactly one picked: the picker's own choice, with the scores of the published table."""
    state = RoutingState(pools=busy_pools)
    state.set_nu("acme", "sentiment", 260e-6)

    explanation = explain(profile_c, state, REQUEST, 0)

    assert 15 == len(explanation.rows)
    assert pick(profile_c, state, REQUEST, 0) == explanation.decision
    first = explanation.rows[0]
    assert ("gb", "half-int8", "picked: quality-budget") == (first.region, first.variant, first.verdict)
    assert [True] + [False] * 14 == [row.picked for row in explanation.rows]
    assert first.score_g is not None
    assert 11.42 == round(first.score_g * 1e6, 2)


def test_each_loser_says_why(profile_c: Snapshot, busy_pools: dict[str, PoolState]) -> None:
    """A beaten arc names the term and the gap; one under the floor has no figures."""
    state = RoutingState(pools=busy_pools)
    state.set_nu("acme", "sentiment", 260e-6)

    rows = {(row.region, row.variant): row for row in explain(profile_c, state, REQUEST, 0).rows}

    assert "beaten: quality-budget, +0.336 ug" == rows["gb", "quarter-int8"].verdict
    assert "inadmissible: quality 0.820 under the floor 0.860" == rows["gb", "static"].verdict
    assert (None, None) == (rows["gb", "static"].energy_j, rows["gb", "static"].score_g)


def test_a_refusal_is_explained_and_not_raised(profile_c: Snapshot) -> None:
    """No candidate: no decision, the refusal's words, and still a row per arc."""
    explanation = explain(profile_c, RoutingState(pools={"gb": PoolState()}), REQUEST, 10**9)

    assert explanation.decision is None
    assert "no region and variant meets" in (explanation.refusal or "")
    assert 15 == len(explanation.rows)


def test_another_grid_changes_the_readings_only(profile_c: Snapshot) -> None:
    """The hypothetical grid replaces the zones it names and leaves arcs and objective."""
    swapped = with_intensity(profile_c, {"DE": profile_c.readings["ES"]})

    assert profile_c.arcs == swapped.arcs
    assert profile_c.readings["ES"] == swapped.readings["DE"]
    assert profile_c.readings["GB"] == swapped.readings["GB"]
