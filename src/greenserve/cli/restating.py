"""What `greenserve ledger restate` is given: revised grid readings and PUEs, by options, a file or the feeds' store."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from greenserve.carbon.budgets import iso
from greenserve.carbon.feeds.levels import LIVE, graded
from greenserve.carbon.feeds.recorded import HOUR_US, RecordedFeed
from greenserve.carbon.feeds.store import readings_between
from greenserve.carbon.ledger.restatement import Restatement
from greenserve.carbon.node_overhead import NODE
from greenserve.carbon.rescaling import Code, EnergyRevision, energy_body, scale_of
from greenserve.carbon.restating import PueRevision, pue_body, reading_body
from greenserve.cli.output import data
from greenserve.errors import ConfigInvalid, InvalidRequest
from greenserve.records import Basis, IntensityReading, Origin, Tier
from greenserve.units import MILLI, decimal_grams, decimal_joules

LARGEST_PUE_MILLI = 10_000
MOST_SLOTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A file of revised hourly values, and whose they are."""

    file: Path
    provider: str
    basis: Basis
    origin: Origin


def causes_of_series(series: Series, start_us: int, end_us: int) -> Iterator[Mapping[str, Any]]:
    """The revised hours of a file in [start_us, end_us) UTC; InvalidRequest names the line that is wrong."""
    if (end_us - start_us) // HOUR_US > MOST_SLOTS:
        raise InvalidRequest(f"--from and --to are over {MOST_SLOTS} hours apart: restate in parts")
    try:
        feed = RecordedFeed(series.file, provider=series.provider, basis=series.basis)
    except ConfigInvalid as error:
        raise InvalidRequest(f"--intensity: {error}") from None
    for zone in sorted(feed.zones()):
        for hour in range(start_us // HOUR_US, -(-end_us // HOUR_US)):
            reading = feed.read(zone=zone, at_us=hour * HOUR_US)
            if reading is not None:
                yield reading_body(_graded(reading, series.origin))


def causes_of_store(store: Path, start_us: int, end_us: int) -> Iterator[Mapping[str, Any]]:
    """The newest live readings that the gateway's feeds keep of [start_us, end_us) UTC; InvalidRequest where there is
    no such store."""
    if not store.is_file():
        raise InvalidRequest(
            f"--feeds: there is no {store}; a gateway with live feeds keeps its readings of the last week there"
        )
    try:
        with closing(sqlite3.connect(store.absolute().as_uri() + "?mode=ro", uri=True)) as database:
            readings = readings_between(database, start_us, end_us)
    except sqlite3.Error as error:
        raise InvalidRequest(f"--feeds: {store} cannot be read as the store of grid readings ({error})") from None
    for reading in readings:
        if reading.kind == "average" and reading.origin in ("observed", "estimated"):
            yield reading_body(graded(reading, LIVE))


def cause_of_pue(given: str, source: str | None, start_us: int, end_us: int) -> Mapping[str, Any]:
    """`north=1.18` as a revised PUE of that region."""
    region, sign, text = given.partition("=")
    try:
        milli = Decimal(text) * MILLI
    except InvalidOperation:
        milli = Decimal(0)
    if not region or not sign or milli != int(milli) or not MILLI <= milli <= LARGEST_PUE_MILLI:
        raise InvalidRequest(f"--pue {given}: write REGION=VALUE, such as north=1.18, from 1 to 10, three decimals")
    if not source:
        raise InvalidRequest("--pue needs --source TEXT: where the value comes from, such as a facility report")
    return pue_body(PueRevision(region=region, start_us=start_us, end_us=end_us, pue_milli=int(milli), source=source))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What was found wrong with a meter or a power model: `cpu=1.07`, why, where it is known from, whom it concerns."""

    given: str
    code: Code
    source: str
    model: str | None
    variant: str | None
    tier: Tier | None


def cause_of_fault(fault: Fault, settled_by: Mapping[str, str | None], start_us: int, end_us: int) -> Mapping[str, Any]:
    """The cause that a fault is; `settled_by` says how each device of the ledger is settled (None: by CPU time).

    InvalidRequest for `node`: it is what all meters leave over, and no request's energy comes from it.
    """
    device, sign, text = fault.given.rpartition("=")
    try:
        scale_ppm = scale_of(text)
    except ValueError as error:
        raise InvalidRequest(f"--energy {fault.given}: write DEVICE=FACTOR, such as cpu=1.07: {error}") from None
    there = ", ".join(sorted(settled_by.keys() - {NODE})) or "none: nothing was metered yet"
    if device == NODE:
        raise InvalidRequest(
            f"--energy {fault.given}: {NODE} is the overhead beyond the devices, no request has energy of it; "
            f"allowed are {there}"
        )
    if not sign or device not in settled_by:
        raise InvalidRequest(f"--energy {fault.given}: no device {device!r}; the ledger's devices are {there}")
    revision = EnergyRevision(
        device=device,
        by_cpu_time=settled_by[device] is None,
        start_us=start_us,
        end_us=end_us,
        scale_ppm=scale_ppm,
        code=fault.code,
        source=fault.source,
        model=fault.model,
        variant=fault.variant,
        tier=fault.tier,
    )
    return energy_body(revision)


def checked_region(cause: Mapping[str, Any], known: Collection[str]) -> Mapping[str, Any]:
    """The cause of a PUE; InvalidRequest for a region that neither the configuration nor the ledger has."""
    if cause["region"] not in known:
        raise InvalidRequest(f"--pue: no region {cause['region']!r:.80}; there are {', '.join(sorted(known))}")
    return cause


def show(found: Restatement, *, dry_run: bool) -> None:
    """How many entries, requests and grams; which months; what was left."""
    old_ng, new_ng = found.totals("loc_lifecycle_ng")
    closed = sum(row.closed for row in found.rows)
    lines = [
        ("entries", f"{len(found.entries)} {'would be written' if dry_run else 'written'}: {_kinds(found)}"),
        ("requests", f"{sum(row.lines for row in found.rows)} restated in {len(found.rows)} hourly sums"),
        ("  of closed", f"{closed} hourly sums of closed months: their statements get a new version"),
        *_energy(found),
        ("lifecycle", f"{_grams(old_ng)} -> {_grams(new_ng)} gCO2e, difference {_difference(old_ng, new_ng)}"),
        ("direct", " -> ".join(map(_grams, found.totals("loc_direct_ng"))) + " gCO2e"),
        ("at the site", " -> ".join(map(_joules, found.totals("facility_uj"))) + " J"),
        ("provisional", f"{found.provisional} requests of these hours are not settled yet: restate again after that"),
    ]
    for name, text in lines:
        data.print(f"{name:<12} {text}", markup=False)


def document_of(found: Restatement, *, dry_run: bool) -> dict[str, object]:
    """The same for other programs; unknown is null."""
    figures = {name: found.totals(name) for name in ("loc_lifecycle_ng", "loc_direct_ng", "facility_uj")}
    if (energy := found.totals("energy_uj")) != (None, None):
        figures["energy_uj"] = energy
    return {
        "dry_run": dry_run,
        "entries": len(found.entries),
        "requests": sum(row.lines for row in found.rows),
        "hourly_sums": len(found.rows),
        "hourly_sums_of_closed_months": sum(row.closed for row in found.rows),
        "provisional_requests": found.provisional,
        "old": {name: old for name, (old, _) in figures.items()},
        "new": {name: new for name, (_, new) in figures.items()},
        "rows": [
            {**row.row._asdict(), "requests": row.lines, "closed": row.closed, "old": row.old, "new": row.new}
            for row in found.rows
        ],
    }


def checked_causes(causes: Sequence[Mapping[str, Any]], start_us: int, end_us: int) -> Sequence[Mapping[str, Any]]:
    """The causes; InvalidRequest where what was given holds none of the time asked for."""
    if not causes:
        raise InvalidRequest(
            f"no revised value of {iso(start_us)} to {iso(end_us)} was given: check --from and --to, and what the file "
            "or the feeds' store covers"
        )
    return causes


def _graded(reading: IntensityReading, origin: Origin) -> IntensityReading:
    return graded(replace(reading, origin=origin), LIVE if origin in ("observed", "estimated") else None)


def _energy(found: Restatement) -> list[tuple[str, str]]:
    old_uj, new_uj = found.totals("energy_uj")
    if old_uj is None or new_uj is None:
        return []
    return [("energy", f"{_joules(old_uj)} -> {_joules(new_uj)} J of requests; intervals stay as they were read")]


def _kinds(found: Restatement) -> str:
    kinds = [entry.kind for entry in found.entries]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing differs"


def _difference(old_ng: int | None, new_ng: int | None) -> str:
    return (
        "unknown" if old_ng is None or new_ng is None else f"{'' if new_ng < old_ng else '+'}{_grams(new_ng - old_ng)}"
    )


def _grams(value_ng: int | None) -> str:
    return "unknown" if value_ng is None else decimal_grams(value_ng)


def _joules(value_uj: int | None) -> str:
    return "unknown" if value_uj is None else decimal_joules(value_uj)
