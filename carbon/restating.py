"""Restating: a grid reading or a factor was revised, and the settled lines that rest on it follow. Pure.

Nothing is edited. A cause is an entry of its own (`intensity`: a newer reading of a slot; `factor`: another PUE of a
region and time, or a fault of a meter, see `rescaling`); a `restated` entry names its causes and one row of the hourly
sums, and whoever reads the lines of that row that were settled before it reads them by `revised`. Emissions follow by
E11, site energy by E9; IT energy changes by a fault alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenserve.carbon.cuts import LATER, pieces_of, site_figures
from greenserve.carbon.entries import OTHER_CI, PLATFORM, VERSION, entry_of, it_uj
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.reading_members import members_of
from greenserve.carbon.rescaling import METER, SCALES, rescale, same_energy, take_scale
from greenserve.carbon.restated_keys import ROW
from greenserve.records import Entry, IntensityReading

NS_PER_US = 1_000
PUE = "pue"
RESTATED = "restated"
SITE = ("facility_uj", "loc_direct_ng", "loc_lifecycle_ng")
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PueRevision:
    """Another PUE [1/1000] of a region's requests that ended in [start_us, end_us) UTC, with where it comes from."""

    region: str
    start_us: int
    end_us: int
    pue_milli: int
    source: str


def reading_body(reading: IntensityReading) -> dict[str, Any]:
    """The cause that a revised reading is; entered by `entered`."""
    origin = {"retrieved_us": reading.retrieved_us, "raw_sha256": reading.raw_sha256}
    return {"kind": "intensity", "reading": members_of(reading), **origin}


def pue_body(revision: PueRevision) -> dict[str, Any]:
    """The cause that another PUE is; entered by `entered`."""
    return {
        "kind": "factor",
        "factor": PUE,
        "region": revision.region,
        "start_us": revision.start_us,
        "end_us": revision.end_us,
        "pue_milli": revision.pue_milli,
        "source": revision.source,
    }


def entered(cause: Body, *, revision: int, at_us: int, reason: str) -> Entry:
    """The entry of a cause: the `revision`-th of its slot, or of its region and time. A reading counts its own from
    the 0 of the one that lines were settled with."""
    body = {**cause, "revision": revision, "at_us": at_us, "reason": reason, "tenant": PLATFORM, "v": VERSION}
    if cause["kind"] == "intensity":
        body["reading"] = {**cause["reading"], "revision": max(cause["reading"]["revision"], revision + 1)}
    return entry_of(body)


def same_cause(one: Body, other: Body) -> bool:
    """Whether two bodies of one natural key say the same; which revision it is does not matter."""
    if one["kind"] != "intensity" and one["factor"] == METER:
        return same_energy(one, other)
    if one["kind"] != "intensity":
        return bool(one["pue_milli"] == other["pue_milli"])
    told = [{name: value for name, value in body["reading"].items() if name != "revision"} for body in (one, other)]
    return told[0] == told[1]


def bounds_of_cause(cause: Body) -> tuple[int, int]:
    """When the requests that a cause may change ended: [start, end) in us UTC."""
    holder = cause["reading"] if cause["kind"] == "intensity" else cause
    return holder["start_us"], holder["end_us"]


def revised(body: Body, causes: Sequence[Body]) -> dict[str, Any] | None:
    """A settled line (whole: merged over its first one) by revised readings and factors; None where nothing changes.

    A reading takes the place of one of the same zone, basis and provider with another value, or of one that stood in
    for a missing value (its level is above 0), or of none, for requests that ended in its slot, and of a run that was
    cut at slots for the pieces that began in it. Lines that nobody is
    charged for or that were not metered, and what a line of before there were two readings does not tell, stay.
    """
    if not body["charged"] or it_uj(body) is None:
        return None
    new = dict(body)
    for cause in causes:
        start_us, end_us = bounds_of_cause(cause)
        if cause["kind"] == "intensity":
            if cause["reading"]["zone"] == body["zone"]:
                _take_reading(new, cause["reading"])
        elif cause["factor"] == METER:
            take_scale(new, cause)
        elif cause["region"] == body["region"] and start_us <= body["ended_us"] < end_us:
            new["pue_milli"] = cause["pue_milli"]
    if all(new.get(name) == body.get(name) for name in ("ci", OTHER_CI, LATER, "pue_milli", SCALES)):
        return None
    if new.get(SCALES) != body.get(SCALES):
        rescale(new)
    figures = site_figures(pieces_of(new, new, it_uj(new) or 0), new["pue_milli"])
    return new | dict(zip(SITE, figures, strict=True)) | {"state": RESTATED}


