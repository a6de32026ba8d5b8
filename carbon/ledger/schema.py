"""The SQLite tables of the ledger, version 2, and how a connection to them is set up."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BLOB,
    URL,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)

from greenserve.errors import LedgerUnavailable

VERSION = 2
BUSY_MS = 10_000
WRITES = "greenserve_writes"
"""Execution option of a connection: its transaction takes the write lock when it begins."""

metadata = MetaData()

entry = Table(
    "entry",
    metadata,
    Column("idx", Integer, primary_key=True),
    Column("period", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("body", BLOB, nullable=False),
    Column("chain", BLOB, nullable=False),
    UniqueConstraint("period", "kind", "key", "attempt", "revision"),
    Index("entry_by_tenant", "tenant", "hour", "idx"),
    sqlite_strict=True,
)
rollup = Table(
    "rollup",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("energy_uj", Integer, nullable=False),
    Column("emissions_ng", Integer, nullable=False),
    Column("unknown_uj", Integer, nullable=False),
    Column("unmetered", Integer, nullable=False),
    Column("provisional", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
spend = Table(
    "spend",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("grain", Integer, primary_key=True),
    Column("at", Integer, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("energy_uj", Integer, nullable=False),
    Column("emissions_ng", Integer, nullable=False),
    Column("unknown_uj", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
intake_cursor = Table(
    "intake_cursor",
    metadata,
    Column("spool", Text, primary_key=True),
    Column("offset", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
tenant = Table(
    "tenant",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_us", Integer, nullable=False),
    Column("closed_us", Integer),
    sqlite_strict=True,
)
api_key = Table(
    "api_key",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("label", Text),
    Column("hmac", BLOB, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_us", Integer, nullable=False),
    Column("expires_us", Integer),
    Column("revoked_us", Integer),
    Column("rules", Text, nullable=False, server_default="{}"),
    Column("replaced_by", Text),
    sqlite_strict=True,
)
budget = Table(
    "budget",
    metadata,
    Column("budget_id", Text, primary_key=True),
    Column("org", Text),
    Column("tenant_id", Text),
    Column("project", Text),
    Column("key_id", Text),
    Column("model", Text),
    Column("unit", Text, nullable=False),
    Column("amount", Integer, nullable=False),
    Column("per", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("at_pct", Integer, nullable=False),
    Column("raises", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("removed_us", Integer),
    sqlite_strict=True,
)
tenancy = Table(
    "tenancy",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
    sqlite_strict=True,
)


def open_engine(path: Path, *, must_exist: bool) -> Engine:
    """An engine whose connections are durable (WAL, synchronous FULL); makes the tables where there are none.

    LedgerUnavailable for a missing folder or file, another kind of file, or a newer version's tables.
    """
    if must_exist and not path.is_file():
        raise LedgerUnavailable(f"there is no ledger at {path}: `greenserve serve` or `tenant create` makes one")
    if not path.parent.is_dir():
        raise LedgerUnavailable(f"the folder {path.parent} of the ledger does not exist: create it, or set ledger.url")
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def create_tables(connection: Connection) -> None:
    """Make the tables of this version, inside the caller's write transaction, where there are none."""
    metadata.create_all(connection, checkfirst=False)
    for verb in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER entry_no_{verb.lower()} BEFORE {verb} ON entry BEGIN "
            f"SELECT RAISE(ABORT, 'the ledger is append-only: {verb} of an entry is refused'); END"
        )
    connection.execute(tenancy.insert().values(one=1, revision=0))
    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _set_up(driver: Any, _record: object) -> None:
    assert isinstance(driver, sqlite3.Connection)
    # Transactions are begun by `_begin`; the driver's own rule would begin them late and never immediately.
    driver.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", f"busy_timeout = {BUSY_MS}"):
        driver.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
