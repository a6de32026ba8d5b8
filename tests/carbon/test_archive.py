"""Bodies of closed months in files: everything that reads them goes on, and says so where a file is not there."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.archiving import due_months, retention_us
from greenserve.carbon.entries import UsageLine
from greenserve.carbon.ledger.archive import archive, newest_archives, restore
from greenserve.carbon.ledger.closing import GRACE_HOURS, close_period
from greenserve.carbon.ledger.erasure import erase
from greenserve.carbon.ledger.lookup import lines_of_request
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.proofs import check_proof, prove_request, verifiers
from greenserve.carbon.ledger.restated_receipt import receipt_lines
from greenserve.carbon.ledger.restatement import restate
from greenserve.errors import InvalidRequest, LedgerUnavailable
from tests.carbon.restatements import NOW_US, a_reading, a_scope, both_ways
from tests.carbon.statements import AT_US, DAY_US, HOUR_US
from tests.carbon.worlds import HOUR, World, past_the_hour, steps

pytest.importorskip("pyarrow", reason="pip install pyarrow")
Lines = Callable[..., UsageLine]
MONTH_END_US = AT_US + 31 * DAY_US
MONTH = 202601


def closed(world: World, a_line: Lines) -> list[str]:
    """A month of some requests of two tenants, closed."""
    ingest = world.open()
    # The keys of requests name the month in which they were made.
    ids = [
        world.request(a_line, tenant=("acme", "globex")[number % 2], request_id=request_id(number))
        for number in range(4)
    ]
    steps(world, ingest, 5)
    past_the_hour(world)
    steps(world, ingest, 2)
    ingest.finish()
    past_the_hour(world, HOUR + 1)
    later = world.open()
    later.step()
    later.abandon()
    close_period(world.book, "2026-01", now_us=MONTH_END_US + GRACE_HOURS * HOUR_US)
    return ids


def request_id(number: int) -> str:
    stamp = f"{AT_US // 1000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{number:012x}"


def moved(world: World, **changed: Any) -> Any:
    told: dict[str, Any] = {"actor": "cli:root", "now_us": NOW_US}
    return archive(world.book, MONTH, **(told | changed))


def test_a_ledger_verifies_from_the_file(world: World, a_line: Lines) -> None:
    """Bodies are gone from the tables, and every check is made over those in the file."""
    ids = closed(world, a_line)

    found = moved(world)

    left = world.book.query("SELECT count(*) FROM entry WHERE body IS NULL")[0][0]
    ((month, entry),) = newest_archives(world.book)
    body: Any = entry.body
    assert (MONTH, found.bodies, left) == (month, body["leaves"]["count"], found.bodies)
    assert 8 < found.bodies
    assert "2026-01.parquet" == body["file"]
    assert [] == world.book.verify()
    assert ["provisional", "settled"] == [line.body["state"] for line in receipt_lines(world.book, ids[0])]
    assert [] == check_proof(prove_request(world.book, ids[0]), verifiers(world.book)[-1])


def test_statements_are_what_they_were(world: World, a_line: Lines) -> None:
    """From sums and, through the file, from entries."""
    closed(world, a_line)
    scope = a_scope(world.book)
    before = both_ways(world.book, scope)

    moved(world)
    after = both_ways(world.book, a_scope(world.book))

    assert after[0] == after[1]
    for name in ("totals", "breakdown", "reconciliation", "reconciliation_of_tenant", "shared"):
        assert before[0][name] == after[0][name]


def test_a_file_that_is_not_there_is_named(world: World, a_line: Lines) -> None:
    """verify checks the hashes that it has and says what it cannot; questions say which file to put back."""
    ids = closed(world, a_line)
    path = moved(world).path
    hidden = path.with_suffix(".away")
    path.rename(hidden)

    (finding,) = world.book.verify()
    with pytest.raises(LedgerUnavailable, match=r"is archived in .*2026-01.parquet, which cannot be read"):
        lines_of_request(fresh(world), ids[0])
    with pytest.raises(LedgerUnavailable, match="put the file back"):
        list(fresh(world).entries())
    hidden.rename(path)

    assert f"{path} is not there" in finding
    assert "put the file back" in finding
    assert [] == world.book.verify()


def fresh(world: World) -> Any:
    """The ledger as another process opens it: nothing of the file is at hand."""
    world.book.archives.forget(MONTH)
    return world.book


def test_another_file_is_found_out(world: World, a_line: Lines, tmp_path: Path) -> None:
    """Its digest and its bodies' hashes are not those of the entry and the tree."""
    import pyarrow.parquet as pq

    closed(world, a_line)
    path = moved(world).path
    table = pq.read_table(path)
    bodies = table["body"].to_pylist()
    changed = [body.replace(b'"outcome":"ok"', b'"outcome":"no"') for body in bodies]
    index = table.schema.get_field_index("body")
    pq.write_table(table.set_column(index, "body", [changed]), path)
    world.book.archives.forget(MONTH)

    findings = world.book.verify()

    assert any("its hash is not the tree's" in finding for finding in findings)
    assert any("it was written with" in finding for finding in findings)
    with pytest.raises(LedgerUnavailable, match="is not what the tree has"):
        restore(world.book, MONTH, actor=None, now_us=NOW_US)


