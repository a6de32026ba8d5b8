"""A spreadsheet: one line per day, model, variant and region, then the total; the unit stands in the column's name."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from greenserve.carbon.statement import BREAKDOWN
from greenserve.records import Statement

UNKNOWN = "unknown"


def render(statement: Statement) -> bytes:
    """RFC 4180 CSV in UTF-8; what is not known is the word `unknown`, never 0."""
    document: Mapping[str, Any] = statement.document
    totals = document["totals"]
    columns = ["line", "statement_id", "tenant", *BREAKDOWN, *totals]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\r\n")
    writer.writeheader()
    common = {"statement_id": document["statement_id"], "tenant": document["tenant"]}
    for line in document["breakdown"]:
        writer.writerow({"line": "breakdown"} | common | {name: _cell(value) for name, value in line.items()})
    whole = dict.fromkeys(BREAKDOWN, "all")
    writer.writerow({"line": "total"} | common | whole | {name: _cell(value) for name, value in totals.items()})
    return file.getvalue().encode()


def _cell(value: object) -> str:
    text = UNKNOWN if value is None else str(value)
    # A leading sign of a formula would be run by spreadsheets: tenant-chosen names stay text.
    return f"'{text}" if text[:1] in {"=", "+", "@"} else text
