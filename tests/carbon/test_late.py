"""Requests that arrive after their month was closed: never lost, and the closed month stays as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import UsageLine, entry_of, unmetered_entry, usage_entry
from greenserve.carbon.ledger.book import append_with
from greenserve.carbon.ledger.closing import GRACE_HOURS, close_period
from greenserve.carbon.ledger.restatement import restate
from greenserve.carbon.ledger.row import prepare
from greenserve.carbon.ledger.rows import Cursor
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.statement_sums import NeedsEntries
from greenserve.clock import ManualClock
from tests.carbon.restatements import NOW_US, a_reading, a_scope, both, both_ways, document
from tests.carbon.statements import AT_US, DAY_US, HOUR_US

Lines = Callable[..., UsageLine]
JANUARY_END_US = AT_US + 31 * DAY_US
CLOSING_US = JANUARY_END_US + GRACE_HOURS * HOUR_US


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(unix_us=NOW_US)


@pytest.fixture
def book(tmp_path: Path, clock: ManualClock, a_line: Lines) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db", clock=clock)
    opened.append(both(a_line()))
    close_period(opened, "2026-01", now_us=CLOSING_US)
    yield opened
    opened.close()


def spooled(book: SqliteLedger, line: UsageLine, sequence: int) -> list[Any]:
    """As the writer takes a spool's line in."""
    return book.append_lines([prepare(usage_entry(line))], {"spool": Cursor(offset=sequence, sequence=sequence)})


def test_a_late_line_counts_where_the_ledger_is_open_with_its_own_time(book: SqliteLedger, a_line: Lines) -> None:
    """The closed month's statement is the same figures; the open one lists the line by the month that it ended in."""
    january = document(book, a_scope(book, end_us=JANUARY_END_US))

    (placed,) = spooled(book, a_line(), 1)
    body = placed.line.decoded
    book.append([unmetered_entry(body)])

    again = document(book, a_scope(book, end_us=JANUARY_END_US))
    february = document(book, a_scope(book, start_us=JANUARY_END_US, end_us=NOW_US + DAY_US))
    (late,) = february["late_requests"]
    assert (AT_US, NOW_US, ["late_period"]) == (body["ended_us"], body["booked_us"], body["flags"])
    assert january["totals"] == again["totals"]
    assert ("2026-01", 1, "0.061903", "0.000000597") == (
        late["ended_in"], late["requests"], late["energy_joules"], late["loc_lifecycle_gco2e"]
    )  # fmt: skip
    assert 1 == february["totals"]["requests"]
    assert "2026-02-10" == february["breakdown"][0]["day"]
    assert {"late_period": 1, "unmetered": 1} == february["data_quality"]["requests_by_flag"]
    assert [] == book.verify()


def test_resending_a_late_line_is_harmless(book: SqliteLedger, a_line: Lines, clock: ManualClock) -> None:
    """The second copy is the first one, though it would have been booked at another time."""
    line = a_line()
    spooled(book, line, 1)
    clock.advance(duration_ns=10**12)

    again = spooled(book, line, 2)

    assert [] == again
    assert 4 == book.head().size


def test_a_line_that_was_there_before_is_not_entered_again(book: SqliteLedger, a_line: Lines) -> None:
    """A spool that is read twice brings lines of the closed month that are in it: they stay as they are."""
    (first, *_) = [entry for _, entry in book.entries()]

    added = book.append([first])

    assert 0 == added


def test_a_clock_set_back_books_behind_the_closed_months(book: SqliteLedger, a_line: Lines) -> None:
    """Nothing is ever booked in a closed month: the first open one takes it."""
    wrong = SqliteLedger(book.path, clock=ManualClock(unix_us=AT_US))

    (placed,) = spooled(wrong, a_line(), 1)
    findings = wrong.verify()
    wrong.close()

    assert JANUARY_END_US == placed.line.decoded["booked_us"]
    assert [] == findings


def test_a_late_line_is_restated_by_the_time_it_ended(book: SqliteLedger, a_line: Lines) -> None:
    """The grid of its own hour counts, wherever the line is booked."""
    (placed,) = spooled(book, a_line(), 1)
    book.append([unmetered_entry(placed.line.decoded)])

    found = restate(book, [a_reading()], reason="revised", now_us=NOW_US)

    assert [True, False] == [row.closed for row in found.rows]
    assert [AT_US // HOUR_US, NOW_US // HOUR_US] == [row.row.hour for row in found.rows]
    assert [] == book.verify()


def test_a_line_forced_into_a_closed_month_is_found(tmp_path: Path, a_line: Lines) -> None:
    """An entry that lies behind the closing and counts before it is named, and so is one that claims to be late."""
    source = SqliteLedger(tmp_path / "source.db", clock=ManualClock(unix_us=CLOSING_US))
    source.append(both(a_line()))
    period = close_period(source, "2026-01", now_us=CLOSING_US)
    rows = [entry for _, entry in source.entries()]
    source.close()
    first = usage_entry(a_line())
    late = dict(usage_entry(a_line(ended_us=NOW_US)).body) | {"booked_us": NOW_US + 1, "flags": ["late_period"]}
    forged = SqliteLedger(tmp_path / "forged.db", clock=ManualClock(unix_us=CLOSING_US))
    forged.append(rows[:2])
    with forged.writing() as connection:
        for entry in (period, first):
            append_with(connection, [prepare(entry)])
        append_with(connection, [prepare(entry_of(late))])

    findings = forged.verify()
    forged.close()

    assert ["entry 3", "entry 4"] == [one[:7] for one in findings if "closed" in one]


def test_statements_with_late_lines_are_folded_from_entries(book: SqliteLedger, a_line: Lines) -> None:
    """Sums do not tell in which month a request ended; those of other months still give their statement."""
    spooled(book, a_line(), 1)

    with pytest.raises(NeedsEntries, match="month in which they ended"):
        both_ways(book, a_scope(book, start_us=JANUARY_END_US, end_us=NOW_US + DAY_US))
    sums, folded = both_ways(book, a_scope(book, end_us=JANUARY_END_US))

    assert sums == folded
