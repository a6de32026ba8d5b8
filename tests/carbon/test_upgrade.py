"""A ledger file of version 1 is brought up to this version in place, with everything in it."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, entry_of, unmetered_entry, usage_entry
from greenserve.carbon.keys import hmac_of, parse
from greenserve.carbon.ledger.rows import Cursor
from greenserve.carbon.ledger.schema import VERSION
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import INFERENCE
from greenserve.clock import ManualClock
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry, Tenant

Lines = Callable[..., UsageLine]
UNITS = ("gCO2e", "J", "requests", "tokens")
TABLES_OF_1 = """
CREATE TABLE entry (idx INTEGER NOT NULL, period INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
  attempt INTEGER NOT NULL, revision INTEGER NOT NULL, tenant TEXT NOT NULL, hour INTEGER NOT NULL, body BLOB NOT NULL,
  chain BLOB NOT NULL, PRIMARY KEY (idx), UNIQUE (period, kind, key, attempt, revision)) STRICT;
CREATE INDEX entry_by_tenant ON entry (tenant, hour, idx);
CREATE TABLE rollup (tenant TEXT NOT NULL, hour INTEGER NOT NULL, model TEXT NOT NULL, variant TEXT NOT NULL,
  region TEXT NOT NULL, requests INTEGER NOT NULL, energy_uj INTEGER NOT NULL, emissions_ng INTEGER NOT NULL,
  unknown_uj INTEGER NOT NULL, unmetered INTEGER NOT NULL, provisional INTEGER NOT NULL,
  PRIMARY KEY (tenant, hour, model, variant, region)) STRICT, WITHOUT ROWID;
CREATE TABLE spool_cursor (spool TEXT NOT NULL, "offset" INTEGER NOT NULL, sequence INTEGER NOT NULL,
  PRIMARY KEY (spool)) STRICT, WITHOUT ROWID;
CREATE TABLE tenant (tenant_id TEXT NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL, revision INTEGER NOT NULL,
  created_us INTEGER NOT NULL, closed_us INTEGER, PRIMARY KEY (tenant_id)) STRICT;
CREATE TABLE api_key (key_id TEXT NOT NULL, tenant_id TEXT NOT NULL, label TEXT, hmac BLOB NOT NULL,
  revision INTEGER NOT NULL, created_us INTEGER NOT NULL, expires_us INTEGER, revoked_us INTEGER,
  PRIMARY KEY (key_id)) STRICT;
CREATE TABLE budget (budget_id TEXT NOT NULL, tenant_id TEXT NOT NULL, unit TEXT NOT NULL, amount INTEGER NOT NULL,
  per TEXT NOT NULL, mode TEXT NOT NULL, at_pct INTEGER NOT NULL, revision INTEGER NOT NULL, removed_us INTEGER,
  PRIMARY KEY (budget_id)) STRICT;
