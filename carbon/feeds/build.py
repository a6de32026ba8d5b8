"""Make the feeds that a configuration names, and who fills them."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

from greenserve.carbon.factors.tables import (
    cloud_regions,
    country_of,
    fuel_codes,
    fuel_factors,
    grid_zone,
    zones,
)
from greenserve.carbon.feeds.annual import AnnualFeed
from greenserve.carbon.feeds.annual_file import annual_rows
from greenserve.carbon.feeds.eia import Eia
from greenserve.carbon.feeds.electricity_maps import ElectricityMaps
from greenserve.carbon.feeds.entsoe import EntsoE
from greenserve.carbon.feeds.fetcher import Fetcher
from greenserve.carbon.feeds.grid import Grid
from greenserve.carbon.feeds.live import LiveReadings
from greenserve.carbon.feeds.neso import Neso
from greenserve.carbon.feeds.openelectricity import OpenElectricity
from greenserve.carbon.feeds.poller import Asked, Draw, Pause
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.carbon.feeds.watttime import WattTime
from greenserve.config import Config, read_secret
from greenserve.errors import ConfigInvalid
from greenserve.grid_sections import (
    AnnualSource,
    EiaSource,
    ElectricityMapsSource,
    EntsoESource,
    Intensity,
    NesoSource,
    ProviderSource,
    RecordedSource,
    WattTimeSource,
)
from greenserve.ports import Clock, GridSource, IntensityFeed
from greenserve.records import Basis

log = logging.getLogger("greenserve.grid")
STORE_SUFFIX = ".grid"


def grid_from(
    config: Config,
    *,
    clock: Clock,
    further_zones: Iterable[str] = (),
    only_stored: bool = False,
    trust_env: bool = True,
    draw: Draw | None = None,
    pause: Pause | None = None,
) -> Grid:
    """The feeds of `intensity.sources`, live ones with what the store beside the ledger holds of them. Blocking.

    A provider is asked for the regions' zones that it knows, and for `further_zones`. Nothing is asked before
    `Grid.start` or `Grid.turn`; with `only_stored` no store is made where there is none yet. Raises ConfigInvalid for a
    series or store that cannot be read, and for a zone in a source's own list that it has no code for.
    """
    return grid_of(
        config.intensity,
        wanted=[*dict.fromkeys([*(region.zone for region in config.regions), *further_zones])],
        store=store_file(config),
        clock=clock,
        only_stored=only_stored,
        trust_env=trust_env,
        draw=draw,
        pause=pause,
    )


def grid_of(
    intensity: Intensity,
    *,
    wanted: Sequence[str],
    store: Path,
    clock: Clock,
    only_stored: bool = False,
    trust_env: bool = True,
    draw: Draw | None = None,
    pause: Pause | None = None,
) -> Grid:
    """The feeds of one section for the zones `wanted`; what providers told is kept in `store`. As `grid_from`."""
    fetcher: Fetcher | None = None
    feeds: list[IntensityFeed] = []
    asked: list[Asked] = []
    live: dict[str, LiveReadings] = {}
    names: Counter[str] = Counter()
    for source in intensity.sources:
        if isinstance(source, RecordedSource | AnnualSource):
            feeds += _stored_feeds(source)
            continue
        fetcher = fetcher or Fetcher(clock=clock, trust_env=trust_env)
        names[source.kind] += 1
        name = source.kind if names[source.kind] == 1 else f"{source.kind}-{names[source.kind]}"
        adapter = _adapter(source, wanted, fetcher=fetcher, clock=clock)
        if adapter.zones():
            asked.append(Asked(name, adapter, tuple(sorted(adapter.zones()))))
        else:
            log.warning("intensity.sources: %s knows none of %s and is not asked; give it codes", name, wanted)
        live[name] = LiveReadings(adapter.about().provider, adapter.zones())
        feeds.append(live[name])
    grid = Grid(feeds=feeds, basis=intensity.basis, clock=clock)
    if asked and fetcher is not None and (store.exists() or not only_stored):
        grid.attach(
            asked=asked,
            live=live,
            fetcher=fetcher,
            store=store,
            refresh_s=intensity.refresh_s,
            draw=draw or Random().random,
            pause=pause,
        )
    return grid


def store_file(config: Config) -> Path:
    """Where what providers told is kept: beside the ledger."""
    return store_beside(config.ledger.path)


def store_beside(ledger: Path) -> Path:
    """The file that keeps what providers told to the gateways of a ledger."""
    return ledger.with_name(ledger.name + STORE_SUFFIX)


def _stored_feeds(source: RecordedSource | AnnualSource) -> list[IntensityFeed]:
    if isinstance(source, RecordedSource):
        return [RecordedFeed(source.file, provider=source.provider, repeat=source.repeat, basis=source.basis)]
    if source.values is not None and source.year is not None and source.source is not None:
        return [AnnualFeed(source.values, year=source.year, source=source.source, basis=source.basis)]
    assert source.file is not None
    assert source.source is not None
    return _annual_feeds(annual_rows(source.file), source.source, source.basis)


def _annual_feeds(rows: Mapping[str, tuple[int, int]], source: str, basis: Basis) -> list[IntensityFeed]:
    """A feed for each year of (year, mg/kWh) by zone, cloud region or country; zones without a row of their own take
    their country's, and say so."""
    values: defaultdict[int, dict[str, int]] = defaultdict(dict)
    stands_for: dict[str, str] = {}
    for name in dict.fromkeys([*rows, *zones(), *cloud_regions()]):
        country = country_of(name) or ""
        found = next((key for key in (name, grid_zone(name), country) if key in rows), None)
        if found is None:
            continue
        year, mg_per_kwh = rows[found]
        values[year][name] = mg_per_kwh
        if found != name:
            stands_for[name] = f"mean of {found}"
    return [
        AnnualFeed(by_zone, year=year, source=source, basis=basis, stands_for=stands_for)
        for year, by_zone in sorted(values.items(), reverse=True)
    ]


