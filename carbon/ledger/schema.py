"""The tables of the ledger, version 4, and how a connection to a SQLite file of them is set up."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)

from greenserve.errors import LedgerUnavailable
from greenserve.units import MILLI

VERSION = 4
"""Format 4 keeps the lines of requests packed (`packing.stored`); rows of format 3 stay as they are in it."""
BUSY_MS = 10_000
_PACE = ("wal_autocheckpoint = 8000", "cache_size = -32000")
"""A group of entries touches the same index pages again and again: they are copied out of the log once in 32 MB."""
WRITES = "greenserve_writes"
"""Execution option of a connection: its transaction takes the write lock when it begins."""
READS = "greenserve_reads"
"""Execution option of a connection: all queries of its transaction see one state."""

metadata = MetaData()
Word = Text().with_variant(Text(collation="C"), "postgresql")
"""Text in the order of its bytes, wherever it is kept."""
Wide = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits; SQLite's integers all are."""

entry = Table(
    "entry",
    metadata,
    Column("idx", Wide, primary_key=True, autoincrement=False),
    Column("period", Integer, nullable=False),
    Column("kind", Word, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("tenant", Word, nullable=False),
    Column("hour", Wide, nullable=False),
    Column("body", LargeBinary),
    UniqueConstraint("period", "kind", "key", "attempt", "revision"),
    Index("entry_by_tenant", "tenant", "hour", "idx"),
    sqlite_strict=True,
)
tile = Table(
    "tile",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("pos", Wide, primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", Wide, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Word, nullable=False),
    Column("at_us", Wide, nullable=False),
    sqlite_strict=True,
)
signer = Table(
    "signer",
    metadata,
    Column("verifier", Word, primary_key=True),
    Column("since", Wide, nullable=False),
    sqlite_strict=True,
)
tenant_salt = Table(
    "tenant_salt",
    metadata,
    Column("tenant", Word, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    sqlite_strict=True,
)
origin = Table(
    "origin",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("name", Word, nullable=False),
    Column("chained", Wide, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    sqlite_strict=True,
)
writer = Table(
    "writer",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("epoch", Wide, nullable=False),
    Column("holder", Word, nullable=False),
    sqlite_strict=True,
)
rollup = Table(
    "rollup",
    metadata,
    Column("tenant", Word, primary_key=True),
    Column("key_id", Word, primary_key=True),
    Column("hour", Wide, primary_key=True),
    Column("model", Word, primary_key=True),
    Column("variant", Word, primary_key=True),
    Column("region", Word, primary_key=True),
    Column("role", Word, primary_key=True),
    Column("requests", Wide, nullable=False),
    Column("energy_uj", Wide, nullable=False),
    Column("emissions_ng", Wide, nullable=False),
    Column("unknown_uj", Wide, nullable=False),
    Column("unmetered", Wide, nullable=False),
    Column("provisional", Wide, nullable=False),
    Column("tally", LargeBinary, nullable=False),
    Index("rollup_by_time", "tenant", "hour"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
spend = Table(
    "spend",
    metadata,
    Column("subject", Word, primary_key=True),
    Column("grain", Integer, primary_key=True),
    Column("at", Wide, primary_key=True),
    Column("requests", Wide, nullable=False),
    Column("tokens", Wide, nullable=False),
    Column("energy_uj", Wide, nullable=False),
    Column("emissions_ng", Wide, nullable=False),
    Column("unknown_uj", Wide, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
intake_cursor = Table(
    "intake_cursor",
    metadata,
    Column("spool", Word, primary_key=True),
    Column("offset", Wide, nullable=False),
    Column("sequence", Wide, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
tenant = Table(
    "tenant",
    metadata,
    Column("tenant_id", Word, primary_key=True),
    Column("name", Word, nullable=False),
    Column("settings", Word, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_us", Wide, nullable=False),
    Column("closed_us", Wide),
    sqlite_strict=True,
)
api_key = Table(
    "api_key",
    metadata,
    Column("key_id", Word, primary_key=True),
    Column("tenant_id", Word, nullable=False),
    Column("label", Word),
    Column("hmac", LargeBinary, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_us", Wide, nullable=False),
    Column("expires_us", Wide),
    Column("revoked_us", Wide),
    Column("rules", Word, nullable=False, server_default="{}"),
    Column("replaced_by", Word),
    sqlite_strict=True,
)
budget = Table(
    "budget",
    metadata,
    Column("budget_id", Word, primary_key=True),
    Column("org", Word),
    Column("tenant_id", Word),
    Column("project", Word),
    Column("key_id", Word),
    Column("model", Word),
    Column("unit", Word, nullable=False),
    Column("amount", Wide, nullable=False),
    Column("per", Word, nullable=False),
    Column("zone", Word, nullable=False),
    Column("mode", Word, nullable=False),
    Column("at_pct", Integer, nullable=False),
    Column("raises", Word, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("removed_us", Wide),
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
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / MILLI},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def create_tables(connection: Connection, name: str) -> None:
    """Make the tables of this version, inside the caller's write transaction, where there are none; `name` is the
    origin of the ledger's checkpoints."""
    metadata.create_all(connection, checkfirst=False)
    refuse_changes(connection)
    connection.execute(tenancy.insert().values(one=1, revision=0))
    set_origin(connection, name, chained=0, chain=b"")
    set_version(connection)


def set_origin(connection: Connection, name: str, *, chained: int, chain: bytes) -> None:
    """Name a ledger; `chained` is how many entries an older format had bound by a hash chain, up to `chain`."""
    connection.execute(origin.insert().values(one=1, name=name, chained=chained, chain=chain))
    connection.execute(writer.insert().values(one=1, epoch=0, holder=""))


def refuse_changes(connection: Connection) -> None:
    """Triggers that keep entries and checkpoints as they are."""
    for table, what in (("entry", "an entry"), ("checkpoint", "a checkpoint")):
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, 'the ledger is append-only: {verb} of {what} is refused'); END"
            )


def set_version(connection: Connection) -> None:
    """Stamp a SQLite file with this version."""
    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _set_up(driver: Any, _record: object) -> None:
    assert isinstance(driver, sqlite3.Connection)
    # Transactions are begun by `_begin`; the driver's own rule would begin them late and never immediately.
    driver.isolation_level = None
    driver.execute(f"PRAGMA busy_timeout = {BUSY_MS}").close()
    use_wal(driver)
    for pragma in ("synchronous = FULL", *_PACE):
        driver.execute(f"PRAGMA {pragma}").close()


def use_wal(driver: sqlite3.Connection) -> None:
    """Write ahead; SQLite does not wait by itself where another connection changes to the log, or leaves it last.

    Raises sqlite3.OperationalError where the file stays locked for ten seconds.
    """
    until_s = time.monotonic() + BUSY_MS / MILLI
    while True:
        try:
            driver.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
