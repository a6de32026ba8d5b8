"""FOCUS 1.2 as CSV, for tools of cost management: the rows of all lines sum to the statement's totals.

A statement that replaces another has the old figures as rows and the differences as rows of class Correction, so a
reader who loaded the old one adds the corrections alone.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from greenserve.carbon.formats.cells import safe_text
from greenserve.carbon.formats.mapping import mapping_file, value_of
from greenserve.carbon.revision import CORRECTED
from greenserve.carbon.statement_document import BREAKDOWN
from greenserve.records import Statement

MAPPING = "focus.yaml"
HUNDRED = 100


def render(statement: Statement) -> bytes:
    """RFC 4180 CSV in UTF-8 with the columns of the mapping file; null is an empty cell, as FOCUS has it."""
    columns: Mapping[str, Any] = mapping_file(MAPPING)["columns"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    for context in contexts(statement.document):
        writer.writerow([_cell(value_of(spec, context)) for spec in columns.values()])
    return file.getvalue().encode()


def contexts(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Statement, line and row of every CSV row: usage as it was told before, then what has been corrected since."""
    changed: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in document["corrections"]:
        changed.setdefault(tuple(one[name] for name in BREAKDOWN), {})[one["figure"]] = one
    lines = {tuple(line[name] for name in BREAKDOWN): line for line in document["breakdown"]}
    for key, line in lines.items():
        differences = changed.get(key, {})
        figures = {name: _told(differences.get(name), line[name]) for name in CORRECTED}
        yield _context(document, line, figures, charge_class=None)
    for key, differences in changed.items():
        gone: Mapping[str, Any] = dict.fromkeys(("tier", "energy_low_joules", "energy_high_joules", *CORRECTED))
        line = lines.get(key) or {**dict(zip(BREAKDOWN, key, strict=True)), **gone}
        if key not in lines:
            was = {name: differences[name]["old"] if name in differences else None for name in CORRECTED}
            yield _context(document, line, was, charge_class=None)
        yield _context(document, line, _difference(differences, line), charge_class="Correction")


def _told(difference: Mapping[str, Any] | None, now: Any) -> Any:
    """What the statement before told; null where the figure is unknown now, or a sum would count what is withdrawn."""
    return now if difference is None or now is None else difference["old"]


def _difference(differences: Mapping[str, Mapping[str, Any]], line: Mapping[str, Any]) -> dict[str, Any]:
    """A figure that was unknown and is known now is a correction by all of it; one that became unknown has none."""
    figures: dict[str, Any] = {name: None if line[name] is None else "0" for name in CORRECTED}
    for name, one in differences.items():
        figures[name] = one["new"] if one["old"] is None else one["difference"]
    return figures


def _context(
    document: Mapping[str, Any], line: Mapping[str, Any], figures: Mapping[str, Any], *, charge_class: str | None
) -> dict[str, Any]:
    start = date.fromisoformat(line["day"])
    row = dict(figures) | {
        "charge_class": charge_class,
        "what": "Correction of the energy" if charge_class else "Energy",
        "day_start": f"{start.isoformat()}T00:00:00Z",
        "day_end": f"{(start + timedelta(days=1)).isoformat()}T00:00:00Z",
        "watermark": ", ".join(mark["mark"] for mark in document["watermarks"]) or None,
        "uncertainty_pct": _uncertainty(line),
    }
    return {"statement": document, "line": line, "row": row}


def _uncertainty(line: Mapping[str, Any]) -> str | None:
    """Half width of the 90 % range of the energy in percent; None without energy."""
    if not line["energy_joules"] or not Decimal(line["energy_joules"]):
        return None
    half = (Decimal(line["energy_high_joules"]) - Decimal(line["energy_low_joules"])) / 2
    return f"{(HUNDRED * half / Decimal(line['energy_joules'])).quantize(Decimal('0.01')):f}"


def _cell(value: object) -> str:
    return "" if value is None else safe_text(str(value))
