"""What a tracker is told: its zone, its sources, the site's PUE, its rhythm; each refused with what is allowed."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenserve.carbon.factors.tables import cloud_regions, zones
from greenserve.carbon.feeds.build import grid_of
from greenserve.carbon.feeds.neso_region import code_in, region_of
from greenserve.carbon.tracked import Pue
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.grid_sections import Intensity
from greenserve.quantities import parse_duration_s
from greenserve.units import MILLI

SHORTEST_S, LONGEST_S = 0.05, 300.0
LARGEST_PUE = 10.0


def check_zone(zone: str, intensity: Intensity | None) -> None:
    """ConfigInvalid, with the nearest names, for a zone that neither the shipped tables nor a source know."""
    known = {*zones(), *cloud_regions()}
    for source in intensity.sources if intensity else ():
        known |= set(getattr(source, "values", None) or ()) | set(getattr(source, "codes", None) or ())
    if zone in known or _is_neso_region(zone) or (intensity is not None and _in_files(zone, intensity)):
        return
    near = difflib.get_close_matches(zone, sorted(known), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigInvalid(
        f"zone is {zone!r}: no grid zone, no cloud region (gcp:europe-west3), and in none of the sources{hint}"
    )


def _in_files(zone: str, intensity: Intensity) -> bool:
    """Whether a file of values names the zone: one that is in no table may be the user's own."""
    files = tuple(source for source in intensity.sources if source.kind in {"recorded", "annual"})
    own = intensity.model_copy(update={"sources": files})
    grid = grid_of(own, wanted=[zone], store=Path(os.devnull), clock=SystemClock(), only_stored=True)
    return zone in grid.chain.zones()


def _is_neso_region(zone: str) -> bool:
    code = code_in(zone)
    return code is not None and region_of(code) is not None


def pue_of(given: float | None, zone: str, config: Config | None) -> Pue:
    """The site's PUE: given, else the configuration's for the zone, else an assumed one that says so."""
    if given is None:
        region = next((one for one in config.regions if one.zone == zone), None) if config else None
        return Pue() if region is None else Pue(milli=region.pue_milli, source=region.pue.source, half_width_bp=0)
    if not 1.0 <= given <= LARGEST_PUE:
        raise ConfigInvalid(
            f"pue is {given}; it is the site's energy over the machines' and lies in 1.0..{LARGEST_PUE}"
        )
    return Pue(milli=round(given * MILLI), source="given", half_width_bp=0)


def save_every_s(text: str) -> float:
    """How often a sample is taken [s], from `15s`; ConfigInvalid outside 50 ms to 5 min."""
    try:
        every_s = parse_duration_s(text)
    except ValueError as error:
        raise ConfigInvalid(f"save_every: {error}") from None
    if not SHORTEST_S <= every_s <= LONGEST_S:
        raise ConfigInvalid(f"save_every is {text}; 50ms to 5m is allowed")
    return every_s


def intensity_of(sources: Sequence[Mapping[str, Any]]) -> Intensity | None:
    """The section that these sources make; None without any, ConfigInvalid with every fault in them."""
    if not sources:
        return None
    try:
        return Intensity.model_validate({"sources": list(sources)})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigInvalid(
            f"sources: {faults}; they are written like `intensity.sources` of a configuration"
        ) from None
