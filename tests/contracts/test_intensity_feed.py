"""The contract of every IntensityFeed."""

from dataclasses import replace
from pathlib import Path

import pytest

from greenserve.carbon.feeds.annual import AnnualFeed
from greenserve.carbon.feeds.chain import FeedChain
from greenserve.carbon.feeds.live import LiveReadings
from greenserve.carbon.feeds.parsing import HOUR_US
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.ports import IntensityFeed

DEMO = Path(__file__).parents[2] / "configs" / "demo-intensity.csv"
TIMES_US = [1_700_000_000_000_000 + step * 5_400_000_001 for step in range(200)]


@pytest.fixture(params=["recorded", "annual", "chain", "live"])
def feed(request: pytest.FixtureRequest) -> IntensityFeed:
    """Each implementation of the seam, knowing the two demo zones."""
    recorded = RecordedFeed(DEMO, provider="synthetic", repeat="week")
    annual = AnnualFeed({"DEMO-NORTH": 45_000, "DEMO-SOUTH": 400_000}, 2024, "synthetic")
    live = LiveReadings("synthetic", annual.zones())
    hours = range(TIMES_US[0] // HOUR_US, TIMES_US[-1] // HOUR_US + 1)
    told = [recorded.read(zone=zone, at_us=hour * HOUR_US) for zone in live.zones() for hour in hours]
    live.put(replace(one, origin="observed") for one in told if one is not None)
    feeds: dict[str, IntensityFeed] = {
        "recorded": recorded,
        "annual": annual,
        "chain": FeedChain([recorded, annual]),
        "live": live,
    }
    return feeds[request.param]


def test_a_reading_holds_at_the_time_asked_for(feed: IntensityFeed) -> None:
    """Zone and slot fit the question, the provider is named, and only average intensity accounts."""
    for zone in feed.zones():
        for at_us in TIMES_US:
            reading = feed.read(zone=zone, at_us=at_us)

            assert reading is not None
            assert zone == reading.zone
            assert reading.start_us <= at_us < reading.end_us
            assert "average" == reading.kind
            assert reading.provider.startswith("synthetic")


def test_all_moments_of_a_slot_get_the_same_reading(feed: IntensityFeed) -> None:
    """A slot is one value: its first and last microsecond agree."""
    for zone in feed.zones():
        reading = feed.read(zone=zone, at_us=TIMES_US[0])

        assert reading is not None
        assert reading == feed.read(zone=zone, at_us=reading.start_us)
        assert reading == feed.read(zone=zone, at_us=reading.end_us - 1)


def test_an_unknown_zone_is_unknown(feed: IntensityFeed) -> None:
    """None, not zero and not another zone's value."""
    assert frozenset({"DEMO-NORTH", "DEMO-SOUTH"}) == feed.zones()
    assert feed.read(zone="NOWHERE", at_us=TIMES_US[0]) is None
