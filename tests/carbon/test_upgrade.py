"""A ledger file of version 1 or 2 is brought up to this version in place, with everything in it."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenserve.canonical import ledger_json
from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, entry_of, unmetered_entry, usage_entry
from greenserve.carbon.keys import hmac_of, parse
from greenserve.carbon.ledger.chain import link
from greenserve.carbon.ledger.rows import Cursor
from greenserve.carbon.ledger.schema import VERSION
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.ledger.verify import old_chain_at
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
TABLES_OF_2 = """
ALTER TABLE api_key ADD COLUMN rules TEXT NOT NULL DEFAULT '{}';
ALTER TABLE api_key ADD COLUMN replaced_by TEXT;
ALTER TABLE spool_cursor RENAME TO intake_cursor;
DROP TABLE budget;
CREATE TABLE budget (budget_id TEXT NOT NULL, org TEXT, tenant_id TEXT, project TEXT, key_id TEXT, model TEXT,
  unit TEXT NOT NULL, amount INTEGER NOT NULL, per TEXT NOT NULL, zone TEXT NOT NULL, mode TEXT NOT NULL,
  at_pct INTEGER NOT NULL, raises TEXT NOT NULL, revision INTEGER NOT NULL, removed_us INTEGER,
  PRIMARY KEY (budget_id)) STRICT;
CREATE TABLE spend (subject TEXT NOT NULL, grain INTEGER NOT NULL, at INTEGER NOT NULL, requests INTEGER NOT NULL,
  tokens INTEGER NOT NULL, energy_uj INTEGER NOT NULL, emissions_ng INTEGER NOT NULL, unknown_uj INTEGER NOT NULL,
  PRIMARY KEY (subject, grain, at)) STRICT, WITHOUT ROWID;
