"""Several feeds as one: the best level that any of them reaches, then the order of preference."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from greenserve.carbon.feeds.levels import FORECAST, graded
from greenserve.carbon.feeds.live import LiveReadings
from greenserve.carbon.feeds.parsing import HOUR_US
from greenserve.carbon.feeds.widths import GridWidths
from greenserve.ports import IntensityFeed
from greenserve.records import Basis, IntensityReading

OTHER: dict[Basis, Basis] = {"lifecycle": "direct", "direct": "lifecycle"}


class Expected(NamedTuple):
    """What is expected over [start_us, end_us) UTC; None is unknown."""

    start_us: int
    end_us: int
    reading: IntensityReading | None


class FeedChain:
    """Asks `feeds`; each reading says who answered, at which level, how old and how sure. Only averages come out.

    Levels: 0 live, 1 last good, 2 forecast, 3 same hour last week or a recorded series, 4 annual; None is unknown.
    `basis` is the one that is wanted; `widths` replace the levels' half widths where a zone was back-tested. Without
    feeds every intensity is unknown.
    """

    def __init__(
        self, feeds: Sequence[IntensityFeed], *, basis: Basis = "lifecycle", widths: GridWidths | None = None
    ) -> None:
        self._feeds = tuple(feeds)
        self._widths = widths or GridWidths()
        self._basis: Basis = basis

    def __repr__(self) -> str:
        return f"<FeedChain of {len(self._feeds)}: {', '.join(map(repr, self._feeds))}>"

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The reading that holds at `at_us` [us since 1970 UTC] in the wanted basis; where no feed knows that at any
        level, in the other one, which it then says. None where no feed knows any."""
        wanted = self.read_in(zone=zone, at_us=at_us, basis=self._basis)
        return self.read_in(zone=zone, at_us=at_us, basis=OTHER[self._basis]) if wanted is None else wanted

    def read_in(self, *, zone: str, at_us: int, basis: Basis) -> IntensityReading | None:
        """The reading of one basis alone, with its own level; None where no feed knows it."""
        found = _best(self._candidates(zone, at_us, basis))
        return None if found is None else self._widths.applied(found)

    def read_both(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """As `read`, with the reading of the other basis as its counterpart where a feed knows that too."""
        reading = self.read(zone=zone, at_us=at_us)
        if reading is None:
            return None
        other = self.read_in(zone=zone, at_us=at_us, basis=OTHER[reading.basis])
        return reading if other is None else replace(reading, counterpart=other)

    def forecast(self, *, zone: str, start_us: int, end_us: int, basis: Basis | None = None) -> list[Expected]:
        """What is expected over [start_us, end_us), piece by piece and without a gap, from levels 2 to 4.

        Pieces end with their slot, at the latest with the full hour, where a better source may take over.
        """
        found: list[Expected] = []
        at_us = start_us
        while at_us < end_us:
            reading = _best(
                one
                for one in self._candidates(zone, at_us, basis or self._basis)
                if one.level is not None and one.level >= FORECAST
            )
            next_us = min((at_us // HOUR_US + 1) * HOUR_US, end_us)
            if reading is not None:
                next_us = min(next_us, reading.end_us)
            found.append(Expected(at_us, next_us, None if reading is None else self._widths.applied(reading)))
            at_us = next_us
        return found

    def zones(self) -> frozenset[str]:
        """The zones that any of the feeds covers."""
        return frozenset().union(*(feed.zones() for feed in self._feeds))

    def _candidates(self, zone: str, at_us: int, basis: Basis) -> Iterator[IntensityReading]:
        for feed in self._feeds:
            if isinstance(feed, LiveReadings):
                yield from feed.candidates(zone, at_us, basis)
            else:
                reading = feed.read(zone=zone, at_us=at_us)
                if reading is not None and reading.basis == basis:
                    yield reading if reading.level is not None else graded(reading)


class MarginalFeed:
    """The marginal signal of live providers, for steering alone: live, last good or forecast, never older."""

    def __init__(self, feeds: Sequence[LiveReadings]) -> None:
        self._feeds = tuple(feeds)

    def __repr__(self) -> str:
        return f"<MarginalFeed of {', '.join(feed.provider for feed in self._feeds) or 'nobody'}>"

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The marginal reading that holds at `at_us` [us UTC]; None where no provider tells one."""
        return _best(
            one
            for feed in self._feeds
            for one in feed.candidates(zone, at_us, "direct", "marginal")
            if one.level is not None and one.level <= FORECAST
        )

    def zones(self) -> frozenset[str]:
        """The zones that any of the providers is asked for."""
        return frozenset().union(*(feed.zones() for feed in self._feeds))


def _best(candidates: Iterator[IntensityReading]) -> IntensityReading | None:
    """The one of the best level; of those, the first. Marginal readings come in only where they are asked for."""
    return min(candidates, key=lambda reading: reading.level if reading.level is not None else FORECAST, default=None)
