"""What only the PostgreSQL ledger has: a server that others use too, that refuses, ends or is not there."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from greenserve.canonical import ledger_json
from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.ledger.lookup import Period, changes, lines_of, project_groups, usage_groups, weakest_tiers
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.postgres import PostgresLedger
from greenserve.carbon.ledger.proofs import check_proof, prove_request, verifiers
from greenserve.carbon.ledger.rows import Cursor
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.clock import ManualClock
from greenserve.errors import InvalidRequest, LedgerUnavailable
from greenserve.records import Entry, Tenant
from tests.postgres_server import NewUrl

pytestmark = pytest.mark.postgres
Lines = Callable[..., UsageLine]
AT_US = 1_767_225_600_000_000
HOUR = AT_US // 3_600_000_000


@pytest.fixture
def url(postgres_urls: NewUrl) -> str:
    return postgres_urls()


@pytest.fixture
def book(url: str, tmp_path: Path) -> Iterator[PostgresLedger]:
    opened = PostgresLedger(url, tmp_path / "ledger")
    yield opened
    opened.close()


def run(url: str, statement: str) -> None:
    """What a person with a database tool can do."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "statement", ["UPDATE entry SET tenant = 'x'", "DELETE FROM checkpoint", "TRUNCATE entry, checkpoint"]
)
def test_entries_and_checkpoints_refuse_to_change(
    book: PostgresLedger, url: str, a_line: Lines, statement: str
) -> None:
    """The tables themselves are append-only."""
    book.append([usage_entry(a_line())])

    with pytest.raises(Exception, match="append-only"):
        run(url, statement)

    assert [] == book.verify()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE entry SET body = decode(replace(encode(body, 'hex'), '3534363033', '3534363034'), 'hex')", "entry 0"),
        ("DELETE FROM entry WHERE idx = 2", "index 2 was expected"),
        ("UPDATE rollup SET emissions_ng = emissions_ng - 1", "folded again"),
        ("UPDATE tile SET hashes = decode('00', 'hex')", "entry 0"),
    ],
)
def test_a_change_around_the_triggers_is_found(
    book: PostgresLedger, url: str, a_line: Lines, statement: str, finding: str
) -> None:
    """The same audit as everywhere."""
    book.append([usage_entry(a_line()) for _ in range(4)])
    run(url, f"ALTER TABLE entry DISABLE TRIGGER ALL; {statement}")

    assert any(finding in found for found in book.verify())


def test_both_databases_keep_the_same_rows_and_sums(book: PostgresLedger, tmp_path: Path, a_line: Lines) -> None:
    """Columns, bodies, rollups and every question to them are alike, byte for byte."""
    lines: list[dict[str, Any]] = [{}, {"tenant": "globex", "project": "web"}, {"intensity": None}, {"usage": None}]
    entries = [usage_entry(a_line(**changes)) for changes in lines]
    entries.append(unmetered_entry(entries[0].body))
    sqlite = SqliteLedger(tmp_path / "ledger.db")
    period = Period(first=HOUR - HOUR % 24, end=HOUR + 24)
    budget = Budget(budget_id="b", tenant="acme", unit="gCO2e", limit=1, per="day", mode="warn")

    def answers(ledger: SqliteLedger | PostgresLedger) -> list[object]:
        ledger.append(entries)
        return [
            list(ledger.rows()),
            ledger.rollup_rows(None, HOUR, HOUR + 1),
            ledger.used(budget, AT_US),
            ledger.unsettled(),
            ledger.hours(),
            usage_groups(ledger, period, ["day", "model"], after=None, limit=9),
            project_groups(ledger, period, ["project"], after=None, limit=9),
            weakest_tiers(ledger, period),
            [line.body for line in lines_of(ledger, entries[0].key)],
        ]

    assert answers(sqlite) == answers(book)
    assert [] == book.verify()
    sqlite.close()


def test_tenants_keys_and_changes_live_there_too(book: PostgresLedger) -> None:
    """Who may do what since when, in one transaction with its entry."""
    store = TenancyStore(book, ManualClock())

    store.create_tenant(Tenant(tenant_id="acme", name="Acme"))
    key_id = store.create_key("acme", label="ci")[1].key_id
    store.set_budget(Budget(budget_id="b", tenant="acme", unit="J", limit=9, per="day", mode="warn"))

    assert [key_id] == [key.key_id for key in store.keys("acme")]
    told = changes(book, before=3, limit=9, kind=None, tenant="acme")
    assert ["budget", "key", "tenant"] == [line.body["kind"] for line in told]
    assert [] == book.verify()


