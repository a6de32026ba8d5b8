"""The one writer, over a meter and a clock that the test moves by hand."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, usage_body
from greenserve.carbon.ledger.row import Prepared
from greenserve.carbon.ledger.rows import Cursor, Placed
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.errors import LedgerUnavailable
from greenserve.units import NS_PER_S
from tests.carbon.worlds import World, steps

Lines = Callable[..., UsageLine]


def test_a_request_is_recorded_then_settled_against_the_meter(world: World, a_line: Lines) -> None:
    """All dynamic energy of a lone request's CPU time becomes its own: 5 ms at 3 W are 15,000 uJ."""
    ingest = world.open()
    world.request(a_line)

    ingest.step()
    provisional = len(world.lines(revision=0))
    steps(world, ingest, 4)
    ingest.finish()

    (settled,) = world.lines()
    body: Any = settled.body
    assert 1 == provisional
    assert (12_000, 3_000, "modelled", []) == (body["active_uj"], body["host_uj"], body["tier"], body["flags"])
    total = body["active_uj"] + body["host_uj"] + body["held_uj"]
    assert (total * 65 // 100, -(-total * 135 // 100)) == (body["low_uj"], body["high_uj"])
    assert [] == world.book.verify()


def test_every_metered_microjoule_has_its_place(world: World, a_line: Lines) -> None:
    """Over many requests of two tenants, some lost, the intervals sum to the counter's difference."""
    ingest = world.open()
    start = world.meter.read()
    for number in range(40):
        world.request(a_line, tenant=("acme", "globex")[number % 2], charged=number % 5 != 0)
        if number % 7 == 0:
            steps(world, ingest, 1)
    ingest.finish()

    metered = sum(int(str(entry.body["metered_uj"])) for entry in world.lines("device_interval", 0))
    assert world.meter.read().energy_uj - start.energy_uj == metered
    assert 40 == len(world.lines())
    assert [] == world.book.verify()


def test_the_spool_is_emptied_once_its_writer_is_gone(world: World, a_line: Lines) -> None:
    """A dead process's file is taken in and removed; a living writer's stays until it has a newer one."""
    ingest = world.open()
    line = a_line(start_ns=world.clock.monotonic_ns(), end_ns=world.clock.monotonic_ns() + 5)
    program = (
        "import sys; from pathlib import Path; from greenserve.carbon.ledger.spool import SpoolWriter\n"
        "SpoolWriter(Path(sys.argv[1]), 'other').append([sys.argv[2].encode()])"
    )
    text = ledger_json(usage_body(line)).decode()
    subprocess.run([sys.executable, "-c", program, str(world.folder / "spool"), text], check=True, timeout=60)
    world.request(a_line)

    ingest.step()
    steps(world, ingest, 1)

    assert 2 == len(world.lines(revision=0))
    assert 1 == len(list((world.folder / "spool").glob("*.spool")))
    assert 1 == len(world.book.cursors())
    ingest.finish()


def test_a_writer_that_died_is_continued_in_the_same_run(world: World, a_line: Lines) -> None:
    """The counters go on from the last interval, so energy of the time without a writer is not lost."""
    first = world.open()
    start = world.meter.read()
    world.request(a_line)
    steps(world, first, 5)
    first.abandon()
    world.clock.advance(duration_ns=10 * NS_PER_S)
    world.request(a_line)

    second = world.open()
    steps(world, second, 5)
    second.finish()

    metered = sum(int(str(entry.body["metered_uj"])) for entry in world.lines("device_interval", 0))
    assert world.meter.read().energy_uj - start.energy_uj == metered
    assert [[], []] == [entry.body["flags"] for entry in world.lines()]
    assert [] == world.book.verify()


def test_energy_of_open_requests_is_not_lost_with_the_writer(world: World, a_line: Lines) -> None:
    """What a request had received when the writer died becomes background, and conservation still holds."""
    first = world.open()
    now_ns = world.clock.monotonic_ns()
    world.request(a_line, start_ns=now_ns, end_ns=now_ns + 60 * NS_PER_S)
    steps(world, first, 6)
    first.abandon()

    second = world.open()
    world.clock.advance(duration_ns=60 * NS_PER_S)
    second.finish()

    released = [entry.body for entry in world.lines("device_interval", 0) if "writer_restarted" in str(entry.body)]
    assert 1 == len(released)
    assert 0 < int(str(released[0]["background_uj"]))
    assert [] == world.book.verify()


def test_requests_of_another_run_keep_their_estimate(world: World, a_line: Lines) -> None:
    """Monotonic times of another boot mean nothing here: the provisional value stays, flagged `unmetered`."""
    world.request(a_line, run_id="run-0")
    old = world.open("run-0")
    old.step()
    old.abandon()
    world.request(a_line, run_id="run-0")

    new = world.open("run-1", "boot-2")
    world.request(a_line, run_id="run-0")
    new.step()
    new.finish()

    assert [["unmetered"]] * 3 == [entry.body["flags"] for entry in world.lines()]
    assert [54_603] * 3 == [entry.body["active_uj"] for entry in world.lines()]
    assert [] == world.book.verify()


def test_a_request_without_figures_is_settled_as_unknown(world: World, a_line: Lines) -> None:
    """Nothing measured at the source: null, flagged, never zero."""
    ingest = world.open()
    world.request(a_line, usage=None, cpu_ns=None, host_cpu_ns=None, held_ns=None)

    ingest.finish()

    (settled,) = world.lines()
    assert (None, ["unmetered"]) == (settled.body["active_uj"], settled.body["flags"])
    assert [] == world.book.verify()


def test_a_broken_meter_is_told_and_bridged(world: World, a_line: Lines) -> None:
    """While it fails nothing settles; the counter is cumulative, so the next reading covers the time."""
    ingest = world.open()
    start = world.meter.read()
    world.meter.broken = True
    world.request(a_line)
    world.clock.advance(duration_ns=3 * NS_PER_S)
    faults = [ingest.step().meter_fault]
    world.meter.broken = False
    steps(world, ingest, 4)
    faults.append(ingest.step().meter_fault)
    ingest.finish()

    metered = sum(int(str(entry.body["metered_uj"])) for entry in world.lines("device_interval", 0))
    assert ["the hand meter is broken; mend it", None] == faults
    assert world.meter.read().energy_uj - start.energy_uj == metered
    assert [[]] == [entry.body["flags"] for entry in world.lines()]


def test_an_idle_node_writes_an_interval_a_minute(world: World) -> None:
    """Readings go on each second; the ledger does not grow with them."""
    ingest = world.open()

    steps(world, ingest, 130)

    assert 2 == len(world.lines("device_interval", 0))
    ingest.finish()
    assert 3 == len(world.lines("device_interval", 0))


def test_there_is_one_writer(world: World) -> None:
    """The second one is refused and told who holds the lock; after the first ends the next may."""
    first = world.open()

    with pytest.raises(LedgerUnavailable, match="writes the ledger"):
        world.open()
    first.finish()

    world.open().finish()


def test_a_damaged_spool_stops_nothing_else_and_is_loud(world: World, a_line: Lines) -> None:
    """Other spools are taken in, and every step names the damaged file until somebody has looked at it."""
    ingest = world.open()
    for _ in range(3):
        world.request(a_line)
    world.spool.close()
    (path,) = (world.folder / "spool").glob("*.spool")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    world.request(a_line)

    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="is damaged"):
            ingest.step()

    assert 2 == len(world.lines(revision=0))
    assert path.exists()
    with pytest.raises(LedgerUnavailable, match="is damaged"):
        ingest.finish()
    assert 2 == len(world.lines())


