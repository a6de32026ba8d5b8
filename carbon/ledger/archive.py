"""Archiving a closed month: its bodies to a Parquet file, and back."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from greenserve.carbon.archiving import archived_entry
from greenserve.carbon.entries import decode_entry
from greenserve.carbon.erasing import Leaves
from greenserve.carbon.late import month_text
from greenserve.carbon.ledger.archive_entries import ENTRIES, KINDS, ROWS, archived_bodies, gone_rows
from greenserve.carbon.ledger.archives import ROWS_PER_GROUP, Archives, archive_folder, archive_name, parquet, sha256_of
from greenserve.carbon.ledger.book import SqlLedger, append_with, driver_of
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.packing import packed
from greenserve.carbon.ledger.rewriting import overwrite, rewriting
from greenserve.carbon.ledger.row import Row, prepare, salt_of
from greenserve.carbon.ledger.rows import tile_reader
from greenserve.carbon.ledger.tiles import Tiles
from greenserve.errors import InvalidRequest, LedgerUnavailable
from greenserve.records import Entry

_OF_MONTH = f"{ROWS} WHERE period = ? AND kind IN ({KINDS}) AND idx < ? AND body IS NOT NULL ORDER BY idx"
_UNSETTLED = (
    "SELECT count(*) FROM entry AS first WHERE first.period = ? AND first.kind = 'usage' AND first.revision = 0 "
    "AND first.idx < ? AND NOT EXISTS (SELECT 1 FROM entry AS later WHERE later.period = first.period "
    "AND later.kind = 'usage' AND later.key = first.key AND later.attempt = first.attempt AND later.revision = 1)"
)
_INTERVALS = (
    "SELECT idx, body FROM entry WHERE period = ? AND kind = 'device_interval' AND body IS NOT NULL ORDER BY idx"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What moving a month does: its entry, how many bodies, how many bytes they had, the file."""

    entry: Entry
    bodies: int
    size_bytes: int
    path: Path


def archive(ledger: SqlLedger, month: int, *, actor: str | None, now_us: int, dry_run: bool = False) -> Archived:
    """Move the bodies of a closed month's requests and intervals to its file, and write the `archived` entry.

    The file is written, synced and read back against the tree before any body goes. The month's newest interval of each
    device stays: a later writer may go on from it. No writer may run meanwhile. InvalidRequest for a month that is not
    closed, archived already or has requests that are not settled; with `dry_run` only what would be moved.
    """
    archives, path = ledger.archives, ledger.archives.path(month)
    if dry_run:
        with ledger.reading() as connection:
            return _moved(driver_of(connection), month, path, actor=actor, now_us=now_us, write=False)
    lock = ledger.lock_writer()
    try:
        with rewriting(ledger) as connection:
            driver = driver_of(connection)
            archives.forget(month)
            found = _moved(driver, month, path, actor=actor, now_us=now_us, write=True)
            indices = list(_indices(driver, month))
            _check_file(driver, archives, month)
            driver.many("UPDATE entry SET body = NULL WHERE idx = ?", [(idx,) for idx in indices])
            append_with(connection, [prepare(found.entry)])
        overwrite(ledger)
    finally:
        lock.release()
    return found


def restore(ledger: SqlLedger, month: int, *, actor: str | None, now_us: int) -> Archived:
    """Take an archived month's bodies back from its file, each checked against its hash in the tree; the file stays.

    InvalidRequest for a month that is not archived, LedgerUnavailable for a file that is not there or was changed.
    """
    archives, path = ledger.archives, ledger.archives.path(month)
    newest = dict(newest_archives(ledger)).get(month)
    if newest is None or newest.body["sha256"] is None:
        raise InvalidRequest(f"{month_text(month)} is not archived")
    lock = ledger.lock_writer()
    try:
        with rewriting(ledger) as connection:
            driver = driver_of(connection)
            archives.forget(month)
            rows = archives.fill(gone_rows(driver, month))
            _check_rows(driver, rows, str(path))
            driver.many("UPDATE entry SET body = ? WHERE idx = ?", _kept(rows))
            entry = archived_entry(
                month, Leaves(), file=path.name, sha256=None, revision=newest.revision + 1, at_us=now_us, actor=actor
            )
            append_with(connection, [prepare(entry)])
    finally:
        lock.release()
    return Archived(entry=entry, bodies=len(rows), size_bytes=sum(len(row.body or b"") for row in rows), path=path)


def _kept(rows: Sequence[Row]) -> list[tuple[bytes | None, int]]:
    return [(None if row.body is None else packed(row.body), row.idx) for row in rows]


def newest_archives(ledger: SqlLedger) -> list[tuple[int, Entry]]:
    """The newest `archived` entry of each month, in order of month."""
    newest = {entry.body["period"]: entry for _, entry in entries_of_kind(ledger, "archived")}
    return [(int(str(month)), entry) for month, entry in sorted(newest.items(), key=lambda one: str(one[0]))]


def files_left(ledger: SqlLedger) -> list[Path]:
    """Files in the archive's folder of months whose bodies are in the tables: an erasure does not reach them."""
    told = {ledger.archives.path(month) for month, entry in newest_archives(ledger) if entry.body["sha256"] is not None}
    return sorted(set(archive_folder(ledger.path).glob("*")) - told)


def entries_of_kind(ledger: SqlLedger, kind: str) -> list[tuple[int, Entry]]:
    """Entries of a kind that belongs to no month, with their indices, in order."""
    found = ledger.query(ENTRIES, (kind,))
    return [(idx, decode_entry(bytes(body))) for idx, body in found if body is not None]


