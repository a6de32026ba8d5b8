"""What only the SQLite ledger has: a file that can be changed, shared, missing or newer."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.ledger.book import append_with
from greenserve.carbon.ledger.row import prepare
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.clock import ManualClock
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry
from greenserve.units import NS_PER_S

AT_US = 1_767_225_600_000_000
DAY_US = 86_400_000_000
Lines = Callable[..., UsageLine]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def tamper(book: SqliteLedger, statement: str) -> None:
    """What a person with a database tool can do: without the triggers."""
    with sqlite3.connect(book.path) as connection:
        connection.execute("DROP TRIGGER IF EXISTS entry_no_update")
        connection.execute("DROP TRIGGER IF EXISTS entry_no_delete")
        connection.execute("DROP TRIGGER IF EXISTS checkpoint_no_update")
        connection.execute(statement)
    connection.close()


def a_budget(unit: str = "gCO2e", per: str = "day") -> Budget:
    return Budget(budget_id="b", tenant="acme", unit=unit, limit=10**9, per=per, mode="enforce")  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["UPDATE entry SET tenant = 'x'", "DELETE FROM entry"])
def test_entries_refuse_to_change(book: SqliteLedger, a_line: Lines, verb: str) -> None:
    """The table itself is append-only."""
    book.append([usage_entry(a_line())])

    with sqlite3.connect(book.path) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(verb)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE entry SET body = CAST(replace(body, '54603', '54604') AS BLOB) WHERE idx = 2", "entry 2"),
        ("UPDATE entry SET body = CAST(replace(body, ',54603', ', 54603') AS BLOB) WHERE idx = 2", "entry 2"),
        ("UPDATE entry SET body = CAST(replace(body, '[1,', '[2,') AS BLOB) WHERE idx = 2", "entry 2"),
        ("UPDATE entry SET body = x'5b31' WHERE idx = 2", "entry 2"),
        ("UPDATE entry SET tenant = 'globex' WHERE idx = 2", "entry 2: the columns differ"),
        ("UPDATE entry SET hour = hour + 1 WHERE idx = 2", "entry 2: the columns differ"),
        ("UPDATE tile SET hashes = zeroblob(128)", "entry 0"),
        ("UPDATE checkpoint SET root = zeroblob(32)", "another root"),
        ("UPDATE checkpoint SET note = replace(note, '4', '5')", "says something else"),
        ("UPDATE checkpoint SET note = replace(note, 'greenserve/', 'someone/')", "says something else"),
        ("UPDATE tenant_salt SET salt = zeroblob(32)", "entry 0"),
        ("DELETE FROM tenant_salt", "salt of tenant acme is missing"),
        ("DELETE FROM tile", "has 0 tiles"),
        ("DELETE FROM entry WHERE idx = 2", "index 2 was expected here"),
        ("UPDATE rollup SET emissions_ng = emissions_ng - 1", "folded again"),
        ("DELETE FROM rollup", "folded again"),
    ],
)
def test_every_kind_of_change_is_found(book: SqliteLedger, a_line: Lines, statement: str, finding: str) -> None:
    """A changed body, column, hash or sum and a missing row are findings that name the index."""
    book.append([usage_entry(a_line()) for _ in range(4)])
    assert [] == book.verify()

    tamper(book, statement)

    assert any(finding in found for found in book.verify())


def test_a_cut_tail_is_seen_from_an_older_head(book: SqliteLedger, a_line: Lines) -> None:
    """The rest of a cut ledger verifies; only the head kept elsewhere tells."""
    book.append([usage_entry(a_line()) for _ in range(3)])
    head = book.head()

    tamper(book, "DELETE FROM entry WHERE idx = 2")
    tamper(book, "DELETE FROM rollup")

    assert head.root != book.root_at(2)
    assert book.root_at(head.size) is None


def test_a_budget_reads_what_is_recorded_and_settling_replaces(book: SqliteLedger, a_line: Lines) -> None:
    """Used is the fold of the window: provisional first, then the settled value instead of it."""
    line = a_line(ended_us=AT_US + 1)
    provisional = usage_entry(line)
    book.append([provisional, usage_entry(a_line(tenant="globex")), usage_entry(a_line(ended_us=AT_US - 1))])
    before = [book.used(a_budget(unit), AT_US) for unit in ("gCO2e", "J", "requests")]

    settled = dict(unmetered_entry(provisional.body).body) | {
        "active_uj": 1000, "held_uj": 0, "host_uj": 0, "facility_uj": 1120, "loc_lifecycle_ng": 10,
    }  # fmt: skip
    book.append([replace(unmetered_entry(provisional.body), body=settled)])

    assert [597, 61_903, 1] == before
    assert [10, 1000, 1] == [book.used(a_budget(unit), AT_US) for unit in ("gCO2e", "J", "requests")]
    assert 2 == book.used(a_budget("requests", "lifetime"), AT_US)
    assert 0 == book.used(a_budget("requests"), AT_US + DAY_US)
    assert [] == book.verify()


def test_a_budget_assumes_coal_where_the_intensity_is_unknown(book: SqliteLedger, a_line: Lines) -> None:
    """Unknown emissions never make a budget cheaper: 69,331 uJ at 820 g/kWh."""
    book.append([usage_entry(a_line(intensity=None))])

    assert 15_792 == book.used(a_budget(), AT_US)


def test_what_is_not_charged_uses_no_budget(book: SqliteLedger, a_line: Lines) -> None:
    """Energy that the platform lost is not the tenant's."""
    book.append([usage_entry(a_line(charged=False))])

    assert [0, 0] == [book.used(a_budget(unit), AT_US) for unit in ("J", "requests")]
    assert 1 == len(book.unsettled())


