"""Usage lines whose run crosses into another grid slot: each side by the reading that held there (method: E9, E11).

A line that is cut holds the readings of its later pieces in `ci_later` (its first one's stands in `ci` as on any line)
and the energy of each piece in `slots`; pieces are cut in monotonic time, where the line itself says (decision 0038).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.emissions import facility_uj, site_and_emissions
from greenserve.records import Basis, IntensityReading, Origin

LATER, SLOTS = "ci_later", "slots"
PARTS = ("active_uj", "held_uj", "host_uj")
MOST_PIECES = 300
"""A run longer than so many slots keeps the last one's reading to its end: a day of 5 minutes is 288."""
_ORIGINS: tuple[Origin, ...] = ("observed", "estimated", "forecast", "recorded", "annual")
"""Best evidence first."""
Slots = tuple[tuple[int, int, int], ...]
"""(active, held, host) energy [uJ] of each piece of a run."""


class Later(NamedTuple):
    """From when on [monotonic ns, us UTC] a later piece of a run lasts, and its reading; None is unknown."""

    from_ns: int
    from_us: int
    reading: IntensityReading | None


class Piece(NamedTuple):
    """A piece of a usage line: its readings in either basis as the body holds them, its energy [uJ]."""

    ci: Mapping[str, Any] | None
    ci_other: Mapping[str, Any] | None
    energy_uj: int


def readings_over(
    given: IntensityReading, start_us: int, end_us: int, read: Callable[[int], IntensityReading | None]
) -> list[tuple[int, IntensityReading | None]]:
    """(from [us UTC], reading) over [start, end): `given` while it holds, then what `read` says at each next moment.

    A reading ends where its counterpart does. What is unknown at a moment stays so to the end of the run.
    """
    found: list[tuple[int, IntensityReading | None]] = []
    at_us, reading = start_us, given if holds_over(given, start_us, start_us) else read(start_us)
    while True:
        known = reading if reading is not None and holds_over(reading, at_us, at_us) else None
        found.append((at_us, known))
        if known is None or len(found) == MOST_PIECES:
            return found
        at_us = _end_us(known)
        if at_us >= end_us:
            return found
        reading = given if holds_over(given, at_us, at_us) else read(at_us)


def holds_over(reading: IntensityReading, start_us: int, end_us: int) -> bool:
    """Whether a reading holds from one moment [us UTC] to another, in both of its bases."""
    other = reading.counterpart
    starts_us = reading.start_us if other is None else max(reading.start_us, other.start_us)
    return starts_us <= start_us and end_us < _end_us(reading)


def _end_us(reading: IntensityReading) -> int:
    return reading.end_us if reading.counterpart is None else min(reading.end_us, reading.counterpart.end_us)


def cut_amounts(amounts: tuple[int, int, int], start_ns: int, end_ns: int, edges_ns: Sequence[int]) -> Slots:
    """Amounts that flow evenly over [start, end) [ns] in pieces at the edges by time share (LR), each exactly.

    Edges outside of it leave pieces of nothing. ValueError for edges that are not in order.
    """
    weights = overlaps(start_ns, end_ns, edges_ns)
    active, held, host = (apportion_list(amount, weights) for amount in amounts)
    return tuple(zip(active, held, host, strict=True))


def overlaps(start_ns: int, end_ns: int, edges_ns: Sequence[int]) -> list[int]:
    """How much of [start, end) [ns] lies in each piece: before the first edge, between edges, behind the last."""
    if list(edges_ns) != sorted(edges_ns):
        raise ValueError(f"a run is cut at edges in order of time, got {tuple(edges_ns)} ns")
    inside = [min(max(edge_ns, start_ns), end_ns) for edge_ns in edges_ns]
    return [last_ns - first_ns for first_ns, last_ns in pairwise((start_ns, *inside, end_ns))]


def edges_of(body: Mapping[str, Any]) -> tuple[int, ...]:
    """Where a line's run is cut [monotonic ns]; empty for nearly all lines."""
    return tuple(later["from_ns"] for later in body.get(LATER, ()))


def summed(parts: Sequence[Slots]) -> Slots:
    """The pieces of a request from those of its parts; empty where none was cut."""
    cut = [part for part in parts if part]
    return tuple(
        (sum(one[0] for one in piece), sum(one[1] for one in piece), sum(one[2] for one in piece))
        for piece in zip(*cut, strict=True)
    )


def pieces_of(first: Mapping[str, Any], body: Mapping[str, Any], energy_uj: int) -> list[Piece]:
    """The pieces of a line of `energy_uj`: `first` holds its readings, `body` its energy by piece, if it was cut."""
    whole = Piece(first["ci"], first.get("ci_other"), energy_uj)
    slots = body.get(SLOTS)
    if LATER not in first or slots is None:
        return [whole]
    readings = [(whole.ci, whole.ci_other), *((later["ci"], later["ci_other"]) for later in first[LATER])]
    return [
        Piece(ci, other, active_uj + held_uj + host_uj)
        for (ci, other), (active_uj, held_uj, host_uj) in zip(readings, slots, strict=True)
    ]


