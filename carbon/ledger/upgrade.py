"""The tables of a ledger file, made or brought up to this version: in the caller's one transaction, or not at all."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, Table

from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.book import driver_of
from greenserve.carbon.ledger.chain import GENESIS, link
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.notes import Signer, key_path, make_key, read_key
from greenserve.carbon.ledger.row import prepare_bytes
from greenserve.carbon.ledger.rows import Appender
from greenserve.errors import LedgerUnavailable

GROUP = 5_000


def bring_up(connection: Connection, path: Path, fresh_id: str, unix_us: Callable[[], int]) -> None:
    """Make the tables, or upgrade those of an older version; refuse a newer one's."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > schema.VERSION:
        raise LedgerUnavailable(
            f"{path} has ledger format {version}, this program reads up to {schema.VERSION}: use the newer GreenServe"
        )
    name = f"greenserve/{fresh_id}"
    if version == 0:
        schema.create_tables(connection, name)
        admit_signer(connection, path, name)
        return
    if version == 1:
        _from_1_to_2(connection)
    if version <= 2:
        _from_2_to_3(connection, path, name, unix_us)
    # Rows of format 3 need no change; from here on programs that cannot read packed ones refuse the file.
    schema.set_version(connection)


def _from_1_to_2(connection: Connection) -> None:
    """Keys gain rules, and budgets what they attach to; the sums that budgets are read from come with the next step."""
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


def _from_2_to_3(connection: Connection, path: Path, name: str, unix_us: Callable[[], int]) -> None:
    """Every entry goes into the tree and into the sums again, its body byte for byte; the chain's end is remembered.

    Entries keep their index, so that heads of before can still be compared with what is there now.
    """
    for statement in (
        "DROP TRIGGER entry_no_update",
        "DROP TRIGGER entry_no_delete",
        "DROP INDEX entry_by_tenant",
        "ALTER TABLE entry RENAME TO entry_of_2",
        "DROP TABLE rollup",
        "DELETE FROM spend",
    ):
        connection.exec_driver_sql(statement)
    kept = {schema.spend, schema.intake_cursor, schema.tenant, schema.api_key, schema.budget, schema.tenancy}
    new: list[Table] = [table for table in schema.metadata.sorted_tables if table not in kept]
    schema.metadata.create_all(connection, tables=new, checkfirst=False)
    driver = driver_of(connection)
    chained, chain = _old_end(driver, path)
    schema.set_origin(connection, name, chained=chained, chain=chain)
    signer = admit_signer(connection, path, name)
    appender = Appender(signer=lambda _: signer, unix_us=unix_us)
    bodies = driver.each("SELECT body FROM entry_of_2 ORDER BY idx")
    while group := list(islice(bodies, GROUP)):
        placed = appender.append(driver, [prepare_bytes(body) for (body,) in group])
        if len(placed) != len(group):
            raise LedgerUnavailable(f"{path} cannot be upgraded: entries stand twice in it; restore it from the backup")
    connection.exec_driver_sql("DROP TABLE entry_of_2")
    schema.refuse_changes(connection)


def _old_end(driver: Driver, path: Path) -> tuple[int, bytes]:
    """How many entries the older format has, and its chain's last hash; LedgerUnavailable where its chain is broken.

    An upgrade must not hide what verifying the old file would have found.
    """
    chain, size = GENESIS, 0
    for idx, body, stored in driver.each("SELECT idx, body, chain FROM entry_of_2 ORDER BY idx"):
        chain = link(chain, body)
        if idx != size or chain != stored:
            raise LedgerUnavailable(
                f"{path} cannot be upgraded: entry {idx} does not fit its hash chain, so an entry up to here was "
                "changed or removed; restore the file from the backup"
            )
        size += 1
    return size, chain


def admit_signer(connection: Connection, path: Path, name: str) -> Signer:
    """The key beside the file, made where there is none; checkpoints that it signs count from here on."""
    key = key_path(path)
    signer = read_key(key) if key.exists() else make_key(key, name)
    connection.execute(schema.signer.insert().values(verifier=signer.verifier.text, since=0))
    return signer