def test_a_proof_from_there_holds(book: PostgresLedger, a_line: Lines) -> None:
    """The same tree and the same signed checkpoints."""
    entry = usage_entry(a_line())
    book.append([usage_entry(a_line()), entry])

    assert [] == check_proof(prove_request(book, entry.key), verifiers(book)[0])


def test_there_is_one_writer_and_it_can_be_fenced_off(book: PostgresLedger, url: str, a_line: Lines) -> None:
    """The session's lock keeps a second one out; one that lost its lock without knowing cannot append any more."""
    other = PostgresLedger(url, book.path)
    lock, epoch = book.lock_writer(), book.take_over("first")
    with pytest.raises(LedgerUnavailable, match="writes the ledger"):
        other.lock_writer()
    lock.release()
    other.lock_writer().release()
    other.take_over("second")

    with pytest.raises(LedgerUnavailable, match="second has taken over"):
        book.append_lines([], {"s": Cursor(offset=1, sequence=1)}, epoch)

    assert {} == book.cursors()
    other.close()


def test_processes_that_append_at_once_number_every_row_once(book: PostgresLedger, url: str, a_line: Lines) -> None:
    """A command and the gateway's writer append together; the tree stays whole."""
    other = PostgresLedger(url, book.path)
    groups: list[list[Entry]] = [[usage_entry(a_line()) for _ in range(15)] for _ in range(2)]

    def write(ledger: PostgresLedger, group: list[Entry]) -> None:
        for entry in group:
            ledger.append([entry])

    threads = [threading.Thread(target=write, args=pair) for pair in zip((book, other), groups, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 30 == book.head().size
    assert [] == other.verify()
    other.close()


def test_a_server_that_does_not_answer_is_told(tmp_path: Path, url: str) -> None:
    """No password in the message; an empty database is no ledger to readers; a wrong URL says how one looks."""
    with pytest.raises(LedgerUnavailable, match=r"failed \(") as told:
        open_ledger("postgresql://greta:secret@127.0.0.1:1/none", tmp_path / "ledger")
    with pytest.raises(LedgerUnavailable, match="there is no ledger in"):
        open_ledger(url, tmp_path / "ledger", must_exist=True)
    with pytest.raises(InvalidRequest, match="postgresql://USER"):
        open_ledger("postgresql://host:port/ledger", tmp_path / "ledger")

    assert "secret" not in str(told.value)


def test_connections_that_the_server_ended_are_opened_again(book: PostgresLedger, url: str, a_line: Lines) -> None:
    """A restart of the server costs no entry: the next append finds a new connection."""
    book.append([usage_entry(a_line())])
    run(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'greenserve' AND pid != pg_backend_pid()",
    )

    book.append([usage_entry(a_line())])

    assert 2 == book.head().size
    assert [] == book.verify()


def test_entries_lie_in_partitions_by_month(book: PostgresLedger, a_line: Lines) -> None:
    """What is of no month has one of its own, and a month that was not foreseen goes with the rest."""
    TenancyStore(book, ManualClock()).create_tenant(Tenant(tenant_id="acme", name="Acme"))
    book.append([usage_entry(a_line()), usage_entry(a_line(request_id="018f0000-0000-7000-8000-000000000000"))])

    (month,) = {row.period for row in book.rows() if row.period > 202_500}
    found = book.query("SELECT idx, tableoid::regclass::text FROM entry ORDER BY idx")

    assert [(0, "entry_0"), (1, f"entry_{month}"), (2, "entry_rest")] == found
    assert [] == book.verify()
    assert book.stored_bytes() > 0


@pytest.mark.parametrize("table", ["entry", "entry_0", "entry_rest", "checkpoint"])
def test_the_ledgers_own_transactions_cannot_change_an_entry(book: PostgresLedger, a_line: Lines, table: str) -> None:
    """Its role has no right to, before any trigger is asked."""
    book.append([usage_entry(a_line())])

    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"ALTER TABLE {table} DISABLE TRIGGER ALL"):
        with pytest.raises(LedgerUnavailable, match=r"permission denied|must be owner"), book.writing() as connection:
            connection.exec_driver_sql(statement)

    assert 1 == book.head().size


def test_a_partition_refuses_to_change_by_itself(book: PostgresLedger, url: str, a_line: Lines) -> None:
    """Its owner, too, cannot go around the table that it is a part of."""
    book.append([usage_entry(a_line())])

    for table in ("entry_0", "entry_rest"):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"UPDATE {table} SET hour = 1"):
            with pytest.raises(Exception, match="append-only"):
                run(url, statement)