def _adapter(source: ProviderSource, wanted: Sequence[str], *, fetcher: Fetcher, clock: Clock) -> GridSource:
    codes = _codes(source, wanted)
    if isinstance(source, NesoSource):
        return Neso(
            fetcher=fetcher,
            clock=clock,
            codes=codes,
            fuels=fuel_codes("neso"),
            factors=fuel_factors(),
            url=source.url,
        )
    if isinstance(source, WattTimeSource):
        places = {zone: place for zone, place in source.places.items() if zone not in codes}
        return WattTime(fetcher=fetcher, clock=clock, login=_login(source), codes=codes, places=places, url=source.url)
    key = partial(read_secret, source.api_key)
    if isinstance(source, ElectricityMapsSource):
        return ElectricityMaps(fetcher=fetcher, clock=clock, key=key, codes=codes, url=source.url)
    if isinstance(source, EiaSource | EntsoESource):
        adapter = Eia if isinstance(source, EiaSource) else EntsoE
        return adapter(
            fetcher=fetcher,
            key=key,
            codes=codes,
            fuels=fuel_codes(source.kind),
            factors=fuel_factors(),
            url=source.url,
        )
    return OpenElectricity(fetcher=fetcher, key=key, codes=codes, url=source.url)


def _login(source: WattTimeSource) -> Callable[[], tuple[str, str]]:
    return lambda: (source.username, read_secret(source.password))


def _codes(source: ProviderSource, wanted: Sequence[str]) -> dict[str, str]:
    """The provider's code of every zone that it is asked for; ConfigInvalid where a listed zone has none."""
    found: dict[str, str] = {}
    places = source.places if isinstance(source, WattTimeSource) else {}
    for zone in wanted if source.zones is None else source.zones:
        code = source.codes.get(zone) or _shipped_code(source.kind, zone)
        if code is not None:
            found[zone] = code
        elif source.zones is not None and zone not in places:
            raise ConfigInvalid(
                f"intensity.sources: {source.kind} has no code for zone {zone}; write `codes: {{{zone}: ...}}`"
            )
    return found


def _shipped_code(kind: str, zone: str) -> str | None:
    known = zones().get(grid_zone(zone))
    if known is None:
        return None
    return known.zone if kind == "electricity-maps" else known.codes.get(kind)
