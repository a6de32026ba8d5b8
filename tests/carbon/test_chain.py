"""Feeds in order of preference."""

from greenserve.carbon.feeds.annual import AnnualFeed
from greenserve.carbon.feeds.chain import FeedChain


def test_the_first_feed_that_knows_answers() -> None:
    """Order is preference; who answered stands in the reading."""
    chain = FeedChain([AnnualFeed({"SE": 1}, 2024, "first"), AnnualFeed({"SE": 2, "PL": 3}, 2023, "second")])

    readings = [chain.read(zone=zone, at_us=0) for zone in ("SE", "PL", "XX")]

    assert [("first 2024", 1), ("second 2023", 3), None] == [
        reading and (reading.provider, reading.mg_per_kwh) for reading in readings
    ]
    assert frozenset({"SE", "PL"}) == chain.zones()


def test_a_chain_without_feeds_knows_nothing() -> None:
    """Every intensity is unknown then, none is zero."""
    assert FeedChain([]).read(zone="SE", at_us=0) is None
    assert frozenset() == FeedChain([]).zones()
