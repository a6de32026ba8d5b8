"""What the gateway's writer relies on: hot sums, short settled lines, fences, checkpoints; and faults of the disk."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, settled_body, unmetered_entry, usage_body, usage_entry
from greenserve.carbon.ledger.intake import unshipped_lines
from greenserve.carbon.ledger.notes import parse_note
from greenserve.carbon.ledger.proofs import newest_note, verifiers
from greenserve.carbon.ledger.row import prepare, prepare_bytes, usage_key
from greenserve.carbon.ledger.rows import Cursor
from greenserve.carbon.ledger.spool import SpoolReader, SpoolWriter
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.tally import Tally
from greenserve.errors import LedgerUnavailable
from greenserve.records import Usage

Lines = Callable[..., UsageLine]
HOUR = 1_767_225_600_000_000 // 3_600_000_000


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def test_rollup_rows_are_the_newest_lines_by_key(book: SqliteLedger, a_line: Lines) -> None:
    """One row per tenant, key, hour, model, variant and region, whoever wrote it and however often it was changed."""
    first = usage_entry(a_line())
    book.append([first, usage_entry(a_line(key_id="k2", variant="fp32"))])
    other = SqliteLedger(book.path)
    other.append([unmetered_entry(first.body), usage_entry(a_line(tenant="globex"))])
    book.append([usage_entry(a_line())])

    rows = book.rollup_rows("acme", HOUR, HOUR + 1)
    expected = Tally()
    for body in ({**first.body, **unmetered_entry(first.body).body}, usage_body(a_line())):
        expected.add(body)
        expected.describe(body)

    assert [("0123456789ab", "int8-dyn"), ("k2", "fp32")] == [(key.key_id, key.variant) for key, _ in rows]
    assert expected == rows[0][1]
    assert 3 == len(book.rollup_rows(None, HOUR, HOUR + 1))
    assert [] == book.rollup_rows("acme", HOUR + 1, HOUR + 9)
    assert [] == book.verify()
    other.close()


def test_a_settled_line_is_short_and_names_its_first_one(book: SqliteLedger, a_line: Lines) -> None:
    """It says what the meter changed; an index that is not the first line's is refused, with its whole group."""
    book.append([usage_entry(a_line())])
    first = usage_entry(a_line())
    book.append([first])
    right, wrong = (unmetered_entry(first.body, first=index) for index in (1, 0))

    with pytest.raises(LedgerUnavailable, match="settles entry 0, its first line is entry 1"):
        book.append([usage_entry(a_line()), wrong])
    book.append([right])

    assert 3 == book.head().size
    assert len(ledger_json(first.body)) > 2 * len(ledger_json(right.body))
    assert [] == book.verify()


def test_a_request_settles_with_figures_unknown_before(book: SqliteLedger, a_line: Lines) -> None:
    """From unknown to measured, and from one tier to another: the sums follow."""
    first = usage_entry(a_line(usage=None))
    usage = Usage(
        request_id=first.key, active_uj=5, held_uj=6, host_uj=7, low_uj=1, high_uj=30, tier="measured", state="settled"
    )
    book.append([first])
    before = book.rollup_rows("acme", HOUR, HOUR + 1)[0][1]
    book.append_lines([prepare_bytes(ledger_json(settled_body(first.body, usage, ["unmetered"])))])

    after = book.rollup_rows("acme", HOUR, HOUR + 1)[0][1]
    assert (1, None) == (before.unmetered, before.tier)
    assert (0, "measured", 18) == (after.unmetered, after.tier, after.energy_uj)
    assert [] == book.verify()


def test_a_failed_group_leaves_no_trace_in_what_comes_next(book: SqliteLedger, a_line: Lines) -> None:
    """Sums, tree and numbers that were prepared for it are forgotten with it."""
    entry = usage_entry(a_line())
    book.append([entry])
    changed = usage_entry(a_line(request_id=entry.key, active_uj=1))

    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="another body"):
            book.append([usage_entry(a_line()), changed])
        with pytest.raises(LedgerUnavailable, match="follows no revision 0"):
            book.append([usage_entry(a_line()), unmetered_entry(usage_entry(a_line()).body)])
    book.append([usage_entry(a_line())])

    assert 2 == book.head().size
    assert 2 == book.rollup_rows("acme", HOUR, HOUR + 1)[0][1].requests
    assert [] == book.verify()


def test_spooled_bytes_are_stored_as_they_are(book: SqliteLedger, a_line: Lines) -> None:
    """Canonical ones; others are brought into the one form first, so that every machine hashes the same."""
    body = ledger_json(usage_body(a_line()))
    loose = ledger_json(usage_body(a_line())).replace(b'{"active_uj"', b'{ "active_uj"', 1)

    book.append_lines([prepare_bytes(body), prepare_bytes(loose)])

    stored = [row.body for row in book.rows()]
    assert [body, loose.replace(b'{ "', b'{"', 1)] == stored
    assert prepare_bytes(body).body is body


