"""Make the chain of intensity feeds that a configuration names."""

from collections.abc import Sequence

from greenserve.carbon.feeds.annual import AnnualFeed
from greenserve.carbon.feeds.chain import FeedChain
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.ports import IntensityFeed
from greenserve.sections import AnnualSource, RecordedSource


def feed_from(sources: Sequence[RecordedSource | AnnualSource]) -> IntensityFeed:
    """The sources of `intensity.sources` in their order; the first that knows a zone and time answers."""
    return FeedChain([_feed(source) for source in sources])


def _feed(source: RecordedSource | AnnualSource) -> IntensityFeed:
    if isinstance(source, RecordedSource):
        return RecordedFeed(source.file, provider=source.provider, repeat=source.repeat, basis=source.basis)
    return AnnualFeed(source.values, year=source.year, source=source.source, basis=source.basis)
