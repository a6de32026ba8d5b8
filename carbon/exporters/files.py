"""A report as a file that is whole at any time: JSON, or CSV with a row for each sample."""

import csv
import io
import json
import os
from pathlib import Path

from greenserve.carbon.tracked import CarbonReport, csv_rows


def replace_file(file: Path, text: str) -> None:
    """Write `text` so that a reader and a crash meet the old file or the new one. OSError where that fails."""
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, file)


class JsonFile:
    """The report as one JSON document, `greenserve.carbon-track/1`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __repr__(self) -> str:
        return f"<JsonFile {self._file}>"

    def write(self, report: CarbonReport) -> None:
        """Write the file anew."""
        replace_file(self._file, json.dumps(document_of(report), indent=2) + "\n")

    def close(self) -> None:
        """Nothing is open."""


class CsvFile:
    """The samples as rows; what is unknown is an empty cell."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __repr__(self) -> str:
        return f"<CsvFile {self._file}>"

    def write(self, report: CarbonReport) -> None:
        """Write the file anew: a provider may have told an earlier sample's intensity meanwhile."""
        rows = io.StringIO()
        csv.writer(rows, lineterminator="\n").writerows(csv_rows(report))
        replace_file(self._file, rows.getvalue())

    def close(self) -> None:
        """Nothing is open."""


def document_of(report: CarbonReport) -> dict[str, object]:
    """The report under its schema."""
    return {"schema": "greenserve.carbon-track/1"} | report.as_dict()