CREATE TABLE tenancy (one INTEGER NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (one)) STRICT;
CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append-only'); END;
PRAGMA user_version = 1;
"""
COPIED = {
    "entry": "*",
    "rollup": "*",
    "tenant": "tenant_id, name, settings, revision, created_us, closed_us",
    "api_key": "key_id, tenant_id, label, hmac, revision, created_us, expires_us, revoked_us",
    "budget": "budget_id, tenant_id, unit, amount, per, mode, at_pct, revision, removed_us",
    "tenancy": "*",
}
SETTINGS_OF_1 = (
    '{"burst":null,"exposure":"rounded","policy":null,"quality_floor":0.8,"quality_mean":null,"rate_per_s":null,'
    '"regions":["north"]}'
)


def of_version_1(entry: Entry) -> Entry:
    return entry_of({name: value for name, value in entry.body.items() if name not in ("org", "project")})


@pytest.fixture
def key() -> list[str]:
    return []


@pytest.fixture
def old(tmp_path: Path, a_line: Lines, key: list[str]) -> Path:
    """A file as version 1 wrote it: a tenant with a key and two budgets (one removed), settled and open requests."""
    with_rows = SqliteLedger(tmp_path / "ledger.db")
    store = TenancyStore(with_rows, ManualClock())
    store.create_tenant(Tenant(tenant_id="acme", name="Acme"))
    key.append(store.create_key("acme", label="ci")[0])
    for per in ("day", "month"):
        store.set_budget(
            Budget(budget_id=f"acme.j.{per}", tenant="acme", unit="J", limit=9, per=per, mode="degrade", at_pct=70)
        )
    store.remove_budget("acme.j.month")
    first, second, waste = (
        of_version_1(usage_entry(a_line(**changes))) for changes in ({}, {"intensity": None}, {"charged": False})
    )
    with_rows.append([first, second, waste, unmetered_entry(first.body)])
    with_rows.close()
    path = tmp_path / "old" / "ledger.db"
    path.parent.mkdir()
    (tmp_path / "ledger.db.pepper").rename(path.parent / "ledger.db.pepper")
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLES_OF_1)
        connection.execute("ATTACH ? AS new", (str(tmp_path / "ledger.db"),))
        for table, columns in COPIED.items():
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM new.{table}")
        connection.execute("UPDATE tenant SET settings = ?", (SETTINGS_OF_1,))
        connection.execute("INSERT INTO spool_cursor VALUES ('s', 128, 7)")
    connection.close()
    return path


def test_everything_of_version_1_is_kept(old: Path, key: list[str]) -> None:
    """Tenants, keys, budgets, cursors and entries are as they were, the chain too, and it verifies."""
    with sqlite3.connect(old) as connection:
        rows = connection.execute("SELECT * FROM entry ORDER BY idx").fetchall()
    connection.close()

    book = SqliteLedger(old)

    store = TenancyStore(book, ManualClock())
    snapshot = store.snapshot()
    key_id, secret = parse(key[0])
    record = snapshot.keys[key_id]
    assert Tenant(
        tenant_id="acme", name="Acme", quality_floor=0.8, regions=frozenset({"north"})
    ) == store.tenant("acme").tenant  # fmt: skip
    assert ("ci", INFERENCE, None) == (record.label, record.rules, record.replaced_by)
    assert hmac_of(snapshot.pepper, secret) == record.hmac
    assert ["acme.j.day"] == [one.budget.budget_id for one in store.budgets()]
    assert ("UTC", (), 70, "acme") == tuple(
        getattr(store.budget("acme.j.day").budget, name) for name in ("zone", "raises", "at_pct", "tenant")
    )
    assert {"s": Cursor(offset=128, sequence=7)} == book.cursors()
    assert rows == [tuple(getattr(row, name) for name in row.__slots__) for row in book.rows()]
    assert [] == book.verify()
    book.close()


def test_balances_are_folded_from_the_entries_that_were_there(old: Path, a_line: Lines) -> None:
    """Settled and open requests count, waste does not; what comes after is added."""
    book = SqliteLedger(old)
    budgets = [
        Budget(budget_id=unit, tenant="acme", unit=unit, limit=1, per="day", mode="warn")  # type: ignore[arg-type]
        for unit in UNITS
    ]

    before = book.balances(budgets, a_line().ended_us)
    book.append([usage_entry(a_line())])

    assert {"gCO2e": 597 + 15_792, "J": 2 * 61_903, "requests": 2, "tokens": 24} == before
    assert 3 == book.balances(budgets, a_line().ended_us)["requests"]
    assert [] == book.verify()
    book.close()


def test_an_upgraded_file_is_like_a_new_one(old: Path, tmp_path: Path) -> None:
    """The same tables with the same columns, so that the next version has one start."""
    SqliteLedger(old).close()
    SqliteLedger(tmp_path / "new.db").close()

    def columns(path: Path) -> dict[str, set[tuple[str, str, int, int]]]:
        connection = sqlite3.connect(path)
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            table: {(row[1], row[2], row[3], row[5]) for row in connection.execute(f"PRAGMA table_info({table})")}
            for table in tables
        }
        assert VERSION == connection.execute("PRAGMA user_version").fetchone()[0]
        connection.close()
        return found

    assert columns(tmp_path / "new.db") == columns(old)


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(old: Path) -> None:
    """One transaction: the next try starts from version 1 again."""
    connection = sqlite3.connect(old)
    connection.execute("INSERT INTO entry VALUES (99, 0, 'usage', 'x', 0, 1, 'acme', 0, x'7b7d', x'00')")
    connection.commit()
    before = sorted(connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())

    with pytest.raises(LedgerUnavailable, match="no ledger body"):
        SqliteLedger(old)

    assert before == sorted(connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    assert 1 == connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()


def test_two_that_open_it_together_upgrade_it_once(old: Path) -> None:
    """The second waits for the first, and finds it done."""
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            SqliteLedger(old).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures


def test_a_gateway_of_version_1_takes_nothing_in_any_more(old: Path) -> None:
    """It kept no sums for budgets: it fails loudly, and its spools wait for the new one."""
    SqliteLedger(old).close()

    connection = sqlite3.connect(old)
    with pytest.raises(sqlite3.OperationalError, match="spool_cursor"):
        connection.execute("INSERT INTO spool_cursor VALUES ('s', 1, 1)")
    connection.close()