def test_a_month_can_be_taken_back(world: World, a_line: Lines) -> None:
    """Body for body; afterwards it can be restated, and archived again with what is then there."""
    closed(world, a_line)
    bodies = [row.body for row in world.book.rows()]
    moved(world)
    with pytest.raises(LedgerUnavailable, match="--restore MONTH"):
        restate(world.book, [a_reading()], reason="r", now_us=NOW_US)

    back = restore(world.book, MONTH, actor="cli:root", now_us=NOW_US + 1)
    shutil.rmtree(back.path.parent)
    world.book.archives.forget(MONTH)

    assert bodies == [row.body for row in world.book.rows()][: len(bodies)]
    assert [] == world.book.verify()
    assert restate(world.book, [a_reading()], reason="r", now_us=NOW_US).rows
    again = moved(world, now_us=NOW_US + 2)
    assert (back.bodies, 2) == (again.bodies, again.entry.revision)
    assert [] == world.book.verify()
    with pytest.raises(InvalidRequest, match="archived already"):
        moved(world)


def test_a_tenant_in_an_archive_is_taken_back_before_it_is_erased(world: World, a_line: Lines) -> None:
    """A file cannot be erased from; after the erasure the month is archived without it."""
    closed(world, a_line)
    moved(world)
    told: dict[str, Any] = {"reason": "asked", "actor": None, "now_us": NOW_US, "spools": world.folder / "none"}

    with pytest.raises(InvalidRequest, match="lie in the archive of 2026-01: take them back first"):
        erase(world.book, "globex", **told)
    restore(world.book, MONTH, actor=None, now_us=NOW_US)
    erase(world.book, "globex", **told)
    path = moved(world).path

    assert b"globex" not in path.read_bytes()
    assert [] == world.book.verify()


def test_a_dry_run_moves_nothing(world: World, a_line: Lines) -> None:
    """It counts what would go, and writes no file."""
    closed(world, a_line)
    head = world.book.head()

    dry = moved(world, dry_run=True)

    assert head == world.book.head()
    assert not dry.path.exists()
    assert (dry.bodies, dry.size_bytes) == ((done := moved(world)).bodies, done.size_bytes)


def test_only_closed_months_are_archived(world: World, a_line: Lines) -> None:
    """And only archived ones are taken back; a writer keeps both out."""
    with pytest.raises(InvalidRequest, match="2026-01 is not closed: `greenserve ledger close 2026-01`"):
        moved(world)
    with pytest.raises(InvalidRequest, match="2026-01 is not archived"):
        restore(world.book, MONTH, actor=None, now_us=NOW_US)
    closed(world, a_line)
    ingest = world.open("run-2")
    with pytest.raises(LedgerUnavailable, match="already; stop"):
        moved(world)
    ingest.abandon()


def test_the_writer_goes_on_after_a_month_was_archived(world: World, a_line: Lines) -> None:
    """The newest interval stays, so that counters and what was pending join."""
    closed(world, a_line)
    last = world.book.last_device_interval("cpu")
    moved(world)
    assert last is not None
    assert last == world.book.last_device_interval("cpu")

    ingest = world.open()
    world.request(a_line)
    steps(world, ingest, 5)
    ingest.finish()

    assert [] == world.book.verify()


def test_what_the_tree_does_not_have_is_not_archived(tmp_path: Path, a_line: Lines) -> None:
    """A file is read back against the tree before any body goes: a damaged one never replaces the rows."""
    world = World(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    closed(world, a_line)
    with sqlite3.connect(world.book.path) as file:
        (rule,) = file.execute("SELECT sql FROM sqlite_master WHERE name = 'entry_no_update'").fetchone()
        file.execute("DROP TRIGGER entry_no_update")
        changed = "CAST(replace(CAST(body AS TEXT), 'miss', 'mist') AS BLOB)"
        file.execute(f"UPDATE entry SET body = {changed} WHERE kind = 'usage'")
        file.execute(rule)
    file.close()

    with pytest.raises(LedgerUnavailable, match="is not what the tree has"):
        moved(world)
    left = world.book.query("SELECT count(*) FROM entry WHERE body IS NULL")[0][0]
    world.book.close()

    assert 0 == left


def test_a_body_that_goes_without_an_entry_is_found(tmp_path: Path, a_line: Lines) -> None:
    """More rows are empty than the entry says."""
    world = World(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    closed(world, a_line)
    moved(world)
    with sqlite3.connect(world.book.path) as file:
        file.execute("DROP TRIGGER entry_no_update")
        file.execute("UPDATE entry SET hour = hour + 1 WHERE body IS NULL AND kind = 'usage'")
    file.close()

    findings = world.book.verify()
    world.book.close()

    assert any("were moved, the rows say" in finding for finding in findings)


@pytest.mark.parametrize(("text", "days"), [("keep", None), ("1d", 1), ("400d", 400)])
def test_a_retention_is_keep_or_days(text: str, days: int | None) -> None:
    """Counted from the month's end."""
    assert (None if days is None else days * DAY_US) == retention_us(text)


@pytest.mark.parametrize("text", ["", "0d", "d", "1y", "-1d", "100000d"])
def test_another_retention_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="write keep, or days"):
        retention_us(text)


def test_months_are_due_once_their_retention_is_over() -> None:
    """To the microsecond, in order, and not twice."""
    closed_months = [202602, 202601, 202512]

    assert [202512, 202601] == due_months(closed_months, set(), DAY_US, MONTH_END_US + DAY_US)
    assert [202512] == due_months(closed_months, set(), DAY_US, MONTH_END_US + DAY_US - 1)
    assert [202601] == due_months(closed_months, {202512}, DAY_US, MONTH_END_US + DAY_US)