INSERT INTO spend VALUES ('tenant/acme', 2, 0, 77, 77, 77, 77, 77);
PRAGMA user_version = 2;
"""
COPIED_TO_1 = {
    "tenant": "tenant_id, name, settings, revision, created_us, closed_us",
    "api_key": "key_id, tenant_id, label, hmac, revision, created_us, expires_us, revoked_us",
    "budget": "budget_id, tenant_id, unit, amount, per, mode, at_pct, revision, removed_us",
    "tenancy": "*",
}
COPIED_TO_2 = COPIED_TO_1 | {"api_key": "*", "budget": "*"}
CARRIED = (
    "attempt", "charged", "ci", "device", "emulated", "ended_us", "model", "pue_milli", "region", "request_id",
    "tenant", "variant", "zone",
)  # fmt: skip
SETTINGS_OF_1 = (
    '{"burst":null,"exposure":"rounded","policy":null,"quality_floor":0.8,"quality_mean":null,"rate_per_s":null,'
    '"regions":["north"]}'
)


def of_version_1(entry: Entry) -> Entry:
    return entry_of({name: value for name, value in entry.body.items() if name not in ("org", "project")})


def settled_of_version_1(first: Entry) -> Entry:
    """A settled line repeated much of its first one, and named no index."""
    body = dict(unmetered_entry(first.body).body) | {name: first.body[name] for name in CARRIED} | {"v": 1}
    del body["first"]
    return entry_of(body)


def rows_of(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """As formats 1 and 2 stored them: keys as text, each row with its chain hash."""
    rows, chain = [], bytes(32)
    for idx, entry in enumerate(entries):
        body = ledger_json(entry.body)
        chain = link(chain, body)
        period = 202601 if entry.kind == "usage" else 0
        rows.append(
            (idx, period, entry.kind, entry.key, entry.attempt, entry.revision, entry.tenant, entry.hour, body, chain)
        )
    return rows


@pytest.fixture
def key() -> list[str]:
    return []


@pytest.fixture(params=[1, 2])
def old(request: pytest.FixtureRequest, tmp_path: Path, a_line: Lines, key: list[str]) -> Path:
    """A file as an older version wrote it: a tenant with a key and two budgets (one removed), settled and open
    requests."""
    new = SqliteLedger(tmp_path / "ledger.db")
    store = TenancyStore(new, ManualClock())
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
    rows = rows_of([*(entry for _, entry in new.entries()), first, second, waste, settled_of_version_1(first)])
    new.close()
    path = tmp_path / "old" / "ledger.db"
    path.parent.mkdir()
    (tmp_path / "ledger.db.pepper").rename(path.parent / "ledger.db.pepper")
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLES_OF_1)
        if request.param == 2:
            connection.executescript(TABLES_OF_2)
        connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("ATTACH ? AS new", (str(tmp_path / "ledger.db"),))
        for table, columns in (COPIED_TO_1 if request.param == 1 else COPIED_TO_2).items():
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM new.{table}")
        connection.execute("UPDATE tenant SET settings = ?", (SETTINGS_OF_1,))
        cursors = "spool_cursor" if request.param == 1 else "intake_cursor"
        connection.execute(f"INSERT INTO {cursors} VALUES ('s', 128, 7)")
    connection.close()
    return path


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def test_everything_of_an_older_version_is_kept(old: Path, key: list[str]) -> None:
    """Tenants, keys, budgets, cursors and entries are as they were, byte for byte, and it verifies."""
    with sqlite3.connect(old) as connection:
        rows = connection.execute(
            "SELECT idx, period, kind, key, attempt, body, chain FROM entry ORDER BY idx"
        ).fetchall()
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
    assert [(idx, kind, body) for idx, _, kind, _, _, body, _ in rows] == [
        (row.idx, row.kind, row.body) for row in book.rows()
    ]
    assert rows[-1][-1].hex() == old_chain_at(book.rows(), len(rows))
    assert [] == book.verify()
    book.close()


def test_a_changed_file_is_not_upgraded(old: Path) -> None:
    """The new tree would hide what the old chain shows; the file stays as it is, and the message names the entry."""
    connection = sqlite3.connect(old)
    connection.execute("DROP TRIGGER entry_no_update")
    connection.execute("UPDATE entry SET body = CAST(replace(body, '54603', '54604') AS BLOB) WHERE kind = 'usage'")
    connection.commit()
    first = connection.execute("SELECT min(idx) FROM entry WHERE kind = 'usage'").fetchone()[0]
    connection.execute("CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'a'); END")
    connection.close()
    before = version_of(old)

    with pytest.raises(LedgerUnavailable, match=f"entry {first} does not fit its hash chain"):
        SqliteLedger(old)

    assert before == version_of(old)


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
    """One transaction: the next try starts from the older version again."""
    connection = sqlite3.connect(old)
    connection.execute("INSERT INTO entry VALUES (99, 0, 'usage', 'x', 0, 1, 'acme', 0, x'7b7d', x'00')")
    connection.commit()
    before = sorted(connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())

    with pytest.raises(LedgerUnavailable, match="entry 99 does not fit"):
        SqliteLedger(old)

    assert before == sorted(connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    assert VERSION > connection.execute("PRAGMA user_version").fetchone()[0]
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


def test_an_older_gateway_takes_nothing_in_any_more(old: Path) -> None:
    """It knows no tree: its rows do not fit, it fails loudly, and its spools wait for the new one."""
    SqliteLedger(old).close()

    connection = sqlite3.connect(old)
    with pytest.raises(sqlite3.OperationalError, match="columns"):
        connection.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (1,) * 10)
    connection.close()


def test_rows_of_format_3_stay_as_they_are_beside_packed_ones(tmp_path: Path, a_line: Lines) -> None:
    """Opening stamps the file, so that programs that cannot read packed lines refuse it; nothing is written anew, what
    comes later is packed, and all of it verifies."""
    path, first = tmp_path / "ledger.db", usage_entry(a_line())
    body = ledger_json(first.body)
    book = SqliteLedger(path)
    book.append([first])
    book.close()
    with sqlite3.connect(path) as connection:
        trigger = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'entry_no_update'").fetchone()[0]
        connection.execute("DROP TRIGGER entry_no_update")
        connection.execute("UPDATE entry SET body = ?", (body,))
        connection.execute(trigger)
        connection.execute("PRAGMA user_version = 3")
    connection.close()

    book = SqliteLedger(path)
    book.append([unmetered_entry(first.body, first=0), usage_entry(a_line())])

    kept = [data for (data,) in book.query("SELECT body AS kept FROM entry ORDER BY idx")]
    assert (4, body, [False, True, True]) == (version_of(path), kept[0], [data.startswith(b"[") for data in kept])
    assert [body, b"{", b"{"] == [row.body if row.idx == 0 else (row.body or b"")[:1] for row in book.rows()]
    assert [] == book.verify()
    book.close()
