"""The marginal signal steers where it is asked for and known for every zone; it accounts for nothing."""

from pathlib import Path

import pytest

from greenserve.carbon.feeds.chain import MarginalFeed
from greenserve.carbon.feeds.live import LiveReadings
from greenserve.clock import ManualClock
from greenserve.config import Config
from greenserve.host import describe_host
from greenserve.records import Decision, IntensityReading
from greenserve.serve.models import Models
from greenserve.serve.router import Router
from greenserve.units import grams_per_joule
from tests.serve.building import FAR_NS, HeldEngines, a_batcher, a_config, an_admitted, models_of

AVERAGE = {"ZZ-HERE": 400_000, "ZZ-NORTH": 40_000}


class AverageFeed:
    """North is the cleaner one on average."""

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The zone's average."""
        return a_reading(zone, AVERAGE[zone], "average", at_us)

    def zones(self) -> frozenset[str]:
        """Both."""
        return frozenset(AVERAGE)


def a_reading(zone: str, mg_per_kwh: int, kind: str, at_us: int) -> IntensityReading:
    return IntensityReading(
        zone=zone,
        start_us=at_us,
        end_us=at_us + 300_000_000,
        mg_per_kwh=mg_per_kwh,
        basis="direct" if kind == "marginal" else "lifecycle",
        kind="marginal" if kind == "marginal" else "average",
        origin="estimated",
        provider="a test",
        retrieved_us=at_us,
    )


def decision_of(config: Config, marginal: dict[str, int]) -> Decision:
    """What is picked with these marginal values [mg/kWh]."""
    clock = ManualClock()
    live = LiveReadings("a test", AVERAGE)
    live.put([a_reading(zone, value, "marginal", clock.unix_us()) for zone, value in marginal.items()])
    models: Models = models_of(config, HeldEngines())
    model = models.find("tiny")
    router = Router(
        config=config,
        models=models,
        feed=AverageFeed(),
        marginal=MarginalFeed([live]),
        clock=clock,
        fingerprint=str(describe_host()["fingerprint"]),
    )
    return router.route(an_admitted(deadline_ns=FAR_NS), model, a_batcher(models, clock))


@pytest.fixture
def config(tiny_manifest: Path, tmp_path: Path) -> Config:
    """Steered by the marginal signal."""
    source = {"kind": "watttime", "username": "ada", "password": "env:WT"}
    return a_config(
        tiny_manifest,
        tmp_path,
        intensity={"sources": [source], "routing_signal": "marginal"},
        routing={"policy": "min-carbon"},
    )


def test_it_steers_and_the_average_accounts(config: Config) -> None:
    """Here is clean at the margin, north on average: here answers, and is charged at its average, flagged."""
    decision = decision_of(config, {"ZZ-HERE": 1_000, "ZZ-NORTH": 900_000})

    assert "here" == decision.region
    assert decision.intensity is not None
    assert ("average", 400_000) == (decision.intensity.kind, decision.intensity.mg_per_kwh)
    assert "marginal-signal" in decision.flags
    assert decision.energy_j is not None
    assert decision.energy_j * grams_per_joule(400_000, decision.pue_milli) == decision.emissions_g


def test_known_for_one_zone_alone_it_does_not_steer(config: Config) -> None:
    """The two signals do not compare: the average ranks all."""
    decision = decision_of(config, {"ZZ-HERE": 1_000})

    assert "north" == decision.region
    assert "marginal-signal" not in decision.flags


def test_unless_it_is_asked_for_it_does_not_steer(config: Config) -> None:
    """`intensity.routing_signal` is `average` by default."""
    plain = config.model_copy(update={"intensity": config.intensity.model_copy(update={"routing_signal": "average"})})

    assert "north" == decision_of(plain, {"ZZ-HERE": 1_000, "ZZ-NORTH": 900_000}).region
