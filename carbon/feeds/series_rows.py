"""The rows of a recorded series as text, whichever kind of file holds them."""

import csv
import gzip
import importlib
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from greenserve.errors import ConfigInvalid, DependencyMissing

COLUMNS = ("timestamp_utc", "region", "carbon_intensity_gco2e_per_kwh")
PARQUET = ".parquet"


def rows_of(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells in the order of `COLUMNS`) of a CSV file (gzip where the name ends in .gz) or a Parquet file.

    ConfigInvalid where the file cannot be read or lacks a column; DependencyMissing where Parquet needs pyarrow.
    """
    return _parquet_rows(file) if file.suffix == PARQUET else _csv_rows(file)


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with _opened(file) as lines:
            rows = csv.reader(lines)
            header = tuple(next(rows, ()))
            if header != COLUMNS:
                raise ConfigInvalid(
                    f"{file} line 1: the columns are {','.join(header)!r}; they must be {','.join(COLUMNS)!r}"
                )
            yield from enumerate(rows, start=2)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise ConfigInvalid(f"{file} cannot be read as a CSV file of grid intensity: {error}") from None


def _opened(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


def _parquet_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        arrow = importlib.import_module("pyarrow")
    except ImportError:
        raise DependencyMissing(
            f"{file}: Parquet is read with pyarrow; install it with `pip install 'greenserve[parquet]'`, or give a CSV"
        ) from None
    try:
        with parquet.ParquetFile(file) as opened:
            missing = [name for name in COLUMNS if name not in opened.schema_arrow.names]
            if missing:
                raise ConfigInvalid(
                    f"{file}: the columns are {','.join(opened.schema_arrow.names)!r}; {','.join(COLUMNS)!r} are needed"
                )
            line = 0
            for batch in opened.iter_batches(columns=list(COLUMNS)):
                for cells in zip(*(batch.column(name).to_pylist() for name in COLUMNS), strict=True):
                    line += 1
                    yield line, [_text(cell) for cell in cells]
    except (OSError, arrow.ArrowException) as error:
        raise ConfigInvalid(f"{file} cannot be read as a Parquet file of grid intensity: {error}") from None


def _text(cell: Any) -> str:
    """A cell as a CSV file would have it; null becomes empty, which no column takes."""
    if cell is None:
        return ""
    return cell.isoformat() if isinstance(cell, datetime) else str(cell)