def test_a_long_queue_is_taken_in_bounded_groups_and_drained_at_the_end(world: World, a_line: Lines) -> None:
    """After a long stop no transaction grows without bound, and `finish` leaves nothing behind."""
    ingest = world.open()
    now_ns = world.clock.monotonic_ns()
    world.clock.advance(duration_ns=NS_PER_S)
    for _ in range(11):
        lines = [a_line(start_ns=now_ns, end_ns=now_ns + 1_000) for _ in range(1_000)]
        world.spool.append([ledger_json(usage_body(line)) for line in lines])

    first = ingest.step()
    last = ingest.finish()

    assert (5_000, 6_000, 0) == (first.added, last.added, last.waiting)
    assert world.book.unsettled() == []
    assert [] == world.book.verify()


class LosingLedger(SqliteLedger):
    """A ledger whose answer to a committed transaction is lost, where `loses` says of its lines that it is."""

    loses: Callable[[Sequence[Prepared]], bool] = staticmethod(lambda lines: False)

    def append_lines(
        self, lines: Sequence[Prepared], cursors: Mapping[str, Cursor] | None = None, epoch: int | None = None
    ) -> list[Placed]:
        placed = super().append_lines(lines, cursors, epoch)
        if self.loses(lines):
            self.loses = lambda lines: False
            raise LedgerUnavailable("the connection was lost")
        return placed


@pytest.mark.parametrize("revision", [0, 1])
def test_a_committed_transaction_that_looks_failed_changes_nothing(
    tmp_path: Path, a_line: Lines, revision: int
) -> None:
    """First lines are settled by the meter and hours hold settled ones, though the ledger had them already."""
    book = LosingLedger(tmp_path / "ledger.db")
    world = World(tmp_path, book)
    ingest = world.open()
    world.request(a_line)
    book.loses = lambda lines: any((line.kind, line.revision) == ("usage", revision) for line in lines)

    with pytest.raises(LedgerUnavailable, match="was lost"):
        steps(world, ingest, 5)
    steps(world, ingest, 5)
    world.clock.advance(duration_ns=2 * 3_600 * NS_PER_S)
    steps(world, ingest, 1)
    ingest.finish()

    (line,) = world.lines()
    shares: list[Any] = [one.body for one in world.lines("share", 0) if one.tenant == "acme"]
    assert (12_000, 3_000, []) == tuple(line.body[name] for name in ("active_uj", "host_uj", "flags"))
    assert [1] == [share["lines"] for share in shares]
    assert [] == book.verify()
    world.spool.close()
    book.close()