@pytest.mark.parametrize(
    "request_id", ["x", "0190b5ca-0000-4000-8000-000000000000", "0190B5CA-0000-7000-8000-000000000000"]
)
def test_a_key_is_a_uuid_of_version_7_in_its_usual_form(request_id: str) -> None:
    """Two spellings of one id would be two requests."""
    with pytest.raises(LedgerUnavailable, match="no UUIDv7"):
        usage_key(request_id)


def test_a_writer_that_was_replaced_cannot_append(book: SqliteLedger, a_line: Lines) -> None:
    """It finds another epoch, says who took over, and writes nothing, not even a cursor."""
    epoch = book.take_over("first")
    book.append_lines([prepare(usage_entry(a_line()))], {}, epoch)
    book.take_over("second")

    with pytest.raises(LedgerUnavailable, match="second has taken over"):
        book.append_lines([prepare(usage_entry(a_line()))], {"s": Cursor(offset=1, sequence=1)}, epoch)

    assert (1, {}) == (book.head().size, book.cursors())


def test_every_commit_leaves_a_signed_checkpoint(book: SqliteLedger, a_line: Lines) -> None:
    """In the table, and the newest beside the ledger, where whoever keeps copies finds it."""
    for _ in range(3):
        book.append([usage_entry(a_line()), usage_entry(a_line())])

    note = book.path.with_name("ledger.db.checkpoint").read_text()
    head = book.head()
    assert note == newest_note(book)
    assert (head.size, head.root) == (parse_note(note).size, parse_note(note).root.hex())
    assert verifiers(book)[0].check(note) is not None
    assert [(2,), (4,), (6,)] == book.query("SELECT size FROM checkpoint ORDER BY size")


def test_a_foreign_signing_key_is_refused(book: SqliteLedger, tmp_path: Path, a_line: Lines) -> None:
    """A file of another ledger would sign what nobody can check."""
    SqliteLedger(tmp_path / "other.db").close()
    (tmp_path / "other.db.key").replace(tmp_path / "ledger.db.key")

    with pytest.raises(LedgerUnavailable, match="not this ledger's signing key"):
        book.append([usage_entry(a_line())])

    assert 0 == book.head().size


def limited(path: Path, body: str, size: int) -> "subprocess.CompletedProcess[str]":
    """Append one entry after another in a process whose files cannot grow over `size` bytes."""
    program = (
        "import sys; from pathlib import Path\n"
        "from greenserve.carbon.ledger.sqlite import SqliteLedger; from greenserve.carbon.entries import decode_entry\n"
        "from greenserve.errors import LedgerUnavailable; from greenserve.ids import new_request_id\n"
        "book, body, done = SqliteLedger(Path(sys.argv[1])), sys.argv[2], 0\n"
        "try:\n"
        "    while done < 500:\n"
        "        book.append([decode_entry(body.replace('ID', new_request_id()).encode())]); done += 1\n"
        "except LedgerUnavailable as error:\n"
        "    print(error)\n"
        "print(done)\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        [sys.executable, "-c", program, str(path), body], check=False, timeout=60, capture_output=True, text=True,
        preexec_fn=limit,
    )  # fmt: skip


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, a_line: Lines) -> None:
    """What was acknowledged before is there, the group that did not fit is not, and more space is all it takes."""
    line = a_line()
    body = ledger_json(usage_body(line)).decode().replace(line.request_id, "ID")

    done = limited(tmp_path / "ledger.db", body, 400_000)

    message, count = done.stdout.splitlines()
    book = SqliteLedger(tmp_path / "ledger.db", must_exist=True)
    assert "check the disk's space" in message
    assert 0 < int(count) < 500
    assert int(count) == book.head().size
    book.append([usage_entry(a_line())])
    assert [] == book.verify()
    book.close()


def test_a_ledger_that_cannot_be_written_is_told(book: SqliteLedger, a_line: Lines) -> None:
    """Reading goes on."""
    book.append([usage_entry(a_line())])
    read_only = SqliteLedger(book.path)
    with read_only.reading() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")

    with pytest.raises(LedgerUnavailable, match=r"readonly|attempt to write"):
        read_only.append([usage_entry(a_line())])

    assert 1 == read_only.head().size
    assert [] == read_only.verify()
    read_only.close()


def test_lines_that_the_ledger_has_not_taken_are_counted(tmp_path: Path, a_line: Lines) -> None:
    """What `stop` looks for: behind the cursor, the header is no line."""
    spool = SpoolWriter(tmp_path / "spool", "gateway")
    spool.append([ledger_json(usage_body(a_line())) for _ in range(3)])
    spool.close()
    (path,) = (tmp_path / "spool").glob("*.spool")
    frames = list(SpoolReader(path).frames())
    header = SpoolReader(path).header()
    assert header is not None
    ends = [Cursor(offset=frame.end, sequence=frame.sequence + 1) for frame in frames]

    left = [unshipped_lines(tmp_path / "spool", {header.spool_id: cursor}) for cursor in ends]

    assert [{path: 3}, {path: 2}, {path: 1}, {}] == left
    assert {path: 3} == unshipped_lines(tmp_path / "spool", {})
