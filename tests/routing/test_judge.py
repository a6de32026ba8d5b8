"""What weighing promises for any fleet, grid and policy."""

import pickle
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from greenserve.errors import NoFeasibleRoute
from greenserve.records import Decision, IntensityReading
from greenserve.routing.judge import judge
from greenserve.routing.picker import pick
from greenserve.routing.records import Arc, Features, Objective, PoolState, Snapshot
from greenserve.routing.state import RoutingState


def a_reading(zone: str, grams: float) -> IntensityReading:
    return IntensityReading(
        zone=zone,
        start_us=0,
        end_us=1,
        mg_per_kwh=round(grams * 1000),
        basis="lifecycle",
        kind="average",
        origin="recorded",
        provider="test",
        retrieved_us=0,
    )


def an_arc(region: str, variant: str, *, quality: float, seconds: float, joules: float, rtt_s: float) -> Arc:
    return Arc(
        region=region,
        zone=region.upper(),
        variant=variant,
        quality=quality,
        theta=(0.0, seconds, 0.0, 0.0),
        eta=(0.0, joules, 0.0, 0.0),
        q99=1.0,
        max_batch=16,
        pue_milli=1000,
        pool="north",
        rtt_s=rtt_s,
        tier="modelled",
    )


def a_snapshot(*arcs: Arc, grid: Mapping[str, float], **objective: object) -> Snapshot:
    rules = Objective(latency_s=0.05, quality_floor=0.5, policy="min-carbon")
    return Snapshot(
        model="sentiment",
        version=1,
        home="north",
        arcs=arcs,
        readings={zone: a_reading(zone, grams) for zone, grams in grid.items()},
        objective=replace(rules, **objective),  # type: ignore[arg-type]
        reference_length=16,
        digest="0" * 64,
    )


def a_request(**changes: object) -> Features:
    whole = Features(tenant="acme", length=16, deadline_ns=1_000_000_000)
    return replace(whole, **changes)  # type: ignore[arg-type]


def route_of(decision: Decision) -> str:
    return f"{decision.region}/{decision.variant}"


arcs = st.builds(
    an_arc,
    st.sampled_from(["north", "south", "west"]),
    st.sampled_from(["a", "b", "c", "d"]),
    quality=st.sampled_from([0.6, 0.7, 0.8]) | st.floats(0.3, 0.99),
    seconds=st.sampled_from([0.005, 0.02]) | st.floats(0.0001, 0.2),
    joules=st.sampled_from([0.01, 0.1]) | st.floats(0.0001, 1.0),
    rtt_s=st.sampled_from([0.0, 0.01]),
)
fleets = st.lists(arcs, min_size=1, max_size=9, unique_by=lambda arc: arc.name)
grids = st.fixed_dictionaries(
    {zone: st.sampled_from([50.0, 400.0]) | st.floats(1, 900) for zone in ("NORTH", "SOUTH", "WEST")}
)
policies = st.sampled_from(["min-carbon", "balanced", "min-latency"])
means = st.none() | st.sampled_from([0.65, 0.75, 0.9])


@settings(max_examples=100)
@given(fleets, grids, policies, means, st.floats(0, 0.05), st.floats(0, 1e-5))
def test_no_promise_is_broken_and_no_dominated_arc_is_picked(
    fleet: list[Arc], grid: dict[str, float], policy: str, mean: float | None, backlog_s: float, mu: float
) -> None:
    """(1) Floor, ETA and residency hold; no admissible arc is better in one respect and no worse in the others."""
    snapshot = a_snapshot(*fleet, grid=grid, policy=policy, quality_mean=mean)
    state = RoutingState(pools={"north": PoolState(backlog_s=backlog_s, mu_g_per_s=mu)})
    request = a_request(regions=frozenset({"north", "south"}), min_quality=0.55)
    try:
        decision = pick(snapshot, state, request, 0)
    except NoFeasibleRoute:
        assume(False)

    judged = judge(snapshot, state, request, 0)
    chosen = judged.kept[0]
    quality = judged.view.priced[chosen].arc.quality
    best = judged.terms[chosen]
    assert decision.region in {"north", "south"}
    assert 0.55 <= quality
    assert judged.at_risk or best.eta_s <= 0.95 * 0.05
    for index in judged.inside:
        terms, other = judged.terms[index], judged.view.priced[index].arc
        gains = (
            best.grams_g - terms.grams_g,
            best.capacity_g - terms.capacity_g,
            best.eta_s - terms.eta_s,
            other.quality - quality,
        )
        assert judged.at_risk or min(gains) < 0 or max(gains) <= 1e-9 * max(best.grams_g, best.eta_s)