def _moved(driver: Driver, month: int, path: Path, *, actor: str | None, now_us: int, write: bool) -> Archived:
    before = archived_bodies(driver).get(month)
    if before is not None and before[1]["sha256"] is not None:
        raise InvalidRequest(f"{month_text(month)} is archived already, in {path}")
    waiting = driver.all(_UNSETTLED, (month, _closing(driver, month)))[0][0]
    if waiting:
        raise InvalidRequest(
            f"{waiting} requests that were made in {month_text(month)} are not settled, and the writer needs their "
            "lines for that: start the gateway once and stop it, then archive"
        )
    leaves, size = Leaves(), 0
    with _Writer(path) if write else _Nothing() as file:
        for row in _rows_to_move(driver, month):
            leaves.take((row.idx, row.period, row.kind, row.key, row.attempt, row.revision, row.hour))
            size += len(row.body or b"")
            file.add(row)
    entry = archived_entry(
        month,
        leaves,
        file=archive_name(month),
        sha256=sha256_of(path) if write else None,
        revision=0 if before is None else before[1]["revision"] + 1,
        at_us=now_us,
        actor=actor,
    )
    return Archived(entry=entry, bodies=leaves.count, size_bytes=size, path=path)


def _rows_to_move(driver: Driver, month: int) -> Iterator[Row]:
    closing = _closing(driver, month)
    stay = _newest_intervals(driver, month)
    for values in driver.each(_OF_MONTH, (month, closing)):
        row = Row._make(values)
        if row.idx not in stay:
            yield row._replace(key=bytes(row.key), body=bytes(row.body or b""))


def _indices(driver: Driver, month: int) -> Iterator[int]:
    return (row.idx for row in _rows_to_move(driver, month))


def _closing(driver: Driver, month: int) -> int:
    """The index of the entry that closed a month: what comes later is late, and counts elsewhere."""
    for idx, data in driver.all(ENTRIES, ("period",)):
        if orjson.loads(bytes(data))["period"] == month:
            return int(idx)
    raise InvalidRequest(f"{month_text(month)} is not closed: `greenserve ledger close {month_text(month)}` does that")


def _newest_intervals(driver: Driver, month: int) -> frozenset[int]:
    """The month's newest interval of each device."""
    found: dict[str, int] = {}
    for idx, data in driver.each(_INTERVALS, (month,)):
        found[orjson.loads(bytes(data))["device"]] = idx
    return frozenset(found.values())


def _check_file(driver: Driver, archives: Archives, month: int) -> None:
    """LedgerUnavailable where the file just written does not give the tree's hashes."""
    group: list[Row] = []
    for row in _rows_to_move(driver, month):
        group.append(row._replace(body=None))
        if len(group) == ROWS_PER_GROUP:
            _check_rows(driver, archives.fill(group), str(archives.path(month)))
            group = []
    _check_rows(driver, archives.fill(group), str(archives.path(month)))


def _check_rows(driver: Driver, rows: Sequence[Row], name: str) -> None:
    tiles = Tiles(tile_reader(driver))
    salts = {tenant: bytes(salt) for tenant, salt in driver.all("SELECT tenant, salt FROM tenant_salt")}
    for row in rows:
        salt = salt_of(salts[row.tenant], row.kind, row.key, row.attempt, row.revision)
        if leaf_hash(salt, row.body or b"") != tiles.node(0, row.idx):
            raise LedgerUnavailable(
                f"{name}: entry {row.idx} is not what the tree has: the file or the disk is damaged"
            )


class _Writer:
    """Writes a month's file beside its place, and puts it there once it is whole. State: the rows of a group."""

    def __init__(self, path: Path) -> None:
        self._path, self._draft = path, path.with_suffix(".part")
        self._group: list[Row] = []
        self._open: Callable[[], Any] = parquet
        self._file: Any = None

    def __enter__(self) -> "_Writer":
        pq = self._open()
        import pyarrow as pa

        columns = {"idx": pa.int64(), "kind": pa.string(), "key": pa.binary(16), "attempt": pa.int32()}
        columns |= {"revision": pa.int32(), "tenant": pa.string(), "hour": pa.int64(), "body": pa.binary()}
        self._schema = pa.schema(list(columns.items()))
        self._table = pa.Table
        with self._mapped():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._draft, self._schema, compression="zstd")
        return self

    def add(self, row: Row) -> None:
        """The next row."""
        self._group.append(row)
        if len(self._group) == ROWS_PER_GROUP:
            self._flush()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._finish()
            else:
                with suppress(OSError):
                    self._file.close()
        finally:
            self._clear()

    def _clear(self) -> None:
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._group:
            self._flush()
        with self._mapped():
            self._file.close()
            with self._draft.open("rb+") as file:
                os.fsync(file.fileno())
            self._draft.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._clear()
            raise LedgerUnavailable(f"{self._path} cannot be written ({error}): free disk space, or mend it") from None

    def _flush(self) -> None:
        names = self._schema.names
        members = [{name: getattr(row, name) for name in names} for row in self._group]
        table = self._table.from_pylist(members, schema=self._schema)
        with self._mapped():
            self._file.write_table(table, row_group_size=ROWS_PER_GROUP)
        self._group = []


class _Nothing:
    """Writes nothing: for a dry run."""

    def __enter__(self) -> "_Nothing":
        return self

    def add(self, row: Row) -> None:
        """The next row."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Nothing to end."""
