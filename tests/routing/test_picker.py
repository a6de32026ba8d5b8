"""The choice for one request: promises that always hold, reasons, ties, refusals."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from greenserve.errors import NoFeasibleRoute
from greenserve.records import Decision, IntensityReading, Origin
from greenserve.routing.picker import pick
from greenserve.routing.records import Arc, Features, Objective, PoolState, Snapshot
from greenserve.routing.state import RoutingState

SECOND_NS = 1_000_000_000


def a_reading(zone: str, grams: float, *, origin: str = "recorded") -> IntensityReading:
    return IntensityReading(
        zone=zone,
        start_us=0,
        end_us=1,
        mg_per_kwh=round(grams * 1000),
        basis="lifecycle",
        kind="average",
        origin="annual" if origin == "annual" else "recorded",
        provider="test",
        retrieved_us=0,
    )


def an_arc(
    region: str = "north",
    variant: str = "small",
    *,
    quality: float = 0.8,
    seconds: float | None = 0.005,
    joules: float | None = 0.02,
    **changes: object,
) -> Arc:
    arc = Arc(
        region=region,
        zone=region.upper(),
        variant=variant,
        quality=quality,
        theta=None if seconds is None else (0.0, seconds, 0.0, 0.0),
        eta=None if joules is None else (0.0, joules, 0.0, 0.0),
        q99=1.0,
        max_batch=16,
        pue_milli=1000,
        pool="north",
        emulated=True,
        tier="modelled",
    )
    return replace(arc, **changes)  # type: ignore[arg-type]


def a_snapshot(*arcs: Arc, grid: Mapping[str, float | None] | None = None, **objective: object) -> Snapshot:
    grams = {"NORTH": 50.0, "SOUTH": 400.0} if grid is None else grid
    rules = Objective(latency_s=0.05, quality_floor=0.5, policy="min-carbon")
    return Snapshot(
        model="sentiment",
        version=1,
        home="north",
        arcs=arcs,
        readings={zone: None if value is None else a_reading(zone, value) for zone, value in grams.items()},
        objective=replace(rules, **objective),  # type: ignore[arg-type]
        reference_length=16,
        digest="0" * 64,
    )


def a_request(**changes: object) -> Features:
    return replace(Features(tenant="acme", length=16, deadline_ns=SECOND_NS), **changes)  # type: ignore[arg-type]


def route_of(decision: Decision) -> str:
    return f"{decision.region}/{decision.variant}"


def test_the_published_example_is_picked(profile_c: Snapshot, busy_pools: dict[str, PoolState]) -> None:
    """Profile C at nu 260 ug: gb/half-int8 wins on quality although gb/quarter-int8 emits least."""
    state = RoutingState(pools=busy_pools)
    state.set_nu("acme", "sentiment", 260e-6)

    decision = pick(profile_c, state, a_request(length=64, size_bytes=4096), 0)

    assert ("gb/half-int8", "quality-budget") == (route_of(decision), decision.reason)
    assert 3 == len(decision.beaten)
    assert decision.emissions_g is not None
    assert 11.47 == round(decision.emissions_g * 1e6, 2)


def test_the_cleanest_grid_wins_and_says_so() -> None:
    """Equal variants: the region with the least grams, reason `carbon`, the loser named with its grams."""
    snapshot = a_snapshot(an_arc("north"), an_arc("south"))

    decision = pick(snapshot, RoutingState(), a_request(), 0)

    assert ("north/small", "carbon") == (route_of(decision), decision.reason)
    assert [("south", "small", "carbon")] == [(one.region, one.variant, one.verdict) for one in decision.beaten]
    assert decision.emulated
    assert ("no-plan",) == decision.flags


def test_a_pin_is_kept_where_a_better_variant_exists() -> None:
    """A pinned variant answers though another one dominates it."""
    snapshot = a_snapshot(an_arc(variant="small"), an_arc(variant="large", quality=0.7, seconds=0.01, joules=0.1))

    decision = pick(snapshot, RoutingState(), a_request(variant="large"), 0)

    assert ("north/large", "pinned") == (route_of(decision), decision.reason)


def test_a_pin_never_goes_under_the_floor() -> None:
    """The floor is hard: a pin under it is refused, with the reason."""
    snapshot = a_snapshot(an_arc(variant="small", quality=0.4), an_arc(variant="large"))

    with pytest.raises(NoFeasibleRoute, match=r"north/small: inadmissible: quality 0\.400 under the floor 0\.500"):
        pick(snapshot, RoutingState(), a_request(variant="small"), 0)


def test_the_only_candidate_says_so() -> None:
    """One admissible arc: no comparison took place."""
    snapshot = a_snapshot(an_arc("north"), an_arc("south"))

    decision = pick(snapshot, RoutingState(), a_request(regions=frozenset({"south"})), 0)

    assert ("south/small", "only-candidate") == (route_of(decision), decision.reason)


def test_a_budget_near_its_end_takes_the_cheaper_variant() -> None:
    """Degrading lowers the mean target to the floor and raises the price of grams; reason `budget`."""
    small, large = an_arc(variant="small", quality=0.6), an_arc(variant="large", quality=0.9, joules=0.03)
    snapshot = a_snapshot(small, large, quality_mean=0.9)
    state = RoutingState()
    state.set_nu("acme", "sentiment", 1e-5)

    usual = pick(snapshot, state, a_request(), 0)
    degraded = pick(snapshot, state, a_request(degrade=1.0), 0)

    assert "north/large" == route_of(usual)
    assert ("north/small", "budget") == (route_of(degraded), degraded.reason)


def test_a_late_answer_beats_no_answer_and_says_so() -> None:
    """Nothing inside the objective but inside the client's deadline: the fastest, `slo-at-risk`."""
    snapshot = a_snapshot(an_arc(variant="small", seconds=0.2, quality=0.9), an_arc(variant="large", seconds=0.1))

    decision = pick(snapshot, RoutingState(), a_request(), 0)

    assert ("north/large", "slo-at-risk") == (route_of(decision), decision.reason)
    assert "slo-at-risk" in decision.flags


