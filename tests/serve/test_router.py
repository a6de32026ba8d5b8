"""Routing as the gateway uses it: snapshots of the grid, upper bounds, and refusals that name the cause."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from greenserve.clock import ManualClock
from greenserve.config import Config
from greenserve.errors import DeadlineExceeded, InvalidRequest, NoFeasibleRoute
from greenserve.host import describe_host
from greenserve.ports import IntensityFeed
from greenserve.records import Hints, IntensityReading, Tenant
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.models import Models, ServedModel
from greenserve.serve.router import Router
from greenserve.units import NS_PER_S, US_PER_S
from tests.serve.building import FAR_NS, HeldEngines, a_batcher, a_config, a_decision, an_admitted, models_of

HOUR_US = 3_600 * US_PER_S


class HourlyFeed:
    """A feed whose zones change places every hour; `unknown` zones it does not know. `asked` counts."""

    def __init__(self, *unknown: str) -> None:
        self._unknown = unknown
        self.asked = 0

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """40 g/kWh for one zone, 400 for the other."""
        self.asked += 1
        start_us = at_us // HOUR_US * HOUR_US
        clean = "ZZ-NORTH" if (at_us // HOUR_US) % 2 == 0 else "ZZ-HERE"
        if zone in self._unknown:
            return None
        return IntensityReading(
            zone=zone,
            start_us=start_us,
            end_us=start_us + HOUR_US,
            mg_per_kwh=40_000 if zone == clean else 400_000,
            basis="lifecycle",
            kind="average",
            origin="recorded",
            provider="a test",
            retrieved_us=at_us,
        )

    def zones(self) -> frozenset[str]:
        """Both."""
        return frozenset({"ZZ-HERE", "ZZ-NORTH"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(unix_us=1_767_225_600_000_000)


@pytest.fixture
def model(models: Models) -> ServedModel:
    return models.find("tiny")


@pytest.fixture
def idle(models: Models, clock: ManualClock) -> Batcher:
    """A batcher with nothing to do."""
    return a_batcher(models, clock)


def a_router(config: Config, models: Models, clock: ManualClock, feed: IntensityFeed | None = None) -> Router:
    return Router(
        config=config,
        models=models,
        feed=feed or HourlyFeed(),
        clock=clock,
        fingerprint=str(describe_host()["fingerprint"]),
    )


def test_the_cleaner_region_answers_and_changes_with_the_hour(
    config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """The feed is asked once per zone and slot, not per request."""
    feed = HourlyFeed()
    router = a_router(config, models, clock, feed)
    regions = []

    for _ in range(3):
        router.refresh()
        decisions = [router.route(an_admitted(), model, idle) for _ in range(10)]
        regions.append({decision.region for decision in decisions})
        clock.advance(duration_ns=3_600 * NS_PER_S)

    assert [{"north"}, {"here"}, {"north"}] == regions
    assert 2 * 3 == feed.asked


def test_a_hit_is_priced_at_the_grid_of_now(config: Config, models: Models, clock: ManualClock) -> None:
    """An old decision keeps its region and variant, its intensity is the present one."""
    router = a_router(config, models, clock)

    priced = router.priced_now("tiny", a_decision(region="here", zone="ZZ-HERE"))

    assert ("here", "fp32", "cache", None) == (priced.region, priced.variant, priced.reason, priced.energy_j)
    assert priced.intensity is not None
    assert 400_000 == priced.intensity.mg_per_kwh


def test_an_unknown_grid_leaves_emissions_unknown(
    config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """No intensity anywhere: an answer all the same, its emissions None."""
    router = a_router(config, models, clock, HourlyFeed("ZZ-HERE", "ZZ-NORTH"))

    decision = router.route(an_admitted(), model, idle)

    assert (None, None) == (decision.intensity, decision.emissions_g)
    assert {"ZZ-HERE": None, "ZZ-NORTH": None} == router.readings


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        (Hints(variant="int4"), "greenserve_variant: no variant 'int4'; there are fp32, int8-dyn, static-8-int8"),
        (Hints(regions=frozenset({"mars"})), "GreenServe-Regions: no region 'mars'; there are here, north"),
        (Hints(regions=frozenset({"mars", "north"})), "no region 'mars'"),
    ],
)
def test_what_does_not_exist_is_the_callers_mistake(
    hints: Hints, words: str, config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """Named with what there is; waiting would not help."""
    with pytest.raises(InvalidRequest, match=words):
        a_router(config, models, clock).route(an_admitted(hints=hints), model, idle)


def test_a_missed_deadline_is_told_from_an_impossible_wish(
    config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """Where more time would help it is `deadline-exceeded`, else `no-feasible-route`, deadline or not."""
    router = a_router(config, models, clock)
    too_late, too_good = clock.monotonic_ns() + 1, Hints(min_quality=0.99)

    with pytest.raises(DeadlineExceeded, match="nothing was run"):
        router.route(an_admitted(deadline_ns=too_late), model, idle)
    for deadline_ns in (too_late, FAR_NS):
        with pytest.raises(NoFeasibleRoute, match=r"quality 0\.900 under the floor 0\.990"):
            router.route(an_admitted(deadline_ns=deadline_ns, hints=too_good), model, idle)


def test_a_tenants_regions_hold_whatever_the_caller_hints(
    config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """Hints narrow; two sets without a common region leave nothing."""
    router = a_router(config, models, clock)
    resident = Tenant(tenant_id="acme", name="Acme", regions=frozenset({"here"}))

    assert "here" == router.route(an_admitted(tenant=resident), model, idle).region
    with pytest.raises(NoFeasibleRoute):
        router.route(an_admitted(tenant=resident, hints=Hints(regions=frozenset({"north"}))), model, idle)


def test_the_upper_bound_covers_every_choice(
    config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """Whatever is picked is expected to cost less; more rows and an unknown grid cost more."""
    router = a_router(config, models, clock)
    one, many = an_admitted(), an_admitted(rows=((1, 2, 3),) * 8)

    for admitted in (one, many):
        energy_uj, emissions_ng = router.cost_bound(model, admitted.request, None, max)
        for variant in model.variants:
            pinned = replace(admitted, request=replace(admitted.request, hints=Hints(variant=variant)))
            decision = router.route(pinned, model, idle)
            assert decision.energy_j is not None
            assert decision.emissions_g is not None
            assert decision.energy_j * 1e6 < energy_uj
            assert decision.emissions_g * 1e9 < emissions_ng
    assert router.cost_bound(model, one.request, None, max) < router.cost_bound(model, many.request, None, max)
    unknown = a_router(config, models, clock, HourlyFeed("ZZ-HERE"))
    assert router.cost_bound(model, one.request, None, max)[1] < unknown.cost_bound(model, one.request, None, max)[1]


def test_the_least_bound_is_of_the_cheapest_variant_over_the_floor(
    config: Config, models: Models, model: ServedModel, clock: ManualClock
) -> None:
    """A higher floor leaves dearer variants only; at the top there is one, so that both bounds meet."""
    router, request = a_router(config, models, clock), an_admitted().request

    least = [router.cost_bound(model, request, floor, min)[0] for floor in (None, 0.8, 0.9)]

    assert sorted(least) == least
    assert 3 == len(set(least))
    assert router.cost_bound(model, request, 0.9, max)[0] == least[-1]


def test_the_home_grid_is_held_against_its_last_day(config: Config, models: Models, clock: ManualClock) -> None:
    """What batches wait by: the intensity now and the mean of the 24 hours up to now; unknown stays unknown."""
    router = a_router(config, models, clock)
    nowhere = a_router(config, models, clock, HourlyFeed("ZZ-HERE"))

    assert router.readings["ZZ-HERE"] is not None
    assert (router.readings["ZZ-HERE"].mg_per_kwh, 220_000.0) == router.home_grid()
    assert (None, None) == nowhere.home_grid()


def test_requests_carry_the_reading_of_the_other_basis(
    config: Config, models: Models, model: ServedModel, clock: ManualClock, idle: Batcher
) -> None:
    """It is stamped where the readings are taken: no request asks a feed."""
    feed = HourlyFeed()

    def read_both(*, zone: str, at_us: int) -> IntensityReading | None:
        reading = feed.read(zone=zone, at_us=at_us)
        return None if reading is None else replace(reading, counterpart=replace(reading, basis="direct"))

    router = Router(
        config=config,
        models=models,
        feed=feed,
        read_both=read_both,
        clock=clock,
        fingerprint=str(describe_host()["fingerprint"]),
    )
    asked = feed.asked

    decision = router.route(an_admitted(), model, idle)

    assert decision.intensity is not None
    assert decision.intensity.counterpart is not None
    assert ("lifecycle", "direct") == (decision.intensity.basis, decision.intensity.counterpart.basis)
    assert asked == feed.asked


class CountingClock(ManualClock):
    """Snapshots are stamped: `stamps` counts how often the time was asked for."""

    stamps = 0

    def unix_us(self) -> int:
        """As the manual clock."""
        self.stamps += 1
        return super().unix_us()


class Ailing(Batcher):
    """A batcher whose variants are as unhealthy as the test says."""

    sick: Mapping[str, str] = MappingProxyType({})

    @property
    def unhealthy(self) -> Mapping[str, str]:
        """What the test says."""
        return self.sick


def ailing(models: Models, clock: ManualClock) -> Ailing:
    """Nothing waits in it."""
    served = [variant for model in models for variant in model.variants.values()]
    most = {variant.key: 4 for variant in served}
    return Ailing(clock=clock, buckets=(4, 8), max_batch=most, max_queued=64, share_milli=500)


def test_a_variant_that_fails_is_left_out_until_it_runs_again(
    config: Config, models: Models, model: ServedModel, clock: ManualClock
) -> None:
    """Asked for by name it has no feasible route; after that it is there again."""
    router, batcher = a_router(config, models, clock), ailing(models, clock)
    pinned = an_admitted(hints=Hints(variant="int8-dyn"))
    batcher.sick = {"tiny/int8-dyn": "it fails"}

    with pytest.raises(NoFeasibleRoute):
        router.route(pinned, model, batcher)
    assert "int8-dyn" != router.route(an_admitted(), model, batcher).variant
    batcher.sick = {}

    assert "int8-dyn" == router.route(pinned, model, batcher).variant


def test_models_of_two_batchers_are_no_news_to_each_other(tiny_manifest: Path, tmp_path: Path) -> None:
    """One model here and one elsewhere, whose variant fails: a snapshot is made when that changes, not per request."""
    names = [{"name": name, "manifest": tiny_manifest} for name in ("tiny", "far")]
    config = a_config(tiny_manifest, tmp_path, models=names)
    models, clock = models_of(config, HeldEngines()), CountingClock(unix_us=1_767_225_600_000_000)
    router, here, elsewhere = a_router(config, models, clock), ailing(models, clock), ailing(models, clock)
    elsewhere.sick = {"far/fp32": "it fails"}
    before = clock.stamps

    for _ in range(50):
        router.route(an_admitted(), models.find("tiny"), here)
        router.route(an_admitted(), models.find("far"), elsewhere)

    assert 1 == clock.stamps - before