@settings(max_examples=100)
@given(fleets, grids, st.floats(1.01, 2), policies.filter(lambda policy: policy != "balanced"))
def test_a_dirtier_grid_never_attracts_traffic(
    fleet: list[Arc], grid: dict[str, float], factor: float, policy: str
) -> None:
    """(3) Raising the intensity of a region other than home never moves a pick into it."""
    clean = a_snapshot(*fleet, grid=grid, policy=policy)
    dirty = a_snapshot(*fleet, grid={**grid, "SOUTH": grid["SOUTH"] * factor}, policy=policy)
    try:
        before, after = (pick(snapshot, RoutingState(), a_request(), 0) for snapshot in (clean, dirty))
    except NoFeasibleRoute:
        assume(False)

    assert "south" != after.region or "south" == before.region


@settings(max_examples=100)
@given(fleets, grids, st.floats(0, 1e-4), st.floats(0, 1e-4))
def test_a_dearer_quality_never_lowers_it(fleet: list[Arc], grid: dict[str, float], nu: float, more: float) -> None:
    """(3) Raising nu never picks an arc of lower quality."""
    snapshot = a_snapshot(*fleet, grid=grid)
    qualities = []
    for price in (nu, nu + more):
        state = RoutingState()
        state.set_nu("acme", "sentiment", price)
        try:
            decision = pick(snapshot, state, a_request(), 0)
        except NoFeasibleRoute:
            assume(False)
        assume("slo-at-risk" not in decision.flags)
        qualities.append(next(arc.quality for arc in fleet if arc.name == route_of(decision)))

    assert qualities[0] <= qualities[1] + 1e-9


@settings(max_examples=100)
@given(fleets, grids, st.floats(0.3, 0.99), st.floats(0.001, 0.05))
def test_tightening_never_admits_another_arc(
    fleet: list[Arc], grid: dict[str, float], floor: float, latency_s: float
) -> None:
    """(3) A higher floor, a shorter latency or fewer regions leave a subset of what was admissible."""
    loose = a_snapshot(*fleet, grid=grid)
    tight = a_snapshot(*fleet, grid=grid, latency_s=latency_s, quality_floor=max(0.5, floor))
    narrow = a_request(regions=frozenset({"north"}))

    wide_open, narrowed = judge(loose, RoutingState(), a_request(), 0), judge(tight, RoutingState(), narrow, 0)
    assume(not narrowed.at_risk)

    names = [{j.view.priced[index].arc.name for index in j.inside} for j in (narrowed, wide_open)]
    assert names[0] <= names[1]


@settings(max_examples=100)
@given(fleets.flatmap(lambda fleet: st.tuples(st.just(fleet), st.permutations(fleet))), grids, policies, means)
def test_the_same_question_has_the_same_answer(
    fleet: tuple[list[Arc], list[Arc]], grid: dict[str, float], policy: str, mean: float | None
) -> None:
    """(4) Byte for byte, in any order of the arcs, and picking changes nothing."""
    state = RoutingState()
    answers = []
    for order in (*fleet, fleet[0]):
        try:
            made = pick(a_snapshot(*order, grid=grid, policy=policy, quality_mean=mean), state, a_request(), 0)
        except NoFeasibleRoute as refused:
            answers.append(str(refused).encode())
        else:
            answers.append(pickle.dumps(made))

    assert 1 == len(set(answers))
    assert 0.0 == state.debt("acme", "sentiment")


@settings(max_examples=50)
@given(fleets, st.lists(grids, min_size=1, max_size=4), policies, st.sampled_from([0.6, 0.7]))
def test_the_mean_quality_is_never_a_spread_behind(
    fleet: list[Arc], hours: list[dict[str, float]], policy: str, mean: float
) -> None:
    """Wherever a window ends, the answers' quality sums to at most one spread under the target, if it can be met."""
    reachable = [arc for arc in fleet if arc.theta is not None and arc.theta[1] + arc.rtt_s <= 0.95 * 0.05]
    assume(any(arc.quality >= mean for arc in reachable))
    state = RoutingState()
    spread = max(arc.quality for arc in fleet) - min(arc.quality for arc in fleet)

    for turn in range(40):
        snapshot = a_snapshot(*fleet, grid=hours[turn % len(hours)], policy=policy, quality_mean=mean)
        decision = pick(snapshot, state, a_request(), 0)
        state.apply(decision, snapshot=snapshot, features=a_request())

        assert state.debt("acme", "sentiment") <= spread + 1e-6
