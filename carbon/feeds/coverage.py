"""Which zones and cloud regions there are, which sources cover them, and how one of them is found: pure."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenserve.carbon.factors.tables import cloud_regions, country_of, zones
from greenserve.carbon.feeds.neso_region import ALL, PREFIX, REGIONS

EVERYWHERE = "electricity-maps"
"""Names zones as we do, so its codes are in no column of the shipped table."""
REGIONAL = "neso"
OWN = "a zone of your own"
NEAREST = 3
CUTOFF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A zone or cloud region: its `name` in words, its country (ISO 3166 alpha-3, None: not in our tables), the grid
    zone in which a cloud region stands (`stands_in`), the sources of the configuration that cover it, and the kinds
    of source that would (`offered`), those that are configured left out."""

    zone: str
    name: str
    country: str | None
    stands_in: str | None
    configured: tuple[str, ...]
    offered: tuple[str, ...]


def places_of(covered: Mapping[str, frozenset[str]]) -> list[Place]:
    """All zones and cloud regions of the shipped tables, of NESO's regions and of `covered`, by name.

    `covered` maps each source of a configuration, in its order and by its name (`annual`, `entso-e-2`), to its zones.
    """
    own = frozenset[str]().union(*covered.values())
    regions = [f"{PREFIX}{number}" for number in REGIONS]
    return [_place(zone, covered) for zone in sorted({*zones(), *cloud_regions(), *regions, *own})]


def matching(places: Sequence[Place], text: str) -> list[Place]:
    """The places whose zone, name, country or grid zone holds the text, whatever its case; an exact zone alone, with
    the cloud regions that stand in it."""
    wanted = text.casefold().strip()
    exact = [one for one in places if wanted in (one.zone.casefold(), (one.stands_in or "").casefold())]
    return exact or [one for one in places if any(wanted in word.casefold() for word in _words(one))]


def nearest(places: Sequence[Place], text: str) -> list[str]:
    """Up to three zones whose zone or name is most like the text, the most alike first; empty where none is."""
    by_word = {word.casefold(): one.zone for one in reversed(places) for word in (one.name, one.zone)}
    found = difflib.get_close_matches(text.casefold().strip(), by_word, n=2 * NEAREST, cutoff=CUTOFF)
    return list(dict.fromkeys(by_word[word] for word in found))[:NEAREST]


def _place(zone: str, covered: Mapping[str, frozenset[str]]) -> Place:
    stands_in = cloud_regions().get(zone)
    configured = tuple(source for source, known in covered.items() if zone in known)
    kinds = {source.rstrip("-0123456789") for source in configured}
    return Place(
        zone=zone,
        name=_name(zone, stands_in),
        country="GBR" if _is_regional(zone) else country_of(zone),
        stands_in=stands_in,
        configured=configured,
        offered=tuple(kind for kind in _offered(zone, stands_in or zone) if kind not in kinds),
    )


def _name(zone: str, stands_in: str | None) -> str:
    if _is_regional(zone):
        return REGIONS[int(zone.removeprefix(PREFIX))]
    known = zones().get(stands_in or zone)
    if known is None:
        return OWN
    return known.name if stands_in is None else f"in {stands_in}, {known.name}"


def _offered(zone: str, grid: str) -> Iterator[str]:
    if _is_regional(zone):
        yield REGIONAL
        return
    known = zones().get(grid)
    if known is not None:
        yield EVERYWHERE
        yield from known.codes


def _is_regional(zone: str) -> bool:
    number = zone.removeprefix(PREFIX)
    return zone.startswith(PREFIX) and number.isdecimal() and int(number) in REGIONS


def _words(place: Place) -> tuple[str, ...]:
    country = () if place.country is None else (place.country,)
    # NESO's regions are found by the country that they are parts of.
    return (place.zone, place.name, *country, *((ALL,) if _is_regional(place.zone) else ()))
