"""Exports as tables, and months that are not ready to be closed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.hour_entries import hour_entries
from greenserve.carbon.hours import Hours
from greenserve.carbon.ledger.closing import GRACE_HOURS, close_period
from greenserve.carbon.ledger.export import write_parquet
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.pools import closes_at_us
from greenserve.errors import InvalidRequest
from tests.carbon.statements import AT_US, interval

Lines = Callable[..., UsageLine]
HOUR_US = 3_600_000_000
END_US = 1_769_904_000_000_000  # 2026-02-01T00:00:00Z


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def test_a_month_waits_for_its_late_lines(book: SqliteLedger, a_line: Lines) -> None:
    """Not before 96 hours after its end, not while a request is provisional, not twice, and months only."""
    entry = usage_entry(a_line())
    book.append([entry])
    ready_us = END_US + GRACE_HOURS * HOUR_US

    with pytest.raises(InvalidRequest, match="from 2026-02-05T00:00Z on"):
        close_period(book, "2026-01", now_us=ready_us - 1)
    with pytest.raises(InvalidRequest, match=f"1 requests that are not settled, such as {entry.key}"):
        close_period(book, "2026-01", now_us=ready_us)
    with pytest.raises(InvalidRequest, match="write one like 2026-10"):
        close_period(book, "2026", now_us=2 * ready_us)
    book.append([unmetered_entry(entry.body)])
    closed = close_period(book, "2026-01", now_us=ready_us)
    with pytest.raises(InvalidRequest, match="closed already"):
        close_period(book, "2026-01", now_us=ready_us)

    assert (2, 1) == (closed.body["size"], closed.body["requests"])
    assert [] == book.verify()


def test_a_month_waits_for_its_device_hours(book: SqliteLedger) -> None:
    """What devices drew in an hour is shared when the hour is closed; a month is closed after all of its hours."""
    metered = interval(0, at_us=AT_US, idle=5)
    book.append([metered])
    ready_us = END_US + GRACE_HOURS * HOUR_US
    with pytest.raises(InvalidRequest, match="1 hours of devices that are not closed, the first of them 2026-01-01T00"):
        close_period(book, "2026-01", now_us=ready_us)

    hours = Hours()
    hours.close(0, metered.body)
    (name,) = hours.due(closes_at_us(metered.hour))
    closing = hours.take(name, closes_at_us(metered.hour))
    assert closing is not None
    book.append(hour_entries(closing, revision=0, at_us=closes_at_us(metered.hour), resume_index=1))
    closed = close_period(book, "2026-01", now_us=ready_us)

    assert 0 == closed.body["requests"]
    assert [] == book.verify()


def test_a_table_holds_the_rows_with_null_for_unknown(book: SqliteLedger, tmp_path: Path, a_line: Lines) -> None:
    """Integers as they are in the ledger, and bodies byte for byte."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow")
    first = usage_entry(a_line())
    book.append([first, usage_entry(a_line(usage=None)), unmetered_entry(first.body)])

    count = write_parquet(book, tmp_path / "out.parquet")

    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert 3 == count
    assert [54_603, None, 54_603] == table["active_uj"]
    assert ["sentiment", "sentiment", None] == table["model"]
    assert [row.body for row in book.rows()] == table["body"]