def test_a_request_out_of_time_is_refused_with_every_reason() -> None:
    """Past the deadline nothing is picked; the message lists each candidate and why it lost."""
    snapshot = a_snapshot(an_arc("north"), an_arc("south", variant="large", quality=0.1))

    with pytest.raises(NoFeasibleRoute) as refused:
        pick(snapshot, RoutingState(), a_request(), SECOND_NS)

    assert "no-feasible-route" == refused.value.code
    assert "north/small: inadmissible: no time left" in str(refused.value)
    assert "south/large: inadmissible: quality 0.100 under the floor 0.500" in str(refused.value)


def test_a_full_queue_asks_to_come_back() -> None:
    """Refused for its queue only: waiting helps, so Retry-After is set."""
    state = RoutingState(pools={"north": PoolState(backlog_s=2.0)})

    with pytest.raises(NoFeasibleRoute) as refused:
        pick(a_snapshot(an_arc()), state, a_request(), 0)

    assert 1 == refused.value.retry_after_s


def test_min_latency_takes_the_fastest_and_the_greenest_among_the_close() -> None:
    """Within max(5 %, 2 ms) of the least ETA the cost decides; reason `policy-latency`."""
    fast = an_arc("south", "small", seconds=0.004)
    close = an_arc("north", "small", seconds=0.0055)
    slow = an_arc("north", "tiny", seconds=0.02, joules=0.001)

    decision = pick(a_snapshot(fast, close, slow, policy="min-latency"), RoutingState(), a_request(), 0)

    assert ("north/small", "policy-latency") == (route_of(decision), decision.reason)
    assert ["carbon", "slower"] == [one.verdict for one in decision.beaten]


