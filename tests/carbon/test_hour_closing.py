"""The writer closes hours: once each, ten minutes after their end, whatever happens to it in between."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import PLATFORM, POOLS, UsageLine
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.row import Prepared
from greenserve.carbon.ledger.rows import Cursor, Placed
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.clock import ManualClock
from greenserve.errors import LedgerUnavailable
from greenserve.units import NS_PER_S
from tests.carbon.statements import AT_US, HOUR_US, interval
from tests.carbon.test_ingest_boards import World as BoardWorld
from tests.carbon.worlds import HOUR, World, past_the_hour, steps

Lines = Callable[..., UsageLine]


def hourly(world: World) -> list[Any]:
    """The bodies of closings and shares in order of index."""
    return [entry.body for _, entry in world.book.entries() if entry.kind in ("device_hour", "share")]


def test_an_hour_is_closed_with_the_part_of_each_tenant(world: World, a_line: Lines) -> None:
    """Idle energy by the time that requests held the device; what is metered is all placed, difference 0."""
    ingest = world.open()
    for tenant, held_ns in (("acme", 6_000_000), ("globex", 2_000_000), ("acme", 0)):
        world.request(a_line, tenant=tenant, held_ns=held_ns)
    steps(world, ingest, 70)
    before = hourly(world)
    past_the_hour(world)

    ingest.step()

    hour, acme, globex = hourly(world)
    intervals: list[Any] = [e.body for e in world.lines("device_interval", 0) if e.hour == HOUR]
    assert [] == before
    assert ("cpu", HOUR, 0, 2) == (hour["device"], hour["hour"], hour["revision"], hour["shares"])
    assert sum(one["metered_uj"] for one in intervals) == hour["metered_uj"]
    assert hour["metered_uj"] == sum(hour[pool] for pool in POOLS)
    assert ("acme", 2, 6_000_000) == (acme["tenant"], acme["lines"], acme["busy_ns"])
    assert ("globex", 1, 2_000_000) == (globex["tenant"], globex["lines"], globex["busy_ns"])
    assert hour["idle_uj"] == acme["idle_uj"] + globex["idle_uj"]
    assert abs(3 * globex["idle_uj"] - acme["idle_uj"]) <= 3
    assert 0 < globex["idle_uj"]
    assert ["modelled"] * 3 == [one["tier"] for one in (hour, acme, globex)]
    assert [] == world.book.verify()
    ingest.finish()


def test_each_hour_is_closed_once(world: World, a_line: Lines) -> None:
    """Steps, restarts and a long stop change nothing: one closing for each hour that had an interval."""
    ingest = world.open()
    for number in range(4):
        world.request(a_line)
        steps(world, ingest, 5)
        past_the_hour(world, HOUR + number)
        steps(world, ingest, 2)
        if number % 2:
            ingest.abandon()
            ingest = world.open()
    world.clock.advance(duration_ns=30 * 3_600 * NS_PER_S)
    ingest.step()
    ingest.step()
    ingest.finish()

    closings = [(body["hour"], body["revision"]) for body in hourly(world) if body["kind"] == "device_hour"]
    assert sorted(set(closings)) == sorted(closings)
    assert {0} == {revision for _, revision in closings}
    assert {HOUR, HOUR + 1, HOUR + 2, HOUR + 3} <= {hour for hour, _ in closings}
    metered = sum(int(str(entry.body["metered_uj"])) for entry in world.lines("device_interval", 0))
    closed = sum(body["metered_uj"] for body in hourly(world) if body["kind"] == "device_hour")
    open_now = sum(
        int(str(e.body["metered_uj"])) for e in world.lines("device_interval", 0) if e.hour > closings[-1][0]
    )
    assert metered == closed + open_now
    assert [] == world.book.verify()


def test_a_writer_that_died_before_the_hour_closed_is_continued(world: World, a_line: Lines) -> None:
    """The next one reads the open hours from the ledger: the same entries but for the moment of closing."""
    first = world.open()
    world.request(a_line)
    steps(world, first, 5)
    first.abandon()
    past_the_hour(world)

    world.open().step()

    hour, share = hourly(world)
    assert (1, 12_000 + 3_000) == (share["lines"], hour["active_uj"] + hour["host_uj"])
    assert [] == world.book.verify()


def test_a_ledger_of_before_hours_were_closed_is_caught_up(world: World, a_line: Lines) -> None:
    """The first writer that closes hours folds all that is there, in bounded reads, and closes every past hour."""
    world.book.append([interval(number, at_us=AT_US + number * HOUR_US // 4, idle=5 + number) for number in range(40)])
    closer = HourCloser(world.book)
    past_the_hour(world, HOUR + 20)

    entries = closer.due(world.clock.unix_us())
    world.book.append(entries)

    closings: list[Any] = [entry.body for entry in entries if entry.kind == "device_hour"]
    assert [HOUR + number for number in range(10)] == [one["hour"] for one in closings]
    assert 40 == sum(one["entries"] for one in closings)
    assert [40] * 10 == [one["resume_index"] for one in closings]
    assert [] == HourCloser(world.book).due(world.clock.unix_us())
    assert [] == world.book.verify()


def test_what_comes_for_a_closed_hour_is_a_further_part_of_it(world: World) -> None:
    """A clock that was set back stamps an interval with an hour that is closed: a second revision holds it alone."""
    world.book.append([interval(1, at_us=AT_US, idle=5), interval(2, at_us=AT_US + HOUR_US, idle=7)])
    past_the_hour(world)
    closer = HourCloser(world.book)
    world.book.append(closer.due(world.clock.unix_us()))

    world.book.append([interval(3, at_us=AT_US + 9, idle=11)])
    closer.fall_behind()
    world.book.append(closer.due(world.clock.unix_us()))
    again = HourCloser(world.book).due(world.clock.unix_us())

    closings = [(one["hour"], one["revision"], one["idle_uj"]) for one in hourly(world) if one["kind"] == "device_hour"]
    assert [(HOUR, 0, 5), (HOUR, 1, 11)] == closings
    assert [] == again
    assert [] == world.book.verify()


def test_a_board_is_shared_by_weight_in_its_batches(tmp_path: Path, a_line: Lines) -> None:
    """Three quarters of a batch of 200 ms on a board are 150 ms of it; the CPU of the same node has its own hour."""
    node = BoardWorld(tmp_path, 1)
    ingest = node.open()
    node.steps(ingest, 2)
    node.batch(a_line, [750_000_000], tenant="acme")
    before = node.entries("usage")
    node.steps(ingest, 70)
    node.clock.advance(duration_ns=2 * 3_600 * NS_PER_S)

    ingest.step()

    closings = {body["device"]: body for body in node.entries("device_hour") if body["hour"] == HOUR}
    shares = {body["device"]: body for body in node.entries("share") if body["hour"] == HOUR}
    board = node.boards[0].uuid
    assert [] == before
    assert {"cpu", board} == closings.keys() == shares.keys()
    assert ("acme", 150_000_000, "busy") == tuple(shares[board][name] for name in ("tenant", "busy_ns", "rule"))
    assert 0 < closings[board]["idle_uj"] == shares[board]["idle_uj"]
    assert ("spans", None) == (closings[board]["settled_by"], closings["cpu"]["settled_by"])
    for hour in closings.values():
        assert hour["metered_uj"] == sum(hour[pool] or 0 for pool in POOLS) + hour["pending_change_uj"]
    assert [] == node.book.verify()
    ingest.finish()


class FailingLedger(SqliteLedger):
    """Fails when an hour is to be written: `how` is `full` (raises, nothing written), `before` or `after` (the process
    is killed on either side of the commit)."""

    how = ""

    def append_lines(
        self, lines: Sequence[Prepared], cursors: Mapping[str, Cursor] | None = None, epoch: int | None = None
    ) -> list[Placed]:
        closing = any(line.kind == "device_hour" for line in lines)
        if closing and self.how == "full":
            raise LedgerUnavailable("the disk is full; make room")
        if closing and self.how == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        placed = super().append_lines(lines, cursors, epoch)
        if closing and self.how == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return placed


def a_life(folder: Path, how: str, line: UsageLine) -> None:
    """A writer that is killed when it closes its first hour."""
    book = FailingLedger(folder / "ledger.db")
    book.how = how
    world = World(folder, book)
    ingest = world.open()
    world.request(lambda **changes: line)
    steps(world, ingest, 5)
    past_the_hour(world)
    ingest.step()


@pytest.mark.parametrize("how", ["before", "after"])
def test_kill_nine_around_the_commit_neither_loses_nor_doubles_an_hour(tmp_path: Path, a_line: Lines, how: str) -> None:
    """Either side of the commit: the next writer finds each hour closed once, with all of its shares."""
    now_ns = 100 * NS_PER_S
    line = a_line(start_ns=now_ns, end_ns=now_ns + 10_000_000, ended_us=AT_US + 10_000, cpu_ns=4_000_000)
    process = multiprocessing.get_context("fork").Process(target=a_life, args=(tmp_path, how, line))
    process.start()
    process.join(60)
    world = World(tmp_path, SqliteLedger(tmp_path / "ledger.db"))
    world.clock = ManualClock(monotonic_ns=10_000 * NS_PER_S, unix_us=AT_US + 2 * HOUR_US)
    left = len(hourly(world))

    ingest = world.open()
    ingest.step()
    ingest.step()

    assert -signal.SIGKILL == process.exitcode
    assert {"before": 0, "after": 2}[how] == left
    assert ["device_hour", "share"] == [body["kind"] for body in hourly(world) if body["hour"] == HOUR]
    assert [] == world.book.verify()
    ingest.finish()
    world.spool.close()
    world.book.close()


def test_an_hour_that_could_not_be_written_is_written_by_the_next_step(tmp_path: Path, a_line: Lines) -> None:
    """Nothing of it is lost, and it is not derived a second time."""
    book = FailingLedger(tmp_path / "ledger.db")
    world = World(tmp_path, book)
    ingest = world.open()
    world.request(a_line)
    steps(world, ingest, 5)
    past_the_hour(world)
    book.how = "full"
    with pytest.raises(LedgerUnavailable, match="full"):
        ingest.step()
    book.how = ""

    steps(world, ingest, 3)
    ingest.finish()

    assert ["device_hour", "share"] == [body["kind"] for body in hourly(world) if body["hour"] == HOUR]
    assert [] == book.verify()
    world.spool.close()
    book.close()


def test_verify_names_a_wrong_closing(world: World) -> None:
    """An hour that says another figure than its intervals, and a share that is not one, stand in the findings."""
    world.book.append([interval(1, at_us=AT_US, idle=5)])
    past_the_hour(world)
    hour, share = HourCloser(world.book).due(world.clock.unix_us())
    wrong = [type(hour)(**{name: getattr(one, name) for name in one.__slots__} | {"body": dict(one.body) | changes})
             for one, changes in ((hour, {"idle_uj": 4}), (share, {"idle_uj": 6}))]  # fmt: skip
    world.book.append(wrong)

    findings = world.book.verify()

    assert ["entry 1", "entry 2"] == [finding[:7] for finding in findings]
    assert ["idle_uj is 4, the lines and intervals give 5", "idle_uj is 6, the lines and intervals give 5"] == [
        finding.partition("): ")[2] for finding in findings
    ]
    assert PLATFORM == share.tenant