def figures_of(bodies: Iterable[Body]) -> dict[str, int | None]:
    """What a `restated` entry says of its lines before and after: site energy [uJ] and emissions [ng], null where none
    of them has one, and the IT energy [uJ] that each does not cover."""
    sums: dict[str, int | None] = dict.fromkeys(SITE)
    uncovered = dict.fromkeys(SITE, 0)
    for body in bodies:
        for name in SITE:
            if body[name] is None:
                uncovered[name] += it_uj(body) or 0
            else:
                sums[name] = (sums[name] or 0) + body[name]
    named = {f"{name.rpartition('_')[0]}_uncovered_uj": energy_uj for name, energy_uj in uncovered.items()}
    return sums | named


def figures_of_pairs(pairs: Sequence[tuple[Body, Body]]) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """`figures_of` lines before and after; with their IT energy [uJ] (`energy_uj`) where that of any line changes."""
    old, new = (figures_of(pair[place] for pair in pairs) for place in (0, 1))
    if any(it_uj(before) != it_uj(after) for before, after in pairs):
        old["energy_uj"], new["energy_uj"] = (sum(it_uj(pair[place]) or 0 for pair in pairs) for place in (0, 1))
    return old, new


def more_uj(body: Body) -> int:
    """By how much a `restated` entry raises its lines' IT energy [uJ]; 0 where it leaves it."""
    return int(body["new"].get("energy_uj", 0)) - int(body["old"].get("energy_uj", 0))


def row_of(body: Body) -> RollupKey:
    """The row of the hourly sums that a `restated` body changes."""
    return RollupKey(*(body[name] for name in ROW))


def restated_entry(
    row: RollupKey,
    causes: Sequence[int],
    pairs: Sequence[tuple[Body, Body]],
    *,
    revision: int,
    at_us: int,
    reason: str,
    closed: bool,
) -> Entry:
    """The `revision`-th restatement of a row: by which causes (indices), how many lines, the figures of these before
    and after. `closed`: whether the row's month was closed by then."""
    old, new = figures_of_pairs(pairs)
    return entry_of(
        {
            "kind": RESTATED,
            **row._asdict(),
            "revision": revision,
            "at_us": at_us,
            "reason": reason,
            "causes": list(causes),
            "closed": closed,
            "lines": len(pairs),
            "old": old,
            "new": new,
            "v": VERSION,
        }
    )


def faults_of(body: Body, pairs: Sequence[tuple[Body, Body]]) -> Iterator[str]:
    """What a `restated` body says otherwise than its lines give."""
    if body["lines"] != len(pairs):
        yield f"says that it restates {body['lines']} lines, its causes change {len(pairs)}"
    for name, given in zip(("old", "new"), figures_of_pairs(pairs), strict=True):
        if body[name] != given:
            yield f"E9 and E11 give its lines the {name} figures {given}, stored are {body[name]}"


def _take_reading(line: dict[str, Any], reading: Body) -> None:
    holders = [(line["ended_us"], line)]
    if LATER in line:
        line[LATER] = later = [dict(piece) for piece in line[LATER]]
        began_us = line["ended_us"] - (line["end_ns"] - line["start_ns"]) // NS_PER_US
        holders = [(began_us, line), *((piece["from_us"], piece) for piece in later)]
    for at_us, holder in holders:
        if reading["start_us"] <= at_us < reading["end_us"]:
            _replace_reading(holder, reading)


def _replace_reading(line: dict[str, Any], reading: Body) -> None:
    own, other = line["ci"], line.get(OTHER_CI)
    if own is None:
        line["ci"] = reading
    elif own["basis"] == reading["basis"]:
        line["ci"] = reading if _gives_way(own, reading) else own
    elif OTHER_CI in line and (other is None or _gives_way(other, reading)):
        line[OTHER_CI] = reading


def _gives_way(old: Body, new: Body) -> bool:
    if old["mg_per_kwh"] == new["mg_per_kwh"]:
        return False
    return bool(old["provider"] == new["provider"] or (old.get("level") or 0) > 0)
