"""Half widths that back-tests found, by zone: a file of them, and which one a reading takes."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args

from greenserve.carbon.feeds.backtest import GridWidth
from greenserve.carbon.feeds.levels import ANNUAL, LAST_GOOD, LAST_WEEK
from greenserve.carbon.feeds.parsing import HOUR_US
from greenserve.errors import ConfigInvalid
from greenserve.records import Basis, IntensityReading, Scope

COLUMNS = (
    *("zone", "basis", "scope", "level", "age_h", "half_width_pct", "pairs", "held_out_pct", "forward_pct", "source"),
)
SHIPPED = "grid_widths.csv"
BP_PER_PCT = 100
LARGEST_PCT = 1_000


class GridWidths:
    """Which half width a reading takes. Immutable.

    A row counts for readings of its zone, basis and level whose value is at most as old as it says, the youngest such
    row first; a row with a scope only for readings of that scope, or of none told. An older value takes the widest row
    or the default, whichever is wider. A recorded hour that answers for itself keeps its default: no back-test sees how
    wrong the record is.
    """

    def __init__(self, rows: Iterable[GridWidth] = ()) -> None:
        self._rows: defaultdict[tuple[str, Basis, int], list[GridWidth]] = defaultdict(list)
        for row in sorted(rows, key=lambda one: one.age_us):
            self._rows[row.zone, row.basis, row.level].append(row)

    def __repr__(self) -> str:
        return f"<GridWidths of {len({zone for zone, _, _ in self._rows})} zones>"

    def applied(self, reading: IntensityReading) -> IntensityReading:
        """The reading, with the half width of its zone's back-test where there is one."""
        if reading.level is None or reading.level < LAST_GOOD or reading.level > ANNUAL:
            return reading
        rows = [
            row
            for row in self._rows.get((reading.zone, reading.basis, reading.level), ())
            if row.scope is None or reading.scope in (None, row.scope)
        ]
        age_us = reading.age_us
        if not rows or age_us is None or (reading.level == LAST_WEEK and not age_us):
            return reading
        fitting = next((row.half_width_bp for row in rows if age_us <= row.age_us), None)
        if fitting is None:
            fitting = max(reading.u_grid_bp or 0, *(row.half_width_bp for row in rows))
        return replace(reading, u_grid_bp=fitting)


def read_widths(file: Path | Traversable) -> list[GridWidth]:
    """The rows of a file that `greenserve carbon backtest -o FILE` wrote. ConfigInvalid, with the line, where it is
    none."""
    try:
        with file.open(encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ConfigInvalid(
                    f"{file} line 1: the columns must be {','.join(COLUMNS)}; make it with `greenserve carbon backtest`"
                )
            return [_row(file, line, row) for line, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigInvalid(f"{file} cannot be read as a CSV file of half widths: {error}") from None


def widths_of(file: Path | None) -> GridWidths:
    """The shipped rows, and those of `file`, which replace all shipped ones of their zones."""
    own = read_widths(file) if file is not None else []
    zones = {row.zone for row in own}
    shipped = read_widths(files("greenserve.carbon.factors") / SHIPPED)
    return GridWidths([*own, *(row for row in shipped if row.zone not in zones)])


def width_rows(rows: Sequence[GridWidth], source: str) -> list[list[str]]:
    """Header and rows for a file, each with the series that it rests on."""
    found = [list(COLUMNS)]
    for row in rows:
        shares = ["" if share is None else f"{share / BP_PER_PCT:g}" for share in (row.held_out_bp, row.forward_bp)]
        width = f"{row.half_width_bp / BP_PER_PCT:g}"
        place = [row.zone, row.basis, row.scope or "", str(row.level), f"{row.age_us / HOUR_US:g}"]
        found.append([*place, width, str(row.pairs), *shares, source])
    return found


def _row(file: Path | Traversable, line: int, row: dict[str, Any]) -> GridWidth:
    try:
        shares = [_number(row[name]) if row[name] else None for name in ("held_out_pct", "forward_pct")]
        level, width_pct, age_h = int(row["level"]), _number(row["half_width_pct"]), _number(row["age_h"])
        scope = row["scope"] or None
        known = row["basis"] in get_args(Basis) and scope in (None, *get_args(Scope)) and row["zone"]
        if not (known and LAST_GOOD <= level <= ANNUAL and 0 <= width_pct <= LARGEST_PCT and age_h >= 0):
            raise ValueError("a zone, basis, scope, level 1..4 and a half width of 0..1000 % are needed")
        return GridWidth(
            zone=row["zone"],
            basis=row["basis"],
            scope=scope,
            level=level,
            age_us=round(age_h * HOUR_US),
            half_width_bp=round(width_pct * BP_PER_PCT),
            pairs=int(row["pairs"]),
            held_out_bp=None if shares[0] is None else round(shares[0] * BP_PER_PCT),
            forward_bp=None if shares[1] is None else round(shares[1] * BP_PER_PCT),
        )
    except (ValueError, TypeError) as error:
        raise ConfigInvalid(
            f"{file} line {line}: {','.join(map(str, row.values()))!r:.200} is no row: {error}"
        ) from None


def _number(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r:.20} is no number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r:.20} is no number")
    return value