def test_balanced_pays_for_speed_where_the_grams_are_close() -> None:
    """A latency price of a quarter of g_ref per objective: 45 of 50 ms slower outweighs a few per cent of grams."""
    fast = an_arc("south", seconds=0.001)
    slow = an_arc("north", seconds=0.045)
    snapshot = a_snapshot(fast, slow, grid={"NORTH": 50.0, "SOUTH": 55.0}, policy="balanced")

    decision = pick(snapshot, RoutingState(), a_request(), 0)

    assert ("south/small", "latency") == (route_of(decision), decision.reason)


def test_a_greener_arc_that_is_too_slow_leaves_a_flag() -> None:
    """`latency-bound`: the grid was not the limit, the ETA was."""
    snapshot = a_snapshot(an_arc("north", seconds=0.5), an_arc("south", variant="small"))

    decision = pick(snapshot, RoutingState(), a_request(), 0)

    assert "south/small" == route_of(decision)
    assert "latency-bound" in decision.flags


def test_unknown_intensity_is_ranked_dirtiest_and_stays_unknown() -> None:
    """No reading: the arc loses against every known one; alone it answers without a figure and with a flag."""
    both = a_snapshot(an_arc("north", joules=0.021), an_arc("south"), grid={"NORTH": 700.0, "SOUTH": None})
    alone = a_snapshot(an_arc("south"), grid={"SOUTH": None})

    first, second = pick(both, RoutingState(), a_request(), 0), pick(alone, RoutingState(), a_request(), 0)

    assert ("south/small", None) == (route_of(first), first.emissions_g)
    assert (None, None) == (second.intensity, second.emissions_g)
    assert "fallback-signal" in second.flags
    assert 0.02 == pytest.approx(second.energy_j)


def test_an_annual_mean_is_flagged_as_a_fallback() -> None:
    """A yearly value says nothing of the hour."""
    snapshot = a_snapshot(an_arc("north"), an_arc("south"))
    annual = replace(snapshot, readings={**snapshot.readings, "NORTH": a_reading("NORTH", 40, origin="annual")})

    assert "fallback-signal" in pick(annual, RoutingState(), a_request(), 0).flags


@pytest.mark.parametrize(
    ("level", "origin", "flagged"),
    [
        (0, "observed", False),
        (1, "estimated", True),
        (2, "forecast", False),
        (3, "estimated", True),
        (3, "recorded", False),
    ],
)
def test_another_slots_value_is_flagged_as_a_fallback(level: int, origin: Origin, flagged: bool) -> None:
    """Last good and last week's values of a live source; a recorded series is what was configured."""
    snapshot = a_snapshot(an_arc("north"), an_arc("south"))
    reading = replace(a_reading("NORTH", 40), level=level, origin=origin)
    stale = replace(snapshot, readings={**snapshot.readings, "NORTH": reading})

    assert flagged == ("fallback-signal" in pick(stale, RoutingState(), a_request(), 0).flags)


def test_mixed_bases_are_flagged() -> None:
    """Direct beside lifecycle values: the comparison is not clean, and the decision says so."""
    snapshot = a_snapshot(an_arc("north"), an_arc("south"))
    direct = replace(a_reading("SOUTH", 10.0), basis="direct")
    mixed = replace(snapshot, readings={**snapshot.readings, "SOUTH": direct})

    assert "signal-basis" in pick(mixed, RoutingState(), a_request(), 0).flags


def test_unknown_energy_answers_only_pinned_or_alone() -> None:
    """An arc without a profile never competes; pinned it answers, its energy None and its latency unknown."""
    snapshot = a_snapshot(an_arc(variant="known"), an_arc(variant="fresh", quality=0.99, seconds=None, joules=None))

    free = pick(snapshot, RoutingState(), a_request(), 0)
    pinned = pick(snapshot, RoutingState(), a_request(variant="fresh"), 0)

    assert "north/known" == route_of(free)
    assert ("north/fresh", None, None) == (route_of(pinned), pinned.energy_j, pinned.emissions_g)
    assert pinned.latency_s is None
    assert {"energy-unknown", "latency-unknown"} <= set(pinned.flags)


