"""The tables of a ledger in PostgreSQL: entries in monthly partitions, and a role that can only add to them.

All of it happens in the caller's one transaction, under the lock of those that append.
"""

import logging
from collections.abc import Iterable

from sqlalchemy import Connection

from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.row import month_of
from greenserve.errors import LedgerUnavailable

ROLE = "greenserve_appender"
"""What transactions run as: it may read everything, and add, but change or remove no entry and no checkpoint."""
MONTHS_AHEAD = 3
APPEND_ONLY = ("entry", "checkpoint")
_OPEN_TABLES = tuple(table.name for table in schema.metadata.sorted_tables if table.name not in APPEND_ONLY)
_HOURS_PER_MONTH = 31 * 24
_REST = "entry_rest"
_UNPACKED = 3
_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'the ledger is append-only: %% of %% is refused', TG_OP, TG_TABLE_NAME;
END $$
"""
# The index begins with `idx`: reading in order merges the partitions, and sorts nothing.
_ENTRY = """
CREATE TABLE entry (
  idx bigint NOT NULL, period integer NOT NULL, kind text COLLATE "C" NOT NULL, key bytea NOT NULL,
  attempt integer NOT NULL, revision integer NOT NULL, tenant text COLLATE "C" NOT NULL, hour bigint NOT NULL,
  body bytea, PRIMARY KEY (idx, period), UNIQUE (period, kind, key, attempt, revision)
) PARTITION BY LIST (period)
"""
_MAKE_ROLE = f"""
DO $$ BEGIN
  CREATE ROLE {ROLE} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
log = logging.getLogger("greenserve.ledger")


def create_tables(connection: Connection, hour: int) -> None:
    """Make the tables of this version, with partitions for the months from `hour` (since 1970 UTC) on."""
    others = [table for table in schema.metadata.sorted_tables if table is not schema.entry]
    schema.metadata.create_all(connection, tables=others, checkfirst=False)
    connection.exec_driver_sql(_ENTRY)
    connection.exec_driver_sql("CREATE INDEX entry_by_tenant ON entry (tenant, hour, idx)")
    connection.exec_driver_sql(_REFUSE)
    for table in APPEND_ONLY:
        _refuse_changes(connection, table)
    connection.exec_driver_sql(f"CREATE TABLE {_REST} PARTITION OF entry DEFAULT")
    _refuse_changes(connection, _REST)
    make_partitions(connection, [0, *_months(hour)])


def bring_up(connection: Connection, hour: int) -> None:
    """Make what a ledger of this version may lack: partitions of the months that come, and the role with its rights.

    An account that does not own the tables makes neither: it appends with the rights that it was given.
    """
    if not _one(connection, "SELECT pg_has_role(tableowner, 'MEMBER') FROM pg_tables "
                            "WHERE tablename = 'writer' AND schemaname = current_schema()"):  # fmt: skip
        return
    if _one(connection, "SELECT relkind = 'p' FROM pg_class WHERE oid = 'entry'::regclass"):
        make_partitions(connection, _months(hour))
    if not _has_rights(connection):
        _give_rights(connection)


def upgraded(connection: Connection) -> int:
    """The ledger's format, after format 3 was made 4: its rows stay as they are, and programs that cannot read packed
    ones refuse it from then on. LedgerUnavailable where the account may not do that."""
    version = int(connection.exec_driver_sql("SELECT version FROM ledger_format").scalar_one())
    if version != _UNPACKED:
        return version
    if not _one(connection, "SELECT pg_has_role(tableowner, 'MEMBER') FROM pg_tables "
                            "WHERE tablename = 'ledger_format' AND schemaname = current_schema()"):  # fmt: skip
        raise LedgerUnavailable(
            f"the ledger has format {version}, and this account does not own it: let the owner's account open it once "
            "with this version (`greenserve ledger checkpoint` with its ledger.url)"
        )
    connection.exec_driver_sql(f"UPDATE ledger_format SET version = {schema.VERSION}")
    return schema.VERSION


def make_partitions(connection: Connection, periods: Iterable[int]) -> None:
    """A partition for each period that has none and no rows yet; those of others stay in the one for the rest."""
    for period in periods:
        name = f"entry_{period}"
        known = _one(connection, f"SELECT to_regclass('{name}') IS NOT NULL")
        if known or _one(connection, f"SELECT EXISTS (SELECT 1 FROM {_REST} WHERE period = {period})"):
            continue
        connection.exec_driver_sql(f"CREATE TABLE {name} PARTITION OF entry FOR VALUES IN ({period})")
        _refuse_changes(connection, name)


def confined(connection: Connection) -> bool:
    """Whether this account's transactions can and should run as the role that only adds."""
    if not _has_role(connection) or not _has_rights(connection):
        return False
    return bool(_one(connection, f"SELECT pg_has_role('{ROLE}', 'MEMBER')"))


def confine(connection: Connection) -> None:
    """Run this transaction as the role that only adds."""
    connection.exec_driver_sql(f"SET LOCAL ROLE {ROLE}")


def _give_rights(connection: Connection) -> None:
    may = _one(connection, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    if not may and not _has_role(connection):
        log.warning(
            "the account of ledger.url may create no roles: entries are kept from change by triggers alone, which "
            "their owner can drop. Have an administrator run `CREATE ROLE %s NOLOGIN; GRANT %s TO <account>`, and "
            "start again",
            ROLE,
            ROLE,
        )
        return
    if may:
        connection.exec_driver_sql(_MAKE_ROLE)
        if not _one(connection, f"SELECT pg_has_role('{ROLE}', 'MEMBER')"):
            connection.exec_driver_sql(f"GRANT {ROLE} TO CURRENT_USER")
    space = connection.dialect.identifier_preparer.quote(str(_one(connection, "SELECT current_schema()")))
    for statement in (
        f"GRANT USAGE ON SCHEMA {space} TO {ROLE}",
        f"GRANT SELECT, INSERT ON {', '.join(APPEND_ONLY)} TO {ROLE}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(_OPEN_TABLES)} TO {ROLE}",
        f"GRANT SELECT ON ledger_format TO {ROLE}",
    ):
        connection.exec_driver_sql(statement)


def _refuse_changes(connection: Connection, table: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _has_role(connection: Connection) -> bool:
    return bool(_one(connection, f"SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}')"))


def _has_rights(connection: Connection) -> bool:
    """Whether the role was given its rights on this ledger."""
    if not _has_role(connection):
        return False
    tables = ", ".join(f"('{table}')" for table in (*APPEND_ONLY, *_OPEN_TABLES))
    return bool(
        _one(
            connection,
            f"SELECT has_schema_privilege('{ROLE}', current_schema(), 'USAGE') AND "
            f"(SELECT bool_and(has_table_privilege('{ROLE}', name, 'INSERT')) FROM (VALUES {tables}) AS made (name))",
        )
    )


def _months(hour: int) -> list[int]:
    return sorted({month_of(hour + ahead * _HOURS_PER_MONTH) for ahead in range(MONTHS_AHEAD)})


def _one(connection: Connection, statement: str) -> object:
    return connection.exec_driver_sql(statement).scalar()
