"""`greenserve carbon regions`: every zone and cloud region, who covers it, and the latest value that is stored."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from greenserve.carbon.feeds.build import grid_of
from greenserve.carbon.feeds.coverage import Place, matching, nearest, places_of
from greenserve.cli.grid_seen import Seen, cells, see
from greenserve.cli.output import messages, print_json
from greenserve.cli.table import print_table
from greenserve.clock import SystemClock
from greenserve.config import Config, config_file, load_config
from greenserve.errors import InvalidRequest
from greenserve.grid_sections import Intensity
from greenserve.records import Basis, IntensityReading
from greenserve.units import US_PER_S

NO_STORE = Path(os.devnull, "none")
"""A file that cannot be: what a source covers is asked of its table alone."""


def regions(
    search: Annotated[
        str | None, typer.Argument(help="A zone, cloud region, country or a part of its name; default: all.")
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")] = None,
    configured: Annotated[bool, typer.Option("--configured", help="Only what the configuration covers.")] = False,
    cloud: Annotated[bool, typer.Option("--cloud", help="Cloud regions too where nothing is searched.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List zones with the value that a gateway here would use now: its origin, its age, who says so, who else could.

    Nobody is asked: values are those of files and of what providers told before (`carbon now ZONE` asks). Exit 2 where
    nothing matches: the message names the nearest.
    """
    if configured and config is None and not config_file(None).is_file():
        raise InvalidRequest("--configured needs a configuration: give --config FILE, or run it beside greenserve.yaml")
    loaded = load_config(config) if config is not None or config_file(None).is_file() else None
    every = places_of(_covered(loaded.intensity, _names()) if loaded else {})
    found = _searched(every, search)
    if configured:
        found = [one for one in found if one.configured]
    shown = [one for one in found if one.stands_in is None or cloud or search is not None or as_json]
    seen = _stored(loaded, shown)
    readings = [_reading(seen, one.zone, loaded) for one in shown]
    if as_json:
        pairs = zip(shown, readings, strict=True)
        print_json("carbon-regions", {"regions": [_told(place, reading, seen) for place, reading in pairs]})
        return
    rows = [_cells(place, reading, seen) for place, reading in zip(shown, readings, strict=True)]
    print_table(("zone", "g/kWh", "origin", "age", "where, by whom"), rows, empty="no source of the configuration")
    _tell(found, shown, loaded)


def _names() -> list[str]:
    return [place.zone for place in places_of({})]


def _covered(intensity: Intensity, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """The zones of each source by its name; the second of a kind is `annual-2`."""
    found: dict[str, frozenset[str]] = {}
    kinds: Counter[str] = Counter()
    for source in intensity.sources:
        kinds[source.kind] += 1
        name = source.kind if kinds[source.kind] == 1 else f"{source.kind}-{kinds[source.kind]}"
        wanted = list(dict.fromkeys([*names, *getattr(source, "codes", {}), *getattr(source, "places", {})]))
        alone = intensity.model_copy(update={"sources": (source,)})
        grid = grid_of(alone, wanted=wanted, store=NO_STORE, clock=SystemClock(), only_stored=True)
        try:
            found[name] = grid.chain.zones()
        finally:
            asyncio.run(grid.close())
    return found


def _searched(every: Sequence[Place], search: str | None) -> list[Place]:
    if search is None:
        return list(every)
    found = matching(every, search)
    if not found:
        near = nearest(every, search)
        hint = f"the nearest are {', '.join(near)}" if near else "`greenserve carbon regions --cloud` lists all"
        raise InvalidRequest(f"SEARCH is {search!r:.60}: no zone, cloud region or country of that name; {hint}")
    return found


def _stored(config: Config | None, places: Sequence[Place]) -> Seen | None:
    zones = [one.zone for one in places if one.configured]
    return None if config is None or not zones else asyncio.run(see(config, zones, offline=True, horizon_s=0.0))


def _reading(seen: Seen | None, zone: str, config: Config | None) -> IntensityReading | None:
    """The one that counts: in the configuration's basis, else in the other."""
    if seen is None or config is None or zone not in seen.current:
        return None
    by_basis = seen.current[zone]
    order: list[Basis] = sorted(by_basis, key=lambda basis: basis != config.intensity.basis)
    return next((reading for basis in order if (reading := by_basis[basis]) is not None), None)


def _cells(place: Place, reading: IntensityReading | None, seen: Seen | None) -> tuple[str, ...]:
    where = [place.name]
    where += [f"by {', '.join(place.configured)}"] if place.configured else []
    where += [f"could: {', '.join(place.offered)}"] if place.offered else []
    if reading is None or seen is None:
        return (place.zone, "unknown", "-", "-", "; ".join(where))
    grams, _, _, age, _ = cells(reading, seen.now_us)
    return (place.zone, grams, reading.origin, age, "; ".join(where))


def _told(place: Place, reading: IntensityReading | None, seen: Seen | None) -> dict[str, Any]:
    """`reading` null: no stored value; `age_s` counts from when the value was seen, else fetched."""
    if reading is None or seen is None:
        return asdict(place) | {"reading": None, "age_s": None}
    seen_us = reading.retrieved_us if reading.observed_us is None else reading.observed_us
    return asdict(place) | {"reading": asdict(reading), "age_s": max(0, seen.now_us - seen_us) // US_PER_S}


def _tell(found: Sequence[Place], shown: Sequence[Place], config: Config | None) -> None:
    if config is None:
        messages.print("no configuration here: `could` names the kinds of source that cover a zone (`-c FILE`)")
    if hidden := len(found) - len(shown):
        messages.print(f"{hidden} cloud regions stand in these: --cloud lists them, and so does a search")