def test_unsettled_requests_are_found_again(book: SqliteLedger, a_line: Lines) -> None:
    """After a crash the writer loads exactly the requests that have a provisional line alone."""
    first, second = usage_entry(a_line()), usage_entry(a_line())
    book.append([first, second, unmetered_entry(first.body)])

    assert [second.key] == [entry.key for entry in book.unsettled()]


def test_two_writers_never_number_the_same_row(book: SqliteLedger, a_line: Lines) -> None:
    """A command and the gateway's writer append to one file at once; the tree stays whole."""
    other = SqliteLedger(book.path)
    groups: list[list[Entry]] = [[usage_entry(a_line()) for _ in range(40)] for _ in range(2)]

    def write(ledger: SqliteLedger, group: list[Entry]) -> None:
        for entry in group:
            ledger.append([entry])

    threads = [threading.Thread(target=write, args=pair) for pair in zip((book, other), groups, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 80 == book.head().size
    assert [] == other.verify()
    other.close()


def test_a_missing_ledger_is_not_made_by_readers(tmp_path: Path) -> None:
    """A mistyped path gives an error, not an empty statement."""
    with pytest.raises(LedgerUnavailable, match="there is no ledger at"):
        SqliteLedger(tmp_path / "none.db", must_exist=True)
    with pytest.raises(LedgerUnavailable, match="does not exist"):
        SqliteLedger(tmp_path / "no" / "folder.db")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "ledger.db"
    path.write_text("not a database, " * 100)

    with pytest.raises(LedgerUnavailable, match=r"ledger\.db"):
        SqliteLedger(path)


def test_a_newer_format_is_refused(book: SqliteLedger) -> None:
    """An older program never writes into tables that it does not know."""
    tamper(book, "PRAGMA user_version = 99")

    with pytest.raises(LedgerUnavailable, match="format 99"):
        SqliteLedger(book.path)


def test_the_file_is_durable(book: SqliteLedger) -> None:
    """Write-ahead log with full synchronisation, on every connection."""
    with book.reading() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert ["wal", 2] == modes


def test_the_writers_checkpoints_reach_their_file_once_a_second(tmp_path: Path, a_line: Lines) -> None:
    """Each commit signs its root in the table; the file, a copy for others, follows. Commands write it at once."""
    clock, file = ManualClock(), tmp_path / "ledger.db.checkpoint"
    book = SqliteLedger(tmp_path / "ledger.db", clock=clock)
    told = []

    def tell() -> None:
        told.append((book.head().size, int(file.read_text().splitlines()[1])))

    book.append([usage_entry(a_line())])
    tell()
    epoch = book.take_over("a writer")
    book.append_lines([prepare(usage_entry(a_line()))], epoch=epoch)
    tell()
    clock.advance(duration_ns=NS_PER_S)
    book.publish(every_us=1_000_000)
    tell()
    book.append_lines([prepare(usage_entry(a_line()))], epoch=epoch)
    book.publish()
    tell()

    assert [(1, 1), (2, 1), (2, 2), (3, 3)] == told
    book.close()


def test_a_checkpoint_that_was_not_committed_is_not_shown(tmp_path: Path, a_line: Lines) -> None:
    """A transaction that fails leaves the file as it was, whatever it had signed."""
    book = SqliteLedger(tmp_path / "ledger.db")
    book.append([usage_entry(a_line())])
    shown = (tmp_path / "ledger.db.checkpoint").read_text()

    sound, alone = usage_entry(a_line()), unmetered_entry(usage_entry(a_line()).body)

    def write_both() -> None:
        with book.writing() as connection:
            append_with(connection, [prepare(sound)])
            append_with(connection, [prepare(alone)])

    with pytest.raises(LedgerUnavailable, match="no revision 0"):
        write_both()
    book.publish()

    assert shown == (tmp_path / "ledger.db.checkpoint").read_text()
    book.close()


def test_a_checkpoint_file_that_cannot_be_written_is_logged(
    tmp_path: Path, a_line: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    """The entries are committed by then: nothing is raised, the fault is logged once, and the file follows later."""
    book, file = SqliteLedger(tmp_path / "ledger.db"), tmp_path / "ledger.db.checkpoint"
    (file / "in the way").mkdir(parents=True)

    added = [book.append([usage_entry(a_line())]) for _ in range(2)]
    (file / "in the way").rmdir()
    file.rmdir()
    book.publish()

    assert [1, 1] == added
    assert "2" == file.read_text().splitlines()[1]
    assert ["cannot be written", "over after 2 failures"] == [
        words for record in caplog.records for words in ("cannot be written", "over after 2 failures")
        if words in record.message and (record.levelname == "ERROR") == words.startswith("cannot")
    ]  # fmt: skip
    assert [] == list(tmp_path.glob("ledger.db.checkpoint.*"))
    book.close()


def test_the_checkpoint_file_never_goes_backwards(tmp_path: Path, a_line: Lines) -> None:
    """A writer that comes to show its note after a command has shown a newer one leaves that; another ledger's goes."""
    writer, command = (SqliteLedger(tmp_path / "ledger.db", clock=ManualClock()) for _ in range(2))
    file = tmp_path / "ledger.db.checkpoint"
    file.write_text("no note")
    epoch = writer.take_over("a writer")
    writer.publish()
    writer.append_lines([prepare(usage_entry(a_line()))], epoch=epoch)
    writer.append_lines([prepare(usage_entry(a_line()))], epoch=epoch)
    command.append([usage_entry(a_line())])

    writer.publish()

    shown = file.read_text()
    file.write_text(shown.replace("\n3\n", "\n9\n").replace("greenserve/", "someone/"))
    command.append([usage_entry(a_line())])
    assert ["3", "4"] == [text.splitlines()[1] for text in (shown, file.read_text())]
    writer.close()
    command.close()
