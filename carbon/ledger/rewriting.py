"""The one way past the append-only rules: for `erased` and `archived` entries, inside the transaction that writes them.

Afterwards `overwrite` makes sure that what was removed is not in the database's pages any more.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.postgres_tables import confine, confined
from greenserve.errors import LedgerUnavailable

_TRIGGER = "entry_no_update"
_TABLES = ("entry", "rollup", "spend", "tenant", "api_key", "budget", "tenant_salt")


@contextmanager
def rewriting(ledger: SqlLedger) -> Iterator[Connection]:
    """As `SqlLedger.writing`, and the rows of `entry` may be changed until the block ends: with the transaction the
    rules are back, whether it is committed or undone. LedgerUnavailable for an account that does not own the tables."""
    with ledger.writing() as connection:
        if ledger.is_sqlite:
            found = connection.execute(
                text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = :name"), {"name": _TRIGGER}
            ).scalar()
            if found is None:
                raise LedgerUnavailable(
                    f"the ledger {ledger.path} lacks the trigger that refuses changes: run `greenserve ledger verify`, "
                    "and restore the file from the backup"
                )
            connection.exec_driver_sql(f"DROP TRIGGER {_TRIGGER}")
            yield connection
            connection.exec_driver_sql(str(found))
            return
        role = confined(connection)
        connection.exec_driver_sql("RESET ROLE")
        _own(connection)
        connection.exec_driver_sql("ALTER TABLE entry DISABLE TRIGGER entry_append_only")
        yield connection
        connection.exec_driver_sql("ALTER TABLE entry ENABLE TRIGGER entry_append_only")
        if role:
            confine(connection)


def overwrite(ledger: SqlLedger) -> None:
    """Write the database's pages anew without what was removed from them, and empty SQLite's log: takes a while, and
    as much space again. LedgerUnavailable where another process reads at that moment."""
    with ledger.reading() as connection:
        engine = connection.engine
    try:
        if ledger.is_sqlite:
            _vacuum_file(ledger, engine)
        else:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("RESET ROLE")
                for table in _TABLES:
                    connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
    except DBAPIError as error:
        raise _unfinished(str(error.orig)) from error


def _vacuum_file(ledger: SqlLedger, engine: Engine) -> None:
    raw = engine.raw_connection()
    try:
        inner = raw.driver_connection
        assert inner is not None
        try:
            inner.execute("PRAGMA secure_delete = ON").close()
            inner.execute("VACUUM").close()
            busy, *_ = inner.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise _unfinished(str(error)) from error
        if busy:
            raise _unfinished(f"another process reads {ledger.path}")
    finally:
        raw.close()


def _unfinished(reason: str) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"the bodies are removed, but old pages of the database may still hold them ({reason}): end whatever else has "
        "the ledger open, and run `greenserve ledger erase --overwrite`"
    )


def _own(connection: Connection) -> None:
    owner = connection.exec_driver_sql(
        "SELECT tableowner FROM pg_tables WHERE tablename = 'entry' AND schemaname = current_schema() "
        "AND NOT pg_has_role(tableowner, 'MEMBER')"
    ).scalar()
    if owner is not None:
        raise LedgerUnavailable(
            f"only {owner}, who owns the ledger's tables, may remove bodies: run this command with that account in "
            "ledger.url"
        )
