"""The CPU-time model reads /proc/stat as cumulative energy."""

import os
from pathlib import Path

import pytest

from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.power_model import CpuPower
from greenserve.clock import ManualClock, SystemClock
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading
from greenserve.units import NS_PER_S

TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
POWER = CpuPower(idle_mw=10_000, dynamic_mw_per_cpu=2_000, tier="modelled", half_width_pct=35, source="test")


def write_stat(folder: Path, *, line: str = "cpu  100 10 30 5000 600 7 3 900 50 5") -> Path:
    file = folder / "stat"
    file.write_text(f"{line}\ncpu0 1 1 1 1 1 1 1 0 0 0\n")
    return file


def test_busy_time_is_user_nice_system_and_interrupts(tmp_path: Path) -> None:
    """Idle, iowait and steal are not this machine's work; guest time is inside user and not added again."""
    clock = ManualClock(monotonic_ns=2 * NS_PER_S)

    reading = CpuTimeMeter(POWER, clock=clock, stat_file=write_stat(tmp_path)).read()

    busy_ns = 150 * TICK_NS
    expected = Reading(
        device="cpu",
        energy_uj=20_000_000 + 2 * busy_ns // 1_000,
        static_uj=20_000_000,
        at_ns=2 * NS_PER_S,
        source="cpu-time model 10000 mW + 2000 mW per busy CPU",
        tier="modelled",
        busy_ns=busy_ns,
    )
    assert expected == reading


def test_a_counter_that_steps_back_never_lowers_the_reading(tmp_path: Path) -> None:
    """The kernel's tick accounting may correct itself; a cumulative reading stands still meanwhile."""
    clock = ManualClock()
    meter = CpuTimeMeter(POWER, clock=clock, stat_file=write_stat(tmp_path))
    first = meter.read()
    write_stat(tmp_path, line="cpu  99 10 30 5000 600 7 3")
    clock.advance(duration_ns=NS_PER_S)

    second = meter.read()

    assert first.busy_ns == second.busy_ns
    assert 10_000_000 == second.energy_uj - first.energy_uj


def test_a_new_meter_continues_the_counter(tmp_path: Path) -> None:
    """The reading counts since boot, so a restart of the process loses no energy."""
    clock, file = ManualClock(), write_stat(tmp_path)

    before = CpuTimeMeter(POWER, clock=clock, stat_file=file).read()

    assert before == CpuTimeMeter(POWER, clock=clock, stat_file=file).read()


@pytest.mark.parametrize("line", ["", "intr 1 2 3", "cpu  1 2 x 4 5 6 7", "cpu  1 2 3", "cpu  0 0 0 0 0 0 0"])
def test_a_file_without_cpu_times_is_no_zero(tmp_path: Path, line: str) -> None:
    """An unreadable or empty count is an error, never energy without work."""
    meter = CpuTimeMeter(POWER, clock=ManualClock(), stat_file=write_stat(tmp_path, line=line))

    with pytest.raises(MeterUnavailable, match="cannot be read as CPU times"):
        meter.read()


def test_a_missing_file_makes_the_meter_unavailable(tmp_path: Path) -> None:
    """As on a system that is not Linux."""
    with pytest.raises(MeterUnavailable, match="needs a Linux /proc"):
        CpuTimeMeter(POWER, clock=ManualClock(), stat_file=tmp_path / "none").read()


def test_this_machine_reads_and_grows() -> None:
    """The real /proc/stat fits the parser, and time alone adds static energy."""
    meter = CpuTimeMeter(host_power(), clock=SystemClock())

    first, second = meter.read(), meter.read()

    assert first.at_ns < second.at_ns
    assert 0 < first.static_uj <= second.static_uj
    assert first.energy_uj <= second.energy_uj


def test_the_class_average_counts_cpus_and_memory() -> None:
    """0.75 W and 3.5 W per logical CPU, 0.392 W per GB of memory, 60 %."""
    expected = CpuPower(
        idle_mw=4_567,
        dynamic_mw_per_cpu=2_750,
        tier="class_average",
        half_width_pct=60,
        source="class average for 2 logical CPUs and 7.8 GB of memory",
    )

    assert expected == host_power(cpus=2, memory_bytes=7_825_000_000)


def test_the_machines_own_figures_replace_the_class_average() -> None:
    """60 W - 12 W over 16 CPUs is 3 W each; memory is inside the idle figure."""
    expected = CpuPower(
        idle_mw=12_000,
        dynamic_mw_per_cpu=3_000,
        tier="modelled",
        half_width_pct=35,
        source="configured: 12.0 W idle, 60.0 W with 16 logical CPUs busy",
    )

    assert expected == host_power(idle_w=12.0, max_w=60.0, cpus=16)


@pytest.mark.parametrize(
    ("idle_w", "max_w"), [(5.0, None), (None, 5.0), (5.0, 5.0), (-1.0, 5.0), (1.0, float("inf")), (float("nan"), 2.0)]
)
def test_half_a_power_model_is_refused(idle_w: float | None, max_w: float | None) -> None:
    """Both figures in order, or neither: nothing is filled in silently."""
    with pytest.raises(ConfigInvalid, match="give both in watts"):
        host_power(idle_w=idle_w, max_w=max_w)


def test_without_a_cpu_there_is_no_model() -> None:
    """A class average needs something to count."""
    with pytest.raises(MeterUnavailable, match="logical CPUs"):
        host_power(cpus=0)


def test_the_description_names_evidence_and_parameters() -> None:
    """What statements print about the meter."""
    described = CpuTimeMeter(POWER, clock=ManualClock()).describe()

    assert ("modelled", 35, 10_000, "test") == (
        described["tier"],
        described["half_width_pct"],
        described["idle_mw"],
        described["parameters"],
    )