def test_a_profile_of_another_host_is_flagged() -> None:
    """A prior steers, and says that it is one."""
    assert "prior" in pick(a_snapshot(an_arc(prior=True)), RoutingState(), a_request(), 0).flags


def test_quality_owed_is_paid_back() -> None:
    """Cheap answers alternate with good ones so that the mean holds; the guard's choice says `quality-budget`."""
    small, large = an_arc(variant="small", quality=0.6), an_arc(variant="large", quality=0.9, joules=0.2)
    snapshot = a_snapshot(small, large, quality_mean=0.75)
    state, reasons = RoutingState(), []

    for _ in range(4):
        decision = pick(snapshot, state, a_request(), 0)
        state.apply(decision, snapshot=snapshot, features=a_request())
        reasons.append((decision.variant, decision.reason))

    assert [("small", "carbon"), ("small", "carbon"), ("large", "quality-budget"), ("small", "carbon")] == reasons


def test_a_mean_that_no_variant_reaches_is_served_best_and_flagged() -> None:
    """The best there is answers, with the flag `quality-debt`."""
    small, large = an_arc(variant="small", quality=0.6), an_arc(variant="large", quality=0.7, joules=0.2)
    state = RoutingState()
    snapshot = a_snapshot(small, large, quality_mean=0.95)

    decision = pick(snapshot, state, a_request(), 0)

    assert ("large", "quality-budget") == (decision.variant, decision.reason)
    assert "quality-debt" in decision.flags


def test_a_new_window_starts_without_debt() -> None:
    """Each accounting window promises its own mean."""
    snapshot, state = a_snapshot(an_arc(), quality_mean=0.9), RoutingState()

    state.apply(pick(snapshot, state, a_request(), 0), snapshot=snapshot, features=a_request())
    owed = state.debt("acme", "sentiment")
    state.start_window()

    assert pytest.approx(0.1) == owed
    assert 0.0 == state.debt("acme", "sentiment")


def test_a_lower_hint_never_lowers_the_floor() -> None:
    """Hints only narrow: a minimum quality under the model's floor changes nothing, and regions only intersect."""
    snapshot = a_snapshot(an_arc("north", quality=0.4), an_arc("south"))
    residency = a_request(tenant_regions=frozenset({"south"}), regions=frozenset({"north", "south"}))

    assert "south/small" == route_of(pick(snapshot, RoutingState(), a_request(min_quality=0.1), 0))
    assert "south/small" == route_of(pick(a_snapshot(an_arc("north"), an_arc("south")), RoutingState(), residency, 0))


def test_equal_scores_are_settled_by_time_then_quality() -> None:
    """Same grams: the faster arc; same speed too: the better one; the loser's verdict is `tie`."""
    fast, slow = an_arc("south", seconds=0.004), an_arc("north", seconds=0.005)
    poor, good = an_arc("north", quality=0.7), an_arc("south", quality=0.9)
    same = {"NORTH": 100.0, "SOUTH": 100.0}

    by_time = pick(a_snapshot(fast, slow, grid=same), RoutingState(), a_request(), 0)
    by_quality = pick(a_snapshot(poor, good, grid=same), RoutingState(), a_request(), 0)

    assert ["south", "south"] == [by_time.region, by_quality.region]
    assert ["tie", "tie"] == [decision.beaten[0].verdict for decision in (by_time, by_quality)]


def test_equal_arcs_are_settled_by_name() -> None:
    """Same score, time and quality: the smaller name, in whatever order the arcs come."""
    first, second = an_arc("north"), an_arc("south")
    same = {"NORTH": 100.0, "SOUTH": 100.0}

    picked = {route_of(pick(a_snapshot(*arcs, grid=same), RoutingState(), a_request(), 0)) for arcs in
              ((first, second), (second, first))}  # fmt: skip

    assert {"north/small"} == picked
