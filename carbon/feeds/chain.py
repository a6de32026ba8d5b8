"""Several feeds as one: the first that answers, in order of preference."""

from collections.abc import Sequence

from greenserve.ports import IntensityFeed
from greenserve.records import IntensityReading


class FeedChain:
    """Asks `feeds` in order; the reading itself says who answered. Without feeds every intensity is unknown."""

    def __init__(self, feeds: Sequence[IntensityFeed]) -> None:
        self._feeds = tuple(feeds)

    def __repr__(self) -> str:
        return f"<FeedChain of {len(self._feeds)}: {', '.join(map(repr, self._feeds))}>"

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The first feed's reading that holds at `at_us` [us since 1970 UTC], or None where no feed knows one."""
        for feed in self._feeds:
            reading = feed.read(zone=zone, at_us=at_us)
            if reading is not None:
                return reading
        return None

    def zones(self) -> frozenset[str]:
        """The zones that any of the feeds covers."""
        return frozenset().union(*(feed.zones() for feed in self._feeds))
