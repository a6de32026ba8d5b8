"""What reading the meters costs: CPU time by thread, its part of the background, and what hours and statements say."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import UsageLine, entry_of
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.meters.meter_cpu import MeterCpu
from greenserve.carbon.pools import closes_at_us
from greenserve.carbon.settlement import Pending, Settler
from greenserve.records import Interval
from greenserve.units import NS_PER_S
from tests.carbon.statements import AT_US, HOUR_US, interval, statement_of
from tests.carbon.worlds import World, steps

Lines = Callable[..., UsageLine]
HOUR = AT_US // HOUR_US
MS = 1_000_000


def an_interval(energy_uj: int = 1_000) -> Interval:
    return Interval(
        device="cpu", start_ns=0, end_ns=100, energy_uj=energy_uj, static_uj=400, tier="measured", source="test",
        busy_ns=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own_ns", "metering_ns", "expected"),
    [(100, 5, 30), (100, 20, 120), (100, 500, 120), (80, 5, 0), (100, 0, 0), (100, None, None)],
)
def test_metering_is_a_part_of_the_background_by_its_cpu_time(
    own_ns: int, metering_ns: int | None, expected: int | None
) -> None:
    """600 uJ dynamic over 100 ns, 80 of them a request's: of the other 120 uJ what its time is of the other 20 ns."""
    settler = Settler("cpu")
    settler.add_request(Pending(request_id="a", start_ns=0, end_ns=100, cpu_ns=60, host_cpu_ns=20, held_ns=50))
    settler.add_interval(an_interval(), own_ns, metering_ns=metering_ns)

    closed = settler.close(100)

    assert closed is not None
    assert expected == closed.device.metering_uj
    assert (closed.device.metering_uj or 0) <= closed.device.background_uj


def test_the_threads_of_meters_are_counted_by_their_names() -> None:
    """A thread called as meters' are counts with what it used since the last question; others do not."""
    going, stop = threading.Event(), threading.Event()

    def work() -> None:
        used_ns = time.thread_time_ns()
        while time.thread_time_ns() - used_ns < 20 * MS:
            pass
        going.set()
        stop.wait()

    counter = MeterCpu()
    before_ns = counter.since_last_ns()
    thread = threading.Thread(target=work, name="meter-test")
    thread.start()
    going.wait(30)
    busy_ns, idle_ns = counter.since_last_ns(), counter.since_last_ns()
    stop.set()
    thread.join()

    assert 20 * MS <= busy_ns - before_ns
    assert idle_ns < 10 * MS
    assert 0 <= counter.since_last_ns() < 10 * MS


def test_calls_for_the_meters_count_too() -> None:
    """The writer's own reading of processes is metering, whatever it returns or raises."""
    counter = MeterCpu()
    counter.since_last_ns()

    def call() -> int:
        start_ns = time.thread_time_ns()
        while time.thread_time_ns() - start_ns < 5 * MS:
            pass
        raise ValueError("after 5 ms")

    with pytest.raises(ValueError, match="after 5 ms"):
        counter.timed(call)()

    assert 5 * MS <= counter.since_last_ns()
    assert 7 == counter.timed(lambda: 7)()


class MeteredWorld(World):
    """A node whose meters use 1 ms of CPU time per second, which its own time contains."""

    def open(self, run_id: str = "run-1", boot_id: str = "boot-1") -> Ingest:
        node = Node(
            meter=self.meter, own_cpu=lambda: self.meter.busy_ns, boot_id=boot_id, run_id=run_id,
            metering_ns=lambda: MS,
        )  # fmt: skip
        pace = Pace(settle_every_ns=NS_PER_S, grace_ns=2 * NS_PER_S)
        return Ingest(ledger=self.book, spool_folder=self.folder / "spool", node=node, clock=self.clock, pace=pace)


def test_hours_and_statements_say_what_metering_cost(tmp_path: Path, a_line: Lines) -> None:
    """1 ms at 3 W a second, within the background and never beside it; the difference stays 0."""
    world = MeteredWorld(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    ingest = world.open()
    for _ in range(30):
        world.request(a_line)
        world.meter.busy_ns += 2 * MS
        steps(world, ingest, 1)
    world.clock.advance(duration_ns=1_000 * (closes_at_us(HOUR) - world.clock.unix_us()))
    ingest.step()
    ingest.finish()

    hour: Any = next(entry.body for _, entry in world.book.entries() if entry.kind == "device_hour")
    intervals: list[Any] = [entry.body for _, entry in world.book.entries() if entry.kind == "device_interval"]
    held = [body for body in intervals if body["at_us"] // HOUR_US == HOUR]
    document: Any = statement_of([entry for _, entry in world.book.entries()], end_us=AT_US + HOUR_US).document
    assert sum(body["metering_uj"] for body in held) == hour["metering_uj"]
    assert 27 * 3_000 <= hour["metering_uj"] <= 30 * 3_000
    assert hour["metering_uj"] < hour["background_uj"]
    assert f"{hour['metering_uj'] / 1e6:.6f}" == document["reconciliation"]["of_background_metering_joules"]
    assert "0.000000" == document["reconciliation"]["difference_joules"]
    assert [] == world.book.verify()
    world.spool.close()
    world.book.close()


def test_verify_names_metering_beyond_the_background(tmp_path: Path) -> None:
    """A part is not larger than the whole, nor negative."""
    book = SqliteLedger(tmp_path / "ledger.db")
    for number, metering_uj in enumerate((70, 71, -1)):
        body: dict[str, Any] = dict(interval(number, at_us=AT_US, background=70).body)
        book.append([entry_of(body | {"metering_uj": metering_uj})])

    findings = book.verify()
    book.close()

    assert ["entry 1", "entry 2"] == [finding[:7] for finding in findings]
    assert "part of the background" in findings[0]


def test_statements_of_before_say_nothing_of_metering(tmp_path: Path) -> None:
    """No member more: they stay, byte for byte, what they were."""
    document: Any = statement_of([interval(1, at_us=AT_US, background=70)]).document

    assert {"of_background_metering_joules", "overhead_joules"}.isdisjoint(document["reconciliation"])
