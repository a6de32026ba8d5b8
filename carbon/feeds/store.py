"""Readings on disk: what one process of a node fetched, all read, and the next start still has."""

import fcntl
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenserve.carbon.feeds.live import KEPT_US
from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.records import IntensityReading

SCHEMA_VERSION = 1
BUSY_S = 5.0
STORE_SUFFIX = ".grid"
_COLUMNS = (
    "zone, start_us, end_us, mg_per_kwh, basis, kind, origin, provider, retrieved_us, scope, model, observed_us, "
    "revision, raw_sha256"
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS reading (
  source TEXT NOT NULL, forecast INTEGER NOT NULL, turn INTEGER NOT NULL,
  zone TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, mg_per_kwh INTEGER NOT NULL,
  basis TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL, provider TEXT NOT NULL, retrieved_us INTEGER NOT NULL,
  scope TEXT, model TEXT, observed_us INTEGER, revision INTEGER NOT NULL, raw_sha256 TEXT,
  PRIMARY KEY (source, zone, basis, kind, forecast, start_us)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reading_by_turn ON reading (turn);
CREATE TABLE IF NOT EXISTS errand (
  source TEXT NOT NULL, zone TEXT NOT NULL, signal TEXT NOT NULL, what TEXT NOT NULL,
  failures INTEGER NOT NULL, ok_us INTEGER, error TEXT, due_us INTEGER NOT NULL,
  PRIMARY KEY (source, zone, signal, what)) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrandState:
    """How asking stands: failures in a row, when it last worked [us UTC], what went wrong last, when it is due."""

    source: str
    zone: str
    signal: str
    what: str
    failures: int
    ok_us: int | None
    error: str | None
    due_us: int


class ReadingStore:
    """An SQLite file beside the ledger. It holds nothing that cannot be fetched again, and never a key.

    Raises ConfigInvalid where the file cannot be opened. Blocking: call it from a thread.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._database = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                self._database.executescript("DROP TABLE IF EXISTS reading; DROP TABLE IF EXISTS errand;")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ConfigInvalid(
                f"{file} cannot be used as the store of grid readings ({error}); delete it, it is filled again"
            ) from None
        self._turn = 0

    def __repr__(self) -> str:
        return f"<ReadingStore {self._file}>"

    def put(
        self, source: str, readings: Sequence[IntensityReading], states: Iterable[ErrandState], now_us: int
    ) -> None:
        """Keep new and changed readings of a source, and how its errands stand; what is too old goes. One transaction.

        sqlite3.Error where the disk does not take it.
        """
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                (turn,) = cursor.execute("SELECT coalesce(max(turn), 0) + 1 FROM reading").fetchone()
                cursor.executemany(
                    f"INSERT OR REPLACE INTO reading (source, forecast, turn, {_COLUMNS}) "
                    f"VALUES ({', '.join('?' * 17)})",
                    [_row(source, turn, reading) for reading in readings],
                )
                cursor.executemany(
                    "INSERT OR REPLACE INTO errand VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (one.source, one.zone, one.signal, one.what, one.failures, one.ok_us, one.error, one.due_us)
                        for one in states
                    ],
                )
                # The newest turn stays in the table, so turns never repeat.
                cursor.execute("DELETE FROM reading WHERE start_us < ? AND turn < ?", (now_us - KEPT_US, turn))
                cursor.execute("COMMIT")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise

    def news(self) -> dict[str, list[IntensityReading]]:
        """By source, the readings that were put since the last call, by whichever process."""
        found: defaultdict[str, list[IntensityReading]] = defaultdict(list)
        rows = self._database.execute(
            f"SELECT source, turn, {_COLUMNS} FROM reading WHERE turn > ? ORDER BY turn", (self._turn,)
        ).fetchall()
        for source, turn, *members in rows:
            found[source].append(_reading(members))
            self._turn = max(self._turn, turn)
        return dict(found)

    def states(self) -> list[ErrandState]:
        """How all errands stand."""
        rows = self._database.execute(
            "SELECT source, zone, signal, what, failures, ok_us, error, due_us FROM errand ORDER BY 1, 2, 3, 4"
        ).fetchall()
        names = ("source", "zone", "signal", "what", "failures", "ok_us", "error", "due_us")
        return [ErrandState(**dict(zip(names, row, strict=True))) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def readings_between(database: sqlite3.Connection, start_us: int, end_us: int) -> list[IntensityReading]:
    """The readings in a store's file whose slots touch [start_us, end_us) UTC, without forecasts, in order of time;
    sqlite3.Error for another file."""
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM reading WHERE forecast = 0 AND start_us < ? AND end_us > ? "
        "ORDER BY start_us, zone, basis, source",
        (end_us, start_us),
    )
    return [_reading(members) for members in rows]


def store_file(config: Config) -> Path:
    """Where what providers told is kept: beside the ledger."""
    return store_beside(config.ledger.path)


def store_beside(ledger: Path) -> Path:
    """The file that keeps what providers told to the gateways of a ledger."""
    return ledger.with_name(ledger.name + STORE_SUFFIX)


class PollingRight:
    """The right to ask providers for this node: a lock on a file, which the kernel drops with the process."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.held = False

    def __repr__(self) -> str:
        return f"<PollingRight {'held' if self.held else 'not held'}>"

    def take(self) -> bool:
        """Whether this process has it now; it keeps it until `release`."""
        if not self.held:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.held = True
            except BlockingIOError:
                return False
        return True

    def release(self) -> None:
        """Let another process ask."""
        os.close(self._descriptor)
        self.held = False


def _row(source: str, turn: int, reading: IntensityReading) -> tuple[object, ...]:
    return (
        source,
        int(reading.origin == "forecast"),
        turn,
        *(getattr(reading, name) for name in _COLUMNS.split(", ")),
    )


def _reading(members: Sequence[object]) -> IntensityReading:
    known: dict[str, Any] = dict(zip(_COLUMNS.split(", "), members, strict=True))
    return IntensityReading(**known)
