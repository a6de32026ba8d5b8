"""Archives at their edges: files that are damaged, left over or away, disks that are full, lines that still wait."""

from collections.abc import Callable
from pathlib import Path

import pytest

from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.ledger.archive import archive, files_left, restore
from greenserve.carbon.ledger.closing import GRACE_HOURS, close_period
from greenserve.carbon.ledger.erasure import what_lies_outside
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.lookup import lines_of_request
from greenserve.carbon.ledger.stating import from_sums
from greenserve.carbon.pools import closes_at_us
from greenserve.errors import InvalidRequest, LedgerUnavailable
from tests.carbon.restatements import NOW_US, a_scope, both, both_ways
from tests.carbon.statements import AT_US, DAY_US, HOUR_US, interval
from tests.carbon.test_archive import MONTH, MONTH_END_US, closed, moved, request_id
from tests.carbon.test_overhead_hours import NodeWorld
from tests.carbon.worlds import HOUR, World, past_the_hour

pytest.importorskip("pyarrow", reason="pip install pyarrow")
Lines = Callable[..., UsageLine]
CLOSED_US = MONTH_END_US + GRACE_HOURS * HOUR_US


@pytest.mark.parametrize("damage", [lambda data: b"no Parquet file", lambda data: data[:4] + bytes(600) + data[604:]])
def test_a_damaged_file_is_named(world: World, a_line: Lines, damage: Callable[[bytes], bytes]) -> None:
    """Its end or its rows: an error that says which file to put back, as where it is missing."""
    ids = closed(world, a_line)
    path = moved(world).path
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    world.book.archives.forget(MONTH)

    with pytest.raises(LedgerUnavailable, match=r"2026-01.parquet, which cannot be read .*put the file back"):
        lines_of_request(world.book, ids[0])

    path.write_bytes(whole)
    world.book.archives.forget(MONTH)
    assert 2 == len(lines_of_request(world.book, ids[0]))


def test_a_full_disk_moves_nothing_and_leaves_nothing(world: World, a_line: Lines) -> None:
    """The error names the file and what to do; the half file is gone, the bodies are where they were."""
    closed(world, a_line)
    head, folder = world.book.head(), world.book.archives.path(MONTH).parent
    folder.mkdir()
    (folder / "2026-01.part").symlink_to("/dev/full")

    with pytest.raises(LedgerUnavailable, match=r"2026-01.parquet cannot be written .*free disk space"):
        moved(world)

    assert (head, []) == (world.book.head(), list(folder.iterdir()))
    assert [] == world.book.query("SELECT idx FROM entry WHERE body IS NULL")


def test_a_file_whose_month_was_taken_back_is_told(world: World, a_line: Lines) -> None:
    """An erasure does not reach it; archived again the file is the month's."""
    closed(world, a_line)
    path = moved(world).path
    assert [] == files_left(world.book)

    restore(world.book, MONTH, actor=None, now_us=NOW_US)

    assert [path] == files_left(world.book)
    outside = what_lies_outside(
        "globex", statements=path, spools=path, archived=files_left(world.book), is_sqlite=world.book.is_sqlite
    )
    assert f"{path}: of a month that was taken back, holds its bodies as they were; remove it" == outside[0]
    moved(world)
    assert [] == files_left(world.book)


def test_statements_of_a_node_with_several_devices_need_no_file(tmp_path: Path, a_line: Lines) -> None:
    """Intervals between the closings of two devices are in the closed hours, whosever they were."""
    world = NodeWorld(tmp_path)
    world.an_hour(a_line)
    past_the_hour(world, HOUR + 1)
    later = world.open("run-3")
    later.step()
    later.finish()
    before = from_sums(world.book, a_scope(world.book)).document
    close_period(world.book, "2026-01", now_us=CLOSED_US)
    path = archive(world.book, MONTH, actor=None, now_us=NOW_US).path
    path.rename(path.with_suffix(".away"))

    after = from_sums(world.book, a_scope(world.book)).document

    assert [before[name] for name in ("totals", "reconciliation", "shared")] == [
        after[name] for name in ("totals", "reconciliation", "shared")
    ]
    world.spool.close()
    world.book.close()


def test_lines_behind_a_months_last_interval_are_read_from_the_file(world: World, a_line: Lines) -> None:
    """Whether they are in the bridge is said by the lines themselves."""
    lines = [entry for number in range(2) for entry in both(a_line(request_id=request_id(number)))]
    world.book.append([interval(1, at_us=AT_US, idle=5), interval(2, at_us=AT_US + 1, idle=5)])
    world.book.append(HourCloser(world.book).due(closes_at_us(HOUR)))
    world.book.append(lines)
    before = both_ways(world.book, a_scope(world.book))
    close_period(world.book, "2026-01", now_us=CLOSED_US)
    moved(world)

    after = both_ways(world.book, a_scope(world.book))

    assert after[0] == after[1]
    assert before[0]["reconciliation_of_tenant"] == after[0]["reconciliation_of_tenant"]


def test_a_month_with_a_request_that_is_not_settled_is_not_archived(world: World, a_line: Lines) -> None:
    """Made before the month's end and ended behind it, it was not waited for when the month was closed."""
    first = usage_entry(a_line(request_id=request_id(1), ended_us=MONTH_END_US + DAY_US))
    world.book.append([first])
    close_period(world.book, "2026-01", now_us=CLOSED_US)

    with pytest.raises(InvalidRequest, match="1 requests that were made in 2026-01 are not settled"):
        moved(world)

    world.open().finish()
    assert 1 == moved(world).bodies
    world.open("run-2").finish()
    assert [] == world.book.verify()