def whole_figures(
    ci: Mapping[str, Any] | None, ci_other: Mapping[str, Any] | None, energy_uj: int, pue_milli: int | None
) -> tuple[int | None, int | None, int | None]:
    """As `site_figures` for energy that met one reading in each basis."""
    if pue_milli is None:
        return None, None, None
    if ci is None:
        return facility_uj(energy_uj, pue_milli), None, None
    other_mg = None if ci_other is None else ci_other["mg_per_kwh"]
    figures = site_and_emissions(energy_uj, pue_milli, ci["mg_per_kwh"], other_mg)
    return figures if ci["basis"] == "direct" else (figures[0], figures[2], figures[1])


def site_figures(pieces: Sequence[Piece], pue_milli: int | None) -> tuple[int | None, int | None, int | None]:
    """Facility energy [uJ] and location-based emissions [ng], direct and lifecycle: E9 and E11 per piece, each basis by
    its own reading; the sums of rounded pieces. None for what is not known of any piece."""
    if len(pieces) == 1:  # nearly all lines
        return whole_figures(*pieces[0], pue_milli)
    figures = [whole_figures(*piece, pue_milli) for piece in pieces]
    facility, direct, lifecycle = ([one[place] for one in figures] for place in range(3))
    return _total(facility), _total(direct), _total(lifecycle)


def intensity_in(body: Mapping[str, Any], basis: Basis, energy_uj: int) -> int | None:
    """The intensity [mg/kWh] in one basis that a line of `energy_uj` met: the mean of its pieces by their energy;
    None where one is not known."""
    weighted = 0
    pieces = pieces_of(body, body, energy_uj)
    for piece in pieces:
        reading = next((one for one in (piece.ci, piece.ci_other) if one is not None and one["basis"] == basis), None)
        if reading is None:
            return None
        if len(pieces) == 1 or not energy_uj:
            return int(reading["mg_per_kwh"])
        weighted += reading["mg_per_kwh"] * piece.energy_uj
    return weighted // energy_uj


def reading_met(given: IntensityReading, later: Sequence[Later], mg_per_kwh: int | None) -> IntensityReading | None:
    """What a run across slots met, as one reading for the answer: the mean of its pieces by their energy
    (`mg_per_kwh`, as `intensity_in` tells it), by the source of the weakest origin; None where a piece is not known."""
    readings = [given, *(_in_basis(one.reading, given.basis) for one in later)]
    known = [one for one in readings if one is not None]
    if mg_per_kwh is None or len(known) < len(readings):
        return None
    weakest = max(known, key=lambda one: _ORIGINS.index(one.origin))
    ends_us = max(one.end_us for one in known)
    return replace(weakest, start_us=given.start_us, end_us=ends_us, mg_per_kwh=mg_per_kwh, counterpart=None)


def _in_basis(reading: IntensityReading | None, basis: Basis) -> IntensityReading | None:
    pair = () if reading is None else (reading, reading.counterpart)
    return next((one for one in pair if one is not None and one.basis == basis), None)


def cut_faults(first: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the pieces of a line, `first` being the request's first one: sums, edges, readings that do not
    hold in their piece, and on the first line energy that is not cut by time."""
    edges_ns, slots = edges_of(first), body.get(SLOTS)
    if body["active_uj"] is None or slots is None:
        if slots is not None or body["active_uj"] is not None:
            yield "its run was cut at grid slots, and energy and pieces are not both known or both unknown"
        return
    if len(slots) != len(edges_ns) + 1 or not first["start_ns"] < edges_ns[0] <= edges_ns[-1] < first["end_ns"]:
        yield f"{len(slots)} pieces for edges at {edges_ns} ns of a run of {first['start_ns']}..{first['end_ns']} ns"
        return
    for place, part in enumerate(PARTS):
        if (total := sum(piece[place] for piece in slots)) != body[part]:
            yield f"its pieces sum to {total} of {part}, the line says {body[part]}"
    if body["state"] == "provisional":
        amounts = (body["active_uj"], body["held_uj"], body["host_uj"])
        again = cut_amounts(amounts, first["start_ns"], first["end_ns"], edges_ns)
        if again != tuple(map(tuple, slots)):
            yield f"its pieces are {slots}, by time they are {again}"
    for later in first[LATER]:
        for reading in (later["ci"], later["ci_other"]):
            if reading is not None and not reading["start_us"] <= later["from_us"] < reading["end_us"]:
                yield f"the reading of {reading['provider']} does not hold from {later['from_us']} us UTC on"


def _total(figures: Sequence[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None
