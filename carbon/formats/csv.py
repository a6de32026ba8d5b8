"""A spreadsheet: one line per day, model, variant and region, then the total; the unit stands in the column's name."""

import csv
import io

from greenserve.carbon.formats.cells import known, safe_text
from greenserve.carbon.formats.reading_order import in_reading_order
from greenserve.carbon.statement_document import BREAKDOWN
from greenserve.records import Statement


def render(statement: Statement) -> bytes:
    """RFC 4180 CSV in UTF-8; what is not known is the word `unknown`, never 0."""
    document = in_reading_order(statement.document)
    totals = document["totals"]
    about = {
        "statement_id": document["statement_id"],
        "version": document["version"],
        "tenant": document["tenant"],
        "method": document["method"],
        "watermark": ", ".join(mark["mark"] for mark in document["watermarks"]) or "none",
    }
    file = io.StringIO()
    writer = csv.DictWriter(file, ["line", *about, *BREAKDOWN, *totals], lineterminator="\r\n")
    writer.writeheader()
    for line in document["breakdown"]:
        writer.writerow({"line": "breakdown"} | about | {name: safe_text(known(value)) for name, value in line.items()})
    whole = dict.fromkeys(BREAKDOWN, "all")
    writer.writerow({"line": "total"} | about | whole | {name: known(value) for name, value in totals.items()})
    return file.getvalue().encode()
