"""NESO's regions of Great Britain: how a zone names one, and the rows of an answer that are really of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from greenserve.errors import ConfigInvalid

ALL = "GB"
PREFIX = "neso:"
"""A zone of that name needs no code of its own: `neso:13`, `neso:LS1`."""
REGIONS = MappingProxyType(
    {
        1: "North Scotland",
        2: "South Scotland",
        3: "North West England",
        4: "North East England",
        5: "Yorkshire",
        6: "North Wales and Merseyside",
        7: "South Wales",
        8: "West Midlands",
        9: "East Midlands",
        10: "East England",
        11: "South West England",
        12: "South England",
        13: "London",
        14: "South East England",
        15: "England",
        16: "Scotland",
        17: "Wales",
    }
)
"""NESO's own numbers: 1 to 14 are the areas of the distribution networks, the last three are countries."""
_OUTWARD = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?")


@dataclass(frozen=True, slots=True)
class Region:
    """A region by its number, or the one in which an outward postcode lies; one of the two is None."""

    number: int | None = None
    postcode: str | None = None

    def __str__(self) -> str:
        return f"region {self.number}" if self.postcode is None else f"postcode {self.postcode}"

    @property
    def path(self) -> str:
        """The end of the address at which it is asked for."""
        return f"regionid/{self.number}" if self.postcode is None else f"postcode/{self.postcode}"


def region_of(code: str) -> Region | None:
    """What a code means: None for `GB`, all of it; a number 1..17; the outward half of a postcode, `RG41`.

    ConfigInvalid for anything else, a whole postcode included: NESO knows outward halves alone.
    """
    given = code.strip().upper()
    if given == ALL:
        return None
    if given.isdecimal() and given.isascii() and int(given[:9]) in REGIONS:
        return Region(number=int(given))
    if _OUTWARD.fullmatch(given):
        return Region(postcode=given)
    raise ConfigInvalid(
        f"{code!r:.40} is no code of NESO's; give GB, a region's number 1 to {max(REGIONS)} (13 is {REGIONS[13]}), or "
        "the outward half of a postcode (RG41 of RG41 5AA)"
    )


def code_in(zone: str) -> str | None:
    """The code that a zone's own name holds, `neso:13`; None for any other zone."""
    return zone.removeprefix(PREFIX) if zone.startswith(PREFIX) else None


def region_rows(document: Mapping[str, Any], region: Region) -> Sequence[Mapping[str, Any]]:
    """The half-hours of a regional answer. ValueError where it is of another region than was asked for.

    `data` is the region itself, or a list with the region alone in it: both are documented.
    """
    told = document["data"]
    if isinstance(told, list):
        if len(told) != 1:
            raise ValueError(f"one region was asked for, {len(told)} came")
        told = told[0]
    name, wanted = ("regionid", region.number) if region.postcode is None else ("postcode", region.postcode)
    # Not every answer repeats the postcode that was asked for; its region's number is always there.
    given = told.get(name, wanted) if region.postcode is not None and told["regionid"] in REGIONS else told[name]
    if isinstance(given, bool) or str(given).upper() != str(wanted):
        raise ValueError(f"{region} was asked for, {name} {given!r:.20} came")
    rows: Sequence[Mapping[str, Any]] = told["data"]
    return rows
