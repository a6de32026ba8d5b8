"""Read recorded arrivals from a CSV file, plain or gzip."""

import csv
import gzip
from pathlib import Path

from greenserve.errors import InvalidRequest

COLUMN = "offset_s"


def read_trace(file: str) -> tuple[float, ...]:
    """The column `offset_s` [s], rising; raises InvalidRequest that names file and line."""
    path = Path(file)
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
            rows = csv.DictReader(lines)
            if COLUMN not in (rows.fieldnames or ()):
                raise InvalidRequest(f"{path}: needs a column {COLUMN!r}, has {', '.join(rows.fieldnames or ())}")
            offsets_s = []
            for row in rows:
                offsets_s.append(_offset(row[COLUMN], path, rows.line_num))
                if len(offsets_s) > 1 and offsets_s[-1] < offsets_s[-2]:
                    raise InvalidRequest(f"{path}:{rows.line_num}: {COLUMN} falls; arrivals must rise")
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read ({error}); give a CSV file with a column {COLUMN}") from None
    if len(offsets_s) < 2 or offsets_s[-1] <= offsets_s[0]:
        raise InvalidRequest(f"{path}: needs at least two arrivals at different times, has {len(offsets_s)}")
    return tuple(offsets_s)


def _offset(text: str | None, path: Path, line: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InvalidRequest(f"{path}:{line}: {COLUMN} is {text!r}; a number of seconds >= 0 is needed")
    return value
