"""Joules of blocks: nested, parallel, in tasks and threads, with failing meters, in forks, on boards in company."""

import asyncio
import contextvars
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.meters.pick import Machine, Model
from greenserve.carbon.meters.session import MeterSession
from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.profiler import EnergyProfiler
from greenserve.clock import ManualClock
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading
from tests.fake_nvml import FakeBoard, FakeNvml

POWER = CpuPower(idle_mw=10_000, dynamic_mw_per_cpu=1_000, tier="modelled", half_width_pct=10, source="test")
TICK_NS = 10_000_000


class Bench:
    """A session on a manual clock and a CPU whose busy time, all and ours, is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.stat = folder / "stat"
        self.busy_ticks, self.own_ns = 100, 0
        self.work(0, ours=0)
        self.session = MeterSession(
            ["cpu-time"],
            clock=self.clock,
            model=Model(power=POWER),
            machine=Machine(stat_file=self.stat, powercap=folder),
            own_cpu=lambda: lambda: self.own_ns,
        )

    def work(self, ticks: int, *, ours: int, seconds: int = 0) -> None:
        """All CPUs were busy for so many ticks in these seconds, of which ours."""
        self.busy_ticks += ticks
        self.own_ns += ours * TICK_NS
        self.stat.write_text(f"cpu  {self.busy_ticks} 0 0 5000 0 0 0\n")
        self.clock.advance(duration_ns=seconds * 1_000_000_000)

    def profiler(self, label: str = "block") -> EnergyProfiler:
        return EnergyProfiler(label, session=self.session)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does, its blocks end with their threads."""
    yield
    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith(("greenserve", "node"))]


def test_our_part_goes_by_cpu_time_and_the_rest_is_foreign(bench: Bench) -> None:
    """E1: 10 W for 2 s; 3 J of dynamic energy, a third of it ours."""
    with bench.profiler() as profiler:
        bench.work(300, ours=100, seconds=2)
    (cpu,) = profiler.report.devices

    assert (20_000_000, 1_000_000, 2_000_000) == (cpu.static_uj, cpu.active_uj, cpu.foreign_uj)
    assert (21_000_000, 21_000_000, "modelled") == (profiler.report.energy_uj, cpu.own_uj, profiler.report.tier)
    assert (2_000_000_000, 0, 10) == (profiler.report.duration_ns, cpu.unknown_ns, cpu.half_width_pct)
    assert profiler.report.low_uj is not None
    assert profiler.report.high_uj is not None
    # 10 % of 21 J, and a tick at full load on either edge.
    assert profiler.report.low_uj <= 21_000_000 - 2_100_000 - 2 * 10_000
    assert profiler.report.high_uj >= 21_000_000 + 2_100_000 + 2 * 10_000


def test_nested_blocks_include_and_never_double(bench: Bench) -> None:
    """The inner block is in the outer one's energy, and not in its own."""
    outer, inner = bench.profiler("outer"), bench.profiler("inner")
    with outer:
        bench.work(0, ours=0, seconds=1)
        with inner:
            bench.work(100, ours=100, seconds=3)

    assert (41_000_000, 10_000_000) == (outer.report.energy_uj, outer.report.own_uj)
    assert (31_000_000, 31_000_000, "outer") == (inner.report.energy_uj, inner.report.own_uj, inner.report.parent)
    assert () == outer.report.flags


def test_a_thread_beside_shares_what_it_overlaps_in(bench: Bench) -> None:
    """Half each, and both say so; with the context of its starter it would be nested."""
    first, second, third = bench.profiler("first"), bench.profiler("second"), bench.profiler("third")

    def beside(profiler: EnergyProfiler) -> None:
        with profiler:
            bench.work(0, ours=0, seconds=2)

    with first:
        for run in (beside, contextvars.copy_context().run):
            arguments: tuple[Any, ...] = (second,) if run is beside else (beside, third)
            thread = threading.Thread(target=run, args=arguments)
            thread.start()
            thread.join()

    assert (30_000_000, 10_000_000, 20_000_000) == tuple(one.report.energy_uj for one in (first, second, third))
    assert (("shared",), ("shared",), ()) == tuple(one.report.flags for one in (first, second, third))
    assert (None, "first") == (second.report.parent, third.report.parent)
    assert 2_000_000_000 == second.report.shared_ns


def test_a_decorated_function_is_measured_call_by_call(bench: Bench) -> None:
    """Also a recursive one, whose calls are nested."""
    profiler = bench.profiler("fold")

    @profiler
    def fold(depth: int) -> int:
        """Fold."""
        bench.work(0, ours=0, seconds=1)
        return depth + (fold(depth - 1) if depth else 0)

    assert 3 == fold(2)

    assert ("fold", "Fold.") == (fold.__name__, fold.__doc__)
    assert [10_000_000, 20_000_000, 30_000_000] == [report.energy_uj for report in profiler.reports]
    assert 30_000_000 == sum(report.own_uj or 0 for report in profiler.reports)


async def test_tasks_of_one_loop_share(bench: Bench) -> None:
    """Two calls that wait at the same time, inside the block that gathers them."""
    gathered, answer = bench.profiler("gathered"), bench.profiler("answer")
    both = asyncio.Barrier(2)

    @answer
    async def work() -> int:
        await both.wait()
        bench.work(0, ours=0, seconds=1)
        await both.wait()
        return 1

    async with gathered:
        assert [1, 1] == list(await asyncio.gather(work(), work()))

    assert 20_000_000 == gathered.report.energy_uj == sum(report.energy_uj or 0 for report in answer.reports)
    assert ["gathered", "gathered"] == [report.parent for report in answer.reports]


