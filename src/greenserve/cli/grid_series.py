"""Where a command takes the past of a zone from: a file, the configuration's recorded series, what providers told."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from greenserve.carbon.factors.tables import grid_zone
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.carbon.feeds.store import ReadingStore, store_file
from greenserve.carbon.grid_profile import HOUR_US, Slot
from greenserve.config import Config, config_file, load_config
from greenserve.errors import ConfigInvalid, InvalidRequest
from greenserve.grid_sections import RecordedSource
from greenserve.records import Basis, IntensityReading

BASES: dict[str | None, Basis] = {"lifecycle": "lifecycle", "direct": "direct"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSeries:
    """Slots of a zone, and where they are from in words: origin, source, basis."""

    zone: str
    slots: tuple[Slot, ...]
    source: str


class SeriesShelf:
    """All series there are; a file is read once. State: those that were read, by name."""

    def __init__(self, *, file: Path | None, config: Path | None, basis: str | None) -> None:
        """InvalidRequest for another basis, a file that is no series, and where neither a file nor a configuration is
        given."""
        if basis is not None and basis not in BASES:
            raise InvalidRequest(f"--basis is {basis!r}; allowed are {' and '.join(filter(None, BASES))}")
        if file is None and config is None and not config_file(None).is_file():
            raise InvalidRequest("no series: give one with --from FILE, or a configuration with --config FILE")
        self._basis = BASES.get(basis)
        self._feeds: list[tuple[RecordedFeed, str]] = []
        self._told: list[IntensityReading] = []
        if file is not None:
            try:
                self._add(file, file.name, self._basis or "lifecycle")
            except ConfigInvalid as error:
                raise InvalidRequest(f"--from: {error}") from None
            return
        loaded = load_config(config)
        for source in loaded.intensity.sources:
            if isinstance(source, RecordedSource) and self._basis in (None, source.basis):
                self._add(source.file, source.provider, source.basis)
        self._told = _told(loaded, self._basis or loaded.intensity.basis)

    def series(self, zone: str) -> OneSeries:
        """The first series that knows the zone, or the grid zone in which a cloud region stands.

        InvalidRequest where none does: it names the nearest zones of those that there are.
        """
        for name in dict.fromkeys((zone, grid_zone(zone))):
            for feed, source in self._feeds:
                hours = feed.series(name)
                if hours:
                    slots = tuple(_hour_slots(hours.items()))
                    return OneSeries(zone=zone, slots=slots, source=_of(source, name, zone))
            readings = [one for one in self._told if one.zone == name]
            if readings:
                # One provider alone: two may use two methods.
                own = [one for one in readings if one.provider == readings[0].provider]
                slots = tuple(_slot(one) for one in sorted(own, key=lambda one: one.start_us))
                said = f"told by {own[0].provider}, {own[0].basis}"
                return OneSeries(zone=zone, slots=slots, source=_of(said, name, zone))
        raise InvalidRequest(self._missing(zone))

    def _add(self, file: Path, provider: str, basis: Basis) -> None:
        self._feeds.append((RecordedFeed(file, provider=provider, basis=basis), f"recorded, {provider}, {basis}"))

    def _missing(self, zone: str) -> str:
        known = sorted({name for feed, _ in self._feeds for name in feed.zones()} | {one.zone for one in self._told})
        if not known:
            return f"{zone}: the configuration has no recorded series and no provider told anything; give --from FILE"
        near = difflib.get_close_matches(zone, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"{zone}: no recorded values of it; there are {', '.join(known)}{hint}"


def _of(source: str, name: str, zone: str) -> str:
    return source if name == zone else f"{source}, of {name}"


def _hour_slots(hours: Iterable[tuple[int, int]]) -> Iterator[Slot]:
    for start_us, mg_per_kwh in sorted(hours):
        yield Slot(start_us=start_us, end_us=start_us + HOUR_US, mg_per_kwh=mg_per_kwh)


def _slot(reading: IntensityReading) -> Slot:
    return Slot(start_us=reading.start_us, end_us=reading.end_us, mg_per_kwh=reading.mg_per_kwh)


def _told(config: Config, basis: Basis) -> list[IntensityReading]:
    """What providers told of the past, in one basis; forecasts and marginal values are left out."""
    file = store_file(config)
    if not file.exists():
        return []
    store = ReadingStore(file)
    try:
        every = [one for readings in store.news().values() for one in readings]
    finally:
        store.close()
    return [
        one for one in every if one.kind == "average" and one.basis == basis and one.origin in ("observed", "estimated")
    ]
