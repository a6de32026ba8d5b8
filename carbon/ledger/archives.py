"""The files of archived months: bodies by index, read where the ledger's rows lack theirs."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from greenserve.carbon.late import month_text
from greenserve.carbon.ledger.row import Row
from greenserve.carbon.removed_keys import is_erased
from greenserve.errors import DependencyMissing, LedgerUnavailable

ROWS_PER_GROUP = 5_000
"""Rows that are read together: a receipt touches one group, and a fold never holds more."""
_COLUMNS = ("idx", "body")
Values = Sequence[Any]


def archive_folder(ledger: Path) -> Path:
    """Where the files of a ledger's archived months lie."""
    return ledger.with_name(ledger.name + ".archive")


def archive_name(month: int) -> str:
    """A month's file in that folder."""
    return f"{month_text(month)}.parquet"


class Archives:
    """Reads bodies from a ledger's archive. State: per month the newest group of rows that was read, by index."""

    def __init__(self, ledger: Path) -> None:
        self._folder = archive_folder(ledger)
        self._files: dict[int, Any] = {}
        self._groups: dict[int, tuple[int, dict[int, bytes]]] = {}

    def __repr__(self) -> str:
        return f"<Archives in {self._folder}>"

    def path(self, month: int) -> Path:
        """A month's file, whether it is there or not."""
        return self._folder / archive_name(month)

    def forget(self, month: int) -> None:
        """The month's file was written or removed."""
        self._files.pop(month, None)
        self._groups.pop(month, None)

    def fill(self, rows: Iterable[Row]) -> list[Row]:
        """The rows with the bodies that lie in files; erased ones stay without. LedgerUnavailable names a file that is
        not there or does not hold a row."""
        return [self._filled(row) if _is_archived(row) else row for row in rows]

    def fill_values(self, rows: Sequence[Values]) -> Sequence[Values]:
        """As `fill` for plain tuples, and rows whose file is not there stay as they are."""
        if all(row[8] is not None for row in rows):
            return rows
        return [self._filled(Row._make(row)) if self._is_there(row) else row for row in rows]

    def _is_there(self, values: Values) -> bool:
        row = Row._make(values)
        return _is_archived(row) and self.path(row.period).is_file()

    def _filled(self, row: Row) -> Row:
        body = self._body(row)
        if body is None:
            raise LedgerUnavailable(
                f"{self.path(row.period)} does not hold entry {row.idx}: put back the file that `greenserve ledger "
                "archive` wrote"
            )
        return row._replace(body=body)

    def _body(self, row: Row) -> bytes | None:
        month = row.period
        if month not in self._files:
            self._files[month] = self._open(row)
        file = self._files[month]
        number, bodies = self._groups.get(month, (-1, {}))
        if row.idx not in bodies:
            found = _group_of(file, row.idx, number)
            if found is None:
                return None
            table = self._read(row, lambda: file.read_row_group(found, columns=list(_COLUMNS)).to_pydict())
            bodies = dict(zip(table["idx"], table["body"], strict=True))
            self._groups[month] = (found, bodies)
        return bodies.get(row.idx)

    def _open(self, row: Row) -> Any:
        pq = parquet()
        return self._read(row, lambda: pq.ParquetFile(self.path(row.period)))

    def _read(self, row: Row, read: Callable[[], Any]) -> Any:
        # What pyarrow raises for a file that is no Parquet file, or was damaged, is a ValueError or an OSError.
        try:
            return read()
        except (OSError, ValueError) as error:
            words = " ".join(str(error).split())
            raise LedgerUnavailable(
                f"entry {row.idx} is archived in {self.path(row.period)}, which cannot be read ({words}): "
                "put the file back"
            ) from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parquet() -> Any:
    """pyarrow's module for Parquet; DependencyMissing."""
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise DependencyMissing(
            "archived months are Parquet files, which need pyarrow: `pip install 'greenserve[parquet]'`"
        ) from None
    return pq


def _is_archived(row: Row) -> bool:
    return row.body is None and row.period > 0 and not is_erased(row.tenant)


def _group_of(file: Any, idx: int, newest: int) -> int | None:
    """The group whose bounds hold an index; the one behind the newest is looked at first. None where none does."""
    count = file.metadata.num_row_groups
    for number in (newest + 1, *range(count)):
        if number < count:
            told = file.metadata.row_group(number).column(0).statistics
            if told is not None and told.min <= idx <= told.max:
                return int(number)
    return None