def test_an_exception_passes_and_is_told(bench: Bench) -> None:
    """What failed has cost all the same."""
    profiler = bench.profiler()

    @profiler
    def fail() -> None:
        bench.work(0, ours=0, seconds=1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        fail()

    assert ("KeyError", 10_000_000) == (profiler.report.raised, profiler.report.energy_uj)


def test_a_meter_that_fails_leaves_unknown_and_not_zero(bench: Bench) -> None:
    """The block's own result is kept; the figure is None."""
    with bench.profiler() as profiler:
        bench.stat.unlink()
    (cpu,) = profiler.report.devices

    assert (None, None, None, None) == (profiler.report.energy_uj, profiler.report.tier, cpu.low_uj, cpu.own_uj)
    assert "block: unknown J, no tier" in str(profiler.report)
    assert cpu.unknown_ns == profiler.report.duration_ns


def test_without_a_meter_the_block_is_not_entered(tmp_path: Path) -> None:
    """With what was tried and why not."""
    session = MeterSession(["rapl", "cpu-time"], machine=Machine(stat_file=tmp_path / "none", powercap=tmp_path))

    with (
        pytest.raises(MeterUnavailable, match="no meter of rapl, cpu-time can be read here"),
        EnergyProfiler("block", session=session),
    ):
        pytest.fail("entered")
    with (
        pytest.raises(ConfigInvalid, match=r"energy\.meters names 'watts'"),
        EnergyProfiler("block", session=MeterSession(["watts"])),
    ):
        pytest.fail("entered")


def test_what_cannot_be_measured_is_refused(bench: Bench) -> None:
    """A generator's body runs between the calls; a report comes with the first block; a block has a name."""
    profiler = bench.profiler()

    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigInvalid, match="numbers is a generator function"):
        profiler(numbers)
    with pytest.raises(MeterUnavailable, match="'block' has measured nothing yet"):
        _ = profiler.report
    with pytest.raises(ConfigInvalid, match="label is ''"):
        EnergyProfiler("")
    with pytest.raises(MeterUnavailable, match="another thread or task"):
        profiler.__exit__(None, None, None)


def test_a_replayed_series_is_simulated_and_has_no_interval() -> None:
    """Its figures say nothing about a real device."""
    series = [
        Reading(device="cpu", energy_uj=at * 5, static_uj=0, at_ns=at, source="series", tier="metered")
        for at in range(0, 10**12, 10**10)
    ]
    clock = ManualClock(monotonic_ns=0)
    with EnergyProfiler("replayed", session=MeterSession(["replay"], clock=clock, replay=series)) as profiler:
        clock.advance(duration_ns=10**10)

    assert ("simulated", None, None) == (profiler.report.tier, profiler.report.low_uj, profiler.report.high_uj)
    assert profiler.report.energy_uj


class Boards:
    """A board whose counter rises by 5 J for each 50 ms that a session waits."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.board = FakeBoard()
        self.nvml = FakeNvml(self.board, clock=self.clock)
        self.session = MeterSession(["nvml"], clock=self.clock, machine=Machine(nvml=lambda: self.nvml, wait=self.wait))

    def wait(self, seconds: float) -> None:
        self.clock.advance(duration_ns=50_000_000)
        self.board.counter_mj += 5_000


def test_the_end_waits_for_the_boards_counter() -> None:
    """Nothing is cut off: the counter moves behind the end, and the row is cut there by time."""
    bench = Boards()
    with EnergyProfiler("board", session=bench.session) as profiler:
        for _ in range(20):
            bench.wait(0.05)
    (board,) = profiler.report.devices

    assert "GPU-0000" == board.device
    assert 0 == board.unknown_ns
    assert board.energy_uj == pytest.approx(100_000_000, rel=0.06)
    assert "measured_raw" == board.tier


def _in_fork(profiler: EnergyProfiler, answer: Any) -> None:
    profiler.__exit__(None, None, None)
    with EnergyProfiler("own") as own:
        time.process_time_ns()
    answer.send((len(profiler.reports), own.report.energy_uj is not None))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_measures_for_itself() -> None:
    """The parent's block stays the parent's; the fork's own blocks work."""
    profiler = EnergyProfiler("parent")
    ours, theirs = multiprocessing.Pipe()
    with profiler:
        child = multiprocessing.get_context("fork").Process(target=_in_fork, args=(profiler, theirs))
        child.start()
        assert ours.poll(20)
        assert (0, True) == ours.recv()
        child.join()

    assert profiler.report.energy_uj


def test_this_machine_is_measured_from_many_threads_at_once() -> None:
    """Real meters: the threads' own energies sum to the block that ran beside none of them."""
    each = EnergyProfiler("each")
    start = threading.Barrier(4)

    def run() -> None:
        start.wait(10)
        for _ in range(3):
            with each:
                sum(range(20_000))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 12 == len(each.reports)
    assert all(report.energy_uj is not None and report.tier is not None for report in each.reports)
    assert all((report.low_uj or 0) <= (report.energy_uj or 0) <= (report.high_uj or 0) for report in each.reports)
