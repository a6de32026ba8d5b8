"""The ledger in one SQLite file."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.lock import WriterLock
from greenserve.carbon.ledger.upgrade import bring_up
from greenserve.clock import SystemClock
from greenserve.errors import LedgerUnavailable
from greenserve.ports import Clock

__all__ = ["SqliteLedger", "driver_of"]


class SqliteLedger(SqlLedger):
    """Entries in SQLite (WAL, synchronous FULL). State: the file alone; any number of processes may hold it open."""

    def __init__(self, path: Path, *, must_exist: bool = False, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        super().__init__(engine=schema.open_engine(path, must_exist=must_exist), path=path, clock=clock)
        if self._version() != schema.VERSION:
            with self.writing() as connection:
                bring_up(connection, path, secrets.token_hex(8), clock.unix_us)

    def lock_writer(self) -> WriterLock:
        """Keep other writers out until released; LedgerUnavailable names who holds it."""
        return WriterLock(self.path)

    def stored_bytes(self) -> int:
        """How large the ledger is on disk [bytes]."""
        return self.path.stat().st_size

    def _version(self) -> int:
        return int(self.query("PRAGMA user_version")[0][0])

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise LedgerUnavailable(
                f"the ledger {self.path} failed ({cause}): check the disk's space and the file's permissions"
            ) from error