def test_an_account_with_the_role_alone_appends_and_owns_nothing(
    book: PostgresLedger, url: str, tmp_path: Path, a_line: Lines
) -> None:
    """The gateway's account need not be the one that made the tables."""
    run(url, "CREATE ROLE gateway_only LOGIN IN ROLE greenserve_appender")
    gateway = PostgresLedger(url.replace("postgres@", "gateway_only@"), tmp_path / "ledger", must_exist=True)

    gateway.append([usage_entry(a_line())])
    with pytest.raises(LedgerUnavailable, match="permission denied"), gateway.writing() as connection:
        connection.exec_driver_sql("DELETE FROM entry")

    assert [] == gateway.verify()
    assert 1 == book.head().size
    gateway.close()
    run(url, "DROP ROLE gateway_only")


def test_an_account_that_may_create_no_roles_is_told(
    url: str, tmp_path: Path, a_line: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger works all the same, and the message says what to run."""
    schema_name = url.rpartition("%3D")[2]
    if _has_role(url):
        run(url, "DROP OWNED BY greenserve_appender; DROP ROLE greenserve_appender")
    run(url, f"CREATE ROLE plain_owner LOGIN; GRANT ALL ON SCHEMA {schema_name} TO plain_owner")
    book = PostgresLedger(url.replace("postgres@", "plain_owner@"), tmp_path / "ledger")

    book.append([usage_entry(a_line())])

    assert "CREATE ROLE greenserve_appender NOLOGIN" in caplog.text
    assert [] == book.verify()
    book.close()
    run(url, "DROP OWNED BY plain_owner; DROP ROLE plain_owner")


def _has_role(url: str) -> bool:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            return bool(
                connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = 'greenserve_appender'")).scalar()
            )
    finally:
        engine.dispose()


def test_a_ledger_of_before_there_were_partitions_still_opens(
    book: PostgresLedger, url: str, tmp_path: Path, a_line: Lines
) -> None:
    """Its one table stays as it is, and its transactions are confined from now on."""
    book.append([usage_entry(a_line())])
    run(
        url,
        "CREATE TABLE plain AS SELECT * FROM entry; DROP TABLE entry; ALTER TABLE plain RENAME TO entry;"
        "ALTER TABLE entry ADD PRIMARY KEY (idx), ADD UNIQUE (period, kind, key, attempt, revision);"
        "CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
    )
    older = PostgresLedger(url, tmp_path / "ledger", must_exist=True)

    older.append([usage_entry(a_line())])
    with pytest.raises(LedgerUnavailable, match="permission denied"), older.writing() as connection:
        connection.exec_driver_sql("DELETE FROM entry")

    assert [] == older.verify()
    assert 2 == older.head().size
    older.close()


def test_a_ledger_of_format_3_is_stamped_by_its_owner(
    book: PostgresLedger, url: str, tmp_path: Path, a_line: Lines
) -> None:
    """Its rows stay as they are; an account that only appends is told who can open it."""
    first = usage_entry(a_line())
    book.append([first])
    run(url, "UPDATE ledger_format SET version = 3; ALTER TABLE entry DISABLE TRIGGER ALL")
    body = "\\x" + ledger_json(first.body).hex()
    run(url, f"UPDATE entry SET body = '{body}'")
    run(url, "CREATE ROLE appender_only LOGIN PASSWORD 'x' IN ROLE greenserve_appender; "
             "GRANT SELECT ON ledger_format TO appender_only")  # fmt: skip
    alone = make_url(url).set(username="appender_only", password="x").render_as_string(hide_password=False)
    with pytest.raises(LedgerUnavailable, match="let the owner's account open it once"):
        PostgresLedger(alone, tmp_path / "ledger", must_exist=True)

    older = PostgresLedger(url, tmp_path / "ledger", must_exist=True)
    older.append([unmetered_entry(first.body, first=0)])

    assert [(4,)] == older.query("SELECT version FROM ledger_format")
    kept = [bytes(data)[:1] for (data,) in older.query("SELECT body AS kept FROM entry ORDER BY idx")]
    assert [b"{", b"["] == kept
    assert [] == older.verify()
    older.close()
    run(url, "DROP OWNED BY appender_only; DROP ROLE appender_only")
