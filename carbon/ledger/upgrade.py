"""The tables of a ledger file, made or brought up to this version: in the caller's one transaction, or not at all."""

import sqlite3
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection

from greenserve.carbon.entries import decode_entry
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.rows import put_spends
from greenserve.carbon.ledger.spend import Places, Spends, fold_spend, spends_of
from greenserve.errors import LedgerUnavailable


def bring_up(connection: Connection, path: Path) -> None:
    """Make the tables, or upgrade those of an older version; refuse a newer one's."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > schema.VERSION:
        raise LedgerUnavailable(
            f"{path} has ledger format {version}, this program reads up to {schema.VERSION}: use the newer GreenServe"
        )
    if version == 0:
        schema.create_tables(connection)
    elif version == 1:
        _from_1_to_2(connection)


def _from_1_to_2(connection: Connection) -> None:
    """Keys gain rules, budgets what they attach to, and the sums that budgets are read from are folded once."""
    for statement in (
        "ALTER TABLE api_key ADD COLUMN rules TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE api_key ADD COLUMN replaced_by TEXT",
        "ALTER TABLE budget RENAME TO budget_of_1",
        # A gateway of version 1 that still runs keeps no `spend`: without its table of cursors it takes nothing in,
        # says so, and its spools wait for the new one.
        "ALTER TABLE spool_cursor RENAME TO intake_cursor",
    ):
        connection.exec_driver_sql(statement)
    schema.metadata.create_all(connection, tables=[schema.budget, schema.spend], checkfirst=False)
    connection.exec_driver_sql(
        "INSERT INTO budget "
        "(budget_id, tenant_id, unit, amount, per, zone, mode, at_pct, raises, revision, removed_us) "
        "SELECT budget_id, tenant_id, unit, amount, per, 'UTC', mode, at_pct, '[]', revision, removed_us "
        "FROM budget_of_1"
    )
    connection.exec_driver_sql("DROP TABLE budget_of_1")
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    put_spends(driver, _folded(driver))
    connection.exec_driver_sql("PRAGMA user_version = 2")


def _folded(driver: sqlite3.Connection) -> Spends:
    places: Places = {}
    open_lines: dict[tuple[str, int], dict[str, Any]] = {}
    for (body,) in driver.execute("SELECT body FROM entry WHERE kind = 'usage' ORDER BY idx"):
        entry = decode_entry(body)
        line = (entry.key, entry.attempt)
        if entry.revision == 0:
            open_lines[line] = orjson.loads(body)
            fold_spend(places, entry, None)
        else:
            fold_spend(places, entry, open_lines.pop(line))
    return spends_of(places)
