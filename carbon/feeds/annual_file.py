"""A file of annual means by zone, cloud region or country, as publishers and people write them."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from greenserve.carbon.factors.tables import zones
from greenserve.carbon.feeds.annual_layouts import UNITS, Layout, described, g_per_kwh_in, layout_of
from greenserve.errors import ConfigInvalid
from greenserve.records import LARGEST_MG_PER_KWH, Basis
from greenserve.units import mg_per_kwh_from_g

HEADER_LINES = 2
"""Some tables (eGRID) explain their columns in a line above the header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnualTable:
    """(year, mg/kWh) of the newest year by name; the layout that was read; how many rows were left out, by reason."""

    rows: Mapping[str, tuple[int, int]]
    layout: Layout
    left_out: Mapping[str, int] = field(default_factory=dict)


def annual_rows(file: Path, basis: Basis) -> Mapping[str, tuple[int, int]]:
    """(year, mg/kWh) of the newest year by zone, country or cloud region, of a table whose layout is known.

    ConfigInvalid as `annual_table`, and where the table's publisher says that its values are of the other basis.
    """
    table = annual_table(file)
    if table.layout.basis not in (None, basis):
        raise ConfigInvalid(
            f"{file} is {table.layout.title}, whose values are {table.layout.basis}; write `basis: "
            f"{table.layout.basis}` beside it, it is now {basis}"
        )
    return table.rows


def annual_table(file: Path, mapped: Layout | None = None) -> AnnualTable:
    """Read a CSV file in a known layout, or as `mapped` says.

    Names: a zone of ours or a country (alpha-3) as it stands, a cloud's `gcp:europe-west3`, the zone of a US balancing
    authority. Rows without name, year or value, such as sums over countries, are left out and counted. Raises
    ConfigInvalid that names file, line, what was given and what is allowed.
    """
    found: dict[str, tuple[int, int]] = {}
    left_out: Counter[str] = Counter()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            layout, columns, start, reader = _header(file, csv.reader(lines), mapped)
            eia = {zone.codes["eia"]: zone.zone for zone in zones().values() if "eia" in zone.codes}
            for line, cells in enumerate(reader, start=start):
                row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
                if any(row.get(name) != wanted for name, wanted in layout.where.items()):
                    left_out["of another kind"] += 1
                    continue
                name = _name(layout, row, eia)
                # A publisher leaves a value open; in a table of one's own an empty one is a slip.
                no_value = not row.get(layout.value) and layout.basis is not None
                if name is None or not row.get(layout.year) or no_value:
                    left_out["without a zone or country of ours, year or value"] += 1
                    continue
                year = _year(file, line, layout, row[layout.year])
                if name not in found or found[name][0] < year:
                    found[name] = (year, _value(file, line, layout, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigInvalid(f"{file} cannot be read as a CSV file of annual means: {error}") from None
    if not found:
        raise ConfigInvalid(
            f"{file} holds no row with a name and a year: read as {layout.title}, "
            f"{sum(left_out.values())} rows were left out ({', '.join(left_out) or 'there is none'})"
        )
    return AnnualTable(rows=found, layout=layout, left_out=dict(left_out))


def _header(
    file: Path, reader: Iterator[list[str]], mapped: Layout | None
) -> tuple[Layout, list[str], int, Iterator[list[str]]]:
    seen: list[list[str]] = []
    for line in range(1, HEADER_LINES + 1):
        columns = [name.strip() for name in next(reader, [])]
        seen.append(columns)
        layout = layout_of(columns) if mapped is None else mapped
        if layout is not None and not set(layout.columns) - set(columns):
            return layout, columns, line + 1, reader
    given = ",".join(seen[0])
    if mapped is not None:
        missing = [name for name in mapped.columns if name not in seen[0]]
        raise ConfigInvalid(f"{file} line 1: the columns are {given!r:.400}; {', '.join(missing)} is not among them")
    raise ConfigInvalid(
        f"{file} line 1: the columns are {given!r:.400}; known are: {described()}. Another table is read by "
        "`greenserve carbon annual --from FILE --map zone=COLUMN --map year=COLUMN --map value=COLUMN --unit kg/MWh`"
    )


def _name(layout: Layout, row: Mapping[str, str], eia: Mapping[str, str]) -> str | None:
    parts = [row.get(column, "") for column in layout.name]
    if not all(parts):
        return None
    return eia.get(parts[0]) if layout.names == "eia" else ":".join(parts)


def _year(file: Path, line: int, layout: Layout, text: str) -> int:
    # Some tables date a year by its first day.
    number = text[:4] if text[4:5] == "-" else text
    if not (number.isdecimal() and 1990 <= int(number[:9]) <= 2100):
        raise ConfigInvalid(f"{file} line {line}: the {layout.year} is {text!r:.20}; allowed is 1990..2100")
    return int(number)


def _value(file: Path, line: int, layout: Layout, row: Mapping[str, str]) -> int:
    text, unit = row.get(layout.value, ""), row.get(layout.unit_column or "", layout.unit)
    scale = g_per_kwh_in(unit)
    if scale is None:
        raise ConfigInvalid(f"{file} line {line}: the unit is {unit!r:.40}; known are {', '.join(UNITS)}")
    try:
        # 1,046.1: a separator of thousands, where a decimal point shows that it is none itself.
        grams = Decimal(text.replace(",", "") if "." in text.rpartition(",")[2] else text) * scale
    except InvalidOperation:
        grams = Decimal("NaN")
    if not (grams.is_finite() and 0 <= grams * 1000 <= LARGEST_MG_PER_KWH):
        raise ConfigInvalid(
            f"{file} line {line}: {layout.value} is {text!r:.20} {unit}; a number in 0..2000 g/kWh is needed"
        )
    return mg_per_kwh_from_g(grams)
