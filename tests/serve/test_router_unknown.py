"""Zones that no feed knows yet, beside zones with a value that holds for long."""

from pathlib import Path

from greenserve.clock import ManualClock
from greenserve.config import Config
from greenserve.host import describe_host
from greenserve.records import IntensityReading
from greenserve.serve.models import Models
from greenserve.serve.router import ASK_AGAIN_US, Router
from greenserve.units import US_PER_S
from tests.serve.building import HeldEngines, a_config, models_of


class LateFeed:
    """A feed that knows one zone for a year and the other only from `knows_from_us` on."""

    knows_from_us = 10**18

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The same value for both."""
        if zone == "ZZ-NORTH" and at_us < self.knows_from_us:
            return None
        return IntensityReading(
            zone=zone,
            start_us=0,
            end_us=at_us + 365 * 86_400 * US_PER_S,
            mg_per_kwh=40_000,
            basis="lifecycle",
            kind="average",
            origin="annual",
            provider="a test",
            retrieved_us=at_us,
        )

    def zones(self) -> frozenset[str]:
        """Both."""
        return frozenset({"ZZ-HERE", "ZZ-NORTH"})


def a_router(config: Config, models: Models, feed: LateFeed, clock: ManualClock) -> Router:
    """A router on that feed."""
    fingerprint = str(describe_host()["fingerprint"])
    return Router(config=config, models=models, feed=feed, clock=clock, fingerprint=fingerprint)


def test_an_unknown_zone_is_asked_for_again_within_a_minute(tiny_manifest: Path, tmp_path: Path) -> None:
    """A feed that learns a zone is heard, though the other zone's value holds for a year."""
    clock, feed, config = ManualClock(), LateFeed(), a_config(tiny_manifest, tmp_path)
    router = a_router(config, models_of(config, HeldEngines()), feed, clock)
    feed.knows_from_us = clock.unix_us() + 1
    before = router.readings["ZZ-NORTH"]

    clock.advance(duration_ns=ASK_AGAIN_US * 1_000)
    router.refresh()

    assert before is None
    assert router.readings["ZZ-NORTH"] is not None
