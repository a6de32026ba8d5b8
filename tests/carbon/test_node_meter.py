"""The one reader of a node: periods, failures, exchanged meters, journaled rows, views."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynvml
import pytest

from greenserve.carbon.intervals import Limits
from greenserve.carbon.meters.cpu_time import CpuTimeMeter
from greenserve.carbon.meters.foreign import Foreign
from greenserve.carbon.meters.journal import Journal, read_day
from greenserve.carbon.meters.node import MeterChange, NodeMeter
from greenserve.carbon.meters.pick import Machine, Picked, pick_node
from greenserve.carbon.power_model import CpuPower
from greenserve.clock import ManualClock, SystemClock
from greenserve.errors import LedgerUnavailable, MeterUnavailable
from greenserve.records import Reading
from greenserve.units import NS_PER_S
from tests.fake_nvml import FakeBoard, FakeNvml

MS = 1_000_000


class Counter:
    """A meter that shows 1 mJ for each ms of its clock; `fault` makes it fail, `reads` counts."""

    def __init__(self, clock: ManualClock, *, device: str = "cpu", source: str = "counter", call_ns: int = 0) -> None:
        self.clock, self.device, self.source, self.call_ns = clock, device, source, call_ns
        self.fault: str | None = None
        self.reads = 0
        self.less_uj = 0

    def read(self) -> Reading:
        self.reads += 1
        self.clock.advance(duration_ns=self.call_ns)
        if self.fault:
            raise MeterUnavailable(self.fault)
        at_ns = self.clock.monotonic_ns()
        return Reading(
            device=self.device,
            energy_uj=at_ns // 1_000 - self.less_uj,
            static_uj=0,
            at_ns=at_ns,
            source=self.source,
            tier="measured",
        )

    def describe(self) -> Mapping[str, object]:
        return {"device": self.device, "source": self.source, "tier": "measured", "half_width_pct": 5}


def picked(meter: Counter, *, name: str = "rapl", period_ms: int = 1_000, **others: Any) -> Picked:
    whole = Picked(name=name, meter=meter, rejected=(), device=meter.device, period_ns=period_ms * MS)
    return replace(whole, **others)


def stepped(node: NodeMeter, clock: ManualClock, *, seconds: float) -> None:
    """Let the reader work as its thread would, for so long."""
    end_ns = clock.monotonic_ns() + round(seconds * NS_PER_S)
    while clock.monotonic_ns() < end_ns:
        clock.advance(duration_ns=max(1, node.step()))


def test_each_device_is_read_at_its_own_period() -> None:
    """A board every 50 ms, the CPU once a second."""
    clock = ManualClock()
    board, cpu = Counter(clock, device="gpu"), Counter(clock)
    node = NodeMeter([picked(board, period_ms=50), picked(cpu)], clock=clock)

    stepped(node, clock, seconds=10)

    assert (200, 10) == (board.reads, cpu.reads)
    assert ("gpu", "cpu") == node.devices


def test_rows_join_and_hold_all_that_was_counted() -> None:
    """From the first to the last reading nothing is missing and nothing is twice."""
    clock = ManualClock()
    node = NodeMeter([picked(Counter(clock))], clock=clock)
    stepped(node, clock, seconds=5)

    rows = node.take("cpu")

    assert [1_000_000] * 4 == [row.energy_uj for row in rows]
    assert rows[0].end_ns == rows[1].start_ns
    assert [] == node.take("cpu")


def test_a_read_on_demand_counts_into_the_same_rows() -> None:
    """Whoever settles reads through the node: there is one reader, and its next turn is put off."""
    clock = ManualClock()
    counter = Counter(clock)
    node = NodeMeter([picked(counter)], clock=clock)
    node.step()
    clock.advance(duration_ns=300 * MS)

    reading = node.meter_of("cpu").read()

    assert clock.monotonic_ns() == reading.at_ns
    assert [300_000] == [row.energy_uj for row in node.take("cpu")]
    assert NS_PER_S == node.step()
    assert "counter" == node.meter_of("cpu").describe()["source"]


def test_a_device_that_nobody_reads_is_refused() -> None:
    """With the names of those that are read."""
    clock = ManualClock()

    with pytest.raises(MeterUnavailable, match="no meter reads 'gpu'; there are cpu"):
        NodeMeter([picked(Counter(clock))], clock=clock).meter_of("gpu")


def test_a_failed_read_is_no_zero_and_the_counter_runs_on() -> None:
    """Three failed seconds: their energy comes with the next good reading, flagged."""
    clock = ManualClock()
    counter = Counter(clock)
    node = NodeMeter([picked(counter)], clock=clock)
    stepped(node, clock, seconds=2)
    counter.fault = "permission lost"
    stepped(node, clock, seconds=3)
    assert "permission lost" == node.states()[0].fault
    counter.fault = None
    stepped(node, clock, seconds=1)

    rows = node.take("cpu")

    assert [1_000_000, 4_000_000] == [row.energy_uj for row in rows]
    assert {"read_failed"} == rows[1].flags
    assert (3, None) == (node.states()[0].dropped.failed, node.states()[0].fault)


def test_a_failed_read_on_demand_raises() -> None:
    """Who settles must know that there is no reading."""
    clock = ManualClock()
    counter = Counter(clock)
    node = NodeMeter([picked(counter)], clock=clock)
    counter.fault = "gone"

    with pytest.raises(MeterUnavailable, match="gone"):
        node.read("cpu")


def test_a_meter_that_stays_silent_is_exchanged() -> None:
    """After ten seconds another one reads: a gap, a new segment, and the change is kept with its reason."""
    clock = ManualClock()
    first, second = Counter(clock), Counter(clock, source="model")
    node = NodeMeter(
        [picked(first)], clock=clock, pick_again=lambda device: picked(second, name="cpu-time", period_ms=500)
    )
    stepped(node, clock, seconds=2)
    first.fault = "permission lost"

    stepped(node, clock, seconds=15)

    (change,) = node.changes
    assert (
        MeterChange(device="cpu", at_ns=change.at_ns, before="rapl", after="cpu-time", reason="permission lost")
        == change
    )
    rows = node.take("cpu")
    (gap,) = [row for row in rows if row.is_gap]
    assert (None, frozenset({"gap", "source_changed", "read_failed"})) == (gap.energy_uj, gap.flags)
    assert (0, 1) == (rows[0].segment, rows[-1].segment)
    assert ("cpu-time", 500 * MS) == (node.states()[0].name, node.states()[0].period_ns)


@pytest.mark.parametrize("found", [None, "same", "none reads"])
def test_without_another_meter_the_device_stays_unmetered(found: str | None) -> None:
    """No row is made up; the same meter is tried again."""
    clock = ManualClock()
    counter = Counter(clock)

    def pick_again(device: str) -> Picked | None:
        if found == "none reads":
            raise MeterUnavailable("no meter")
        return picked(counter) if found else None

    node = NodeMeter([picked(counter)], clock=clock, pick_again=pick_again)
    node.step()
    counter.fault = "gone"

    stepped(node, clock, seconds=25)

    assert [] == node.changes
    assert [] == node.take("cpu")


def test_a_gap_takes_its_energy_from_the_meter_that_stands_in(tmp_path: Path) -> None:
    """A restart of the counter: E1's difference over the time, at E1's tier."""
    clock = ManualClock()
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 0 5000 0 0 0\n")
    power = CpuPower(idle_mw=10_000, dynamic_mw_per_cpu=0, tier="class_average", half_width_pct=60, source="test")
    counter = Counter(clock)
    stand_in = CpuTimeMeter(power, clock=clock, stat_file=stat)
    node = NodeMeter([picked(counter, stand_in=stand_in)], clock=clock)
    stepped(node, clock, seconds=2)
    counter.less_uj = clock.monotonic_ns() // 1_000
    stepped(node, clock, seconds=1)

    gap = node.take("cpu")[-1]

    assert (10_000_000, "class_average") == (gap.energy_uj, gap.tier)
    assert {"gap", "reset", "estimated"} == gap.flags


def test_a_boards_gap_takes_the_power_of_the_sensor() -> None:
    """50 W at the last reading, for the 50 ms of the gap."""
    clock = ManualClock()
    counter = Counter(clock, device="gpu")
    node = NodeMeter([picked(counter, period_ms=50, power_mw=lambda: 50_000)], clock=clock)
    stepped(node, clock, seconds=0.1)
    counter.less_uj = clock.monotonic_ns() // 1_000
    node.step()

    gap = node.take("gpu")[-1]
    assert (2_500_000, "modelled") == (gap.energy_uj, gap.tier)


def test_company_and_disagreement_are_flagged_on_the_rows() -> None:
    """Learning leaves such rows out."""
    clock = ManualClock()
    foreign = Foreign(at_ns=0, processes=1, unmatched=0)
    one = picked(Counter(clock), flags=lambda: frozenset({"meter_disagreement"}))
    node = NodeMeter([one], clock=clock, foreign_on=lambda device: foreign)
    stepped(node, clock, seconds=2)

    assert {"foreign", "meter_disagreement"} == node.take("cpu")[0].flags


def test_a_slow_meter_is_read_less_often() -> None:
    """Calls of 1 ms are over a hundredth of 50 ms."""
    clock = ManualClock()
    node = NodeMeter([picked(Counter(clock, device="gpu", call_ns=MS), period_ms=50)], clock=clock)

    stepped(node, clock, seconds=3)

    assert (100 * MS, 1) == (node.states()[0].period_ns, node.states()[0].slowed)


def test_rows_are_journaled_and_a_full_disk_stops_no_metering(tmp_path: Path) -> None:
    """What the journal cannot take is metered all the same."""
    clock = ManualClock()

    class Full(Journal):
        """A journal on a full disk."""

        def append(self, row: object) -> None:
            raise LedgerUnavailable("the disk is full")

    good, full = Counter(clock, device="gpu"), Counter(clock)
    kinds = {"gpu": Journal, "cpu": Full}
    node = NodeMeter(
        [picked(good), picked(full)],
        clock=clock,
        journal_of=lambda device: kinds[device](tmp_path, device, clock=clock),
    )
    stepped(node, clock, seconds=3)
    node.stop()

    assert 2 == len(list(read_day(tmp_path, "gpu", clock.unix_us() // 86_400_000_000)))
    assert 2 == len(node.take("cpu"))


class Told(Counter):
    """A counter that tells of its third reading."""

    def __init__(self, clock: ManualClock, third: Callable[[], object]) -> None:
        super().__init__(clock)
        self.third = third

    def read(self) -> Reading:
        reading = super().read()
        if self.reads == 3:
            self.third()
        return reading


def test_the_thread_reads_until_it_is_stopped() -> None:
    """Three readings at a millisecond come by themselves; no thread is left."""
    done = threading.Event()
    node = NodeMeter([picked(Told(ManualClock(), done.set), period_ms=1)], clock=SystemClock())
    node.start()

    assert done.wait(10)
    node.stop()
    assert "node-meter" not in [thread.name for thread in threading.enumerate()]


def test_a_fault_of_the_programme_does_not_end_the_thread() -> None:
    """The other devices are read on."""
    done = threading.Event()

    class Broken(Counter):
        """A meter with a fault in its code, once."""

        def read(self) -> Reading:
            self.reads += 1
            if self.reads == 2:
                done.set()
            raise RuntimeError("a bug")

    node = NodeMeter([picked(Broken(ManualClock()), period_ms=1)], clock=SystemClock())
    node.start()

    assert done.wait(10)
    node.stop()


def test_two_boards_in_the_fake_are_read_through_nvml(tmp_path: Path) -> None:
    """The whole way from fields to rows: a jump beyond the limit, a reset, a lost board; no call but the one."""
    clock = ManualClock()
    good, bad = FakeBoard(), FakeBoard(uuid="GPU-1")
    nvml = FakeNvml(good, bad, clock=clock)
    node_of = pick_node(["nvml"], clock=clock, machine=Machine(nvml=lambda: nvml))
    node = NodeMeter(node_of.devices, clock=clock)
    nvml.calls.clear()

    def second() -> None:
        for _ in range(20):
            good.counter_mj += 5_000
            bad.counter_mj += 5_000
            node.step()
            clock.advance(duration_ns=50 * MS)

    second()
    bad.counter_mj += 10**9
    second()
    bad.counter_mj = 0
    second()
    bad.lost = pynvml.NVML_ERROR_GPU_IS_LOST
    second()

    assert {"fields"} == set(nvml.calls)
    assert 79 * 5_000_000 == sum(row.energy_uj or 0 for row in node.take("GPU-0000"))
    rows = node.take("GPU-1")
    gaps = [row for row in rows if row.is_gap]
    assert [{"gap", "quarantined", "estimated"}, {"gap", "reset", "estimated"}] == [row.flags for row in gaps]
    # A move is dated in the middle of the 50 ms that bound it, a reset when it is seen: 50 and 75 ms at 70 W.
    assert [3_500_000, 5_250_000] == [row.energy_uj for row in gaps]
    assert all(0 < (row.energy_uj or 0) <= 360_000_000 * 50 // 1_000 for row in rows)
    fault = node.states()[1].fault
    assert fault is not None
    assert "fallen off the bus" in fault
    assert Limits(power_limit_mw=300_000, edge_ns=100 * MS) == node_of.devices[1].limits


def test_a_board_that_nobody_probed_is_read_at_its_own_rhythm_after_ten_seconds() -> None:
    """A counter of 100 ms, read every 50 ms until a hundred moves told its period, then every 89 ms."""
    clock = ManualClock()
    board = FakeBoard()
    board.before_read = lambda: setattr(board, "counter_mj", 7_000 * (clock.monotonic_ns() // (100 * MS)))
    nvml = FakeNvml(board, clock=clock)
    node = NodeMeter(pick_node(["nvml"], clock=clock, machine=Machine(nvml=lambda: nvml)).devices, clock=clock)

    before = node.states()[0].period_ns
    stepped(node, clock, seconds=12)

    (state,) = node.states()
    assert (50 * MS, None) == (before, state.fault)
    assert 89 * MS == pytest.approx(state.period_ns, rel=0.01)
    assert 100 * MS == pytest.approx(node.describe("GPU-0000")["learned_publication_ns"], rel=0.01)
    rows = node.take("GPU-0000")
    assert {7_000_000} == {row.energy_uj for row in rows}
    assert 0 == sum(bool(row.flags) for row in rows)


def test_a_counter_that_stands_asks_for_no_estimate_and_no_flags() -> None:
    """Most readings of a board show nothing new: what only a row needs is not made for them."""
    clock = ManualClock()
    board = FakeBoard()
    asked: list[str] = []
    nvml = FakeNvml(board, clock=clock)
    devices = pick_node(["nvml"], clock=clock, machine=Machine(nvml=lambda: nvml)).devices
    node = NodeMeter(devices, clock=clock, foreign_on=lambda device: asked.append(device))

    stepped(node, clock, seconds=1)
    standing = len(asked)
    board.counter_mj += 5_000
    stepped(node, clock, seconds=1)

    assert (1, 2) == (standing, len(asked))
    assert [5_000_000] == [row.energy_uj for row in node.take("GPU-0000")]
