"""The counter of a board as an energy meter, and integrated power samples in its place."""

import pynvml
import pytest

from greenserve.carbon.intervals import IntervalMaker, Limits
from greenserve.carbon.meters.agreement import Agreement
from greenserve.carbon.meters.boards import CounterMeter, SamplesMeter
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.nvml import FieldReader, list_boards
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S
from tests.fake_nvml import COUNTER, FakeBoard, FakeNvml


def a_characterisation(*, duty_unknown: bool = False, idle_mw: int = 60_000) -> Characterisation:
    return Characterisation(
        uuid="GPU-0000",
        driver="580.1",
        board="NVIDIA Test Board",
        at_us=1,
        period_ns=100_000_000,
        jitter_ns=0,
        quantum_mj=1,
        power_period_ns=None,
        idle_mw=idle_mw,
        lag_ns=0,
        share_milli=1000,
        r2_milli=990,
        duty_unknown=duty_unknown,
        counter_per_power_milli=None,
        call_ns=1,
        slowdown_milli=None,
    )


def a_meter(board: FakeBoard, clock: ManualClock, known: Characterisation | None = None) -> CounterMeter:
    nvml = FakeNvml(board, clock=clock)
    (opened,), _ = list_boards(nvml)
    return CounterMeter(opened, FieldReader(nvml, opened, clock=clock), characterisation=known)


def test_the_counter_is_the_energy_in_microjoules() -> None:
    """Millijoules since the driver was loaded."""
    clock = ManualClock()

    reading = a_meter(FakeBoard(counter_mj=1_234), clock).read()

    assert ("GPU-0000", 1_234_000, 0, "measured_raw") == (
        reading.device,
        reading.energy_uj,
        reading.static_uj,
        reading.tier,
    )
    assert clock.monotonic_ns() == reading.at_ns


@pytest.mark.parametrize(
    ("known", "tier", "half_width"),
    [
        (None, "measured_raw", 10),
        (a_characterisation(duty_unknown=True), "measured_raw", 10),
        (a_characterisation(), "measured", 5),
    ],
)
def test_only_a_characterised_sensor_is_measured(known: Characterisation | None, tier: str, half_width: int) -> None:
    """A sensor of unknown duty may misplace energy between classes."""
    described = a_meter(FakeBoard(), ManualClock(), known).describe()

    assert (tier, half_width) == (described["tier"], described["half_width_pct"])


def test_static_energy_is_idle_power_and_never_more_than_the_counter() -> None:
    """10 J at 60 W over 0.1 s: 6 J static; 4 J: all of it."""
    clock, board = ManualClock(), FakeBoard()
    meter = a_meter(board, clock, a_characterisation())
    meter.read()
    statics = []
    for step_mj in (10_000, 4_000):
        board.counter_mj += step_mj
        clock.advance(duration_ns=NS_PER_S // 10)
        statics.append(meter.read().static_uj)

    assert [6_000_000, 10_000_000] == statics


def test_a_failed_field_is_no_reading() -> None:
    """Never a zero, and the board's name stands in the message."""
    board = FakeBoard(fails={COUNTER: pynvml.NVML_ERROR_NOT_SUPPORTED})

    with pytest.raises(MeterUnavailable, match=r"NVIDIA Test Board \(GPU-0000\): energy counter .*Not Supported"):
        a_meter(board, ManualClock()).read()


def test_a_driver_reload_opens_a_segment_and_gives_no_negative_energy() -> None:
    """The counter begins at 0 again; what flowed meanwhile is a gap."""
    clock, board = ManualClock(), FakeBoard()
    meter = a_meter(board, clock, a_characterisation())
    maker = IntervalMaker(device="GPU-0000", limits=Limits(power_limit_mw=300_000, publication_ns=100_000_000))
    rows = []
    for counter_mj in (1_000_000, 1_007_000, 12, 7_012):
        board.counter_mj = counter_mj
        rows.append(maker.add(meter.read()))
        clock.advance(duration_ns=NS_PER_S // 10)

    first, gap, last = rows[1:]
    assert first is not None
    assert gap is not None
    assert last is not None
    assert (7_000_000, 0) == (first.energy_uj, first.segment)
    assert (None, frozenset({"gap", "reset"})) == (gap.energy_uj, gap.flags)
    assert (7_000_000, 6_000_000, 1) == (last.energy_uj, last.static_uj, last.segment)


def test_counter_and_power_that_disagree_widen_the_interval() -> None:
    """74 % was seen once: the half width says at least so much."""
    clock, board = ManualClock(), FakeBoard(power_mw=100_000)
    meter = a_meter(board, clock, a_characterisation())
    for _ in range(61):
        meter.read()
        board.counter_mj += 80_000
        clock.advance(duration_ns=NS_PER_S)

    described = meter.describe()

    assert (20, 20, ["meter_disagreement"]) == (
        described["counter_power_difference_pct"],
        described["half_width_pct"],
        described["flags"],
    )


def test_a_missing_value_begins_the_comparison_anew() -> None:
    """Unknown is no agreement."""
    agreement = Agreement()
    agreement.add(at_ns=0, counter_mj=0, power_mw=1_000)
    agreement.add(at_ns=30 * NS_PER_S, counter_mj=None, power_mw=1_000)
    agreement.add(at_ns=61 * NS_PER_S, counter_mj=99_000, power_mw=1_000)

    assert agreement.difference_pct is None


def a_samples_meter(board: FakeBoard, clock: ManualClock) -> SamplesMeter:
    nvml = FakeNvml(board, clock=clock)
    return SamplesMeter(nvml, list_boards(nvml)[0][0], clock=clock)


def test_samples_are_integrated_as_steps() -> None:
    """100 W for 0.5 s, then 200 W for 0.5 s: 150 J, whatever comes after."""
    clock = ManualClock()
    us = clock.unix_us()
    board = FakeBoard(samples=[(us - 1_000_000, 100_000), (us - 500_000, 200_000), (us, 50_000)])

    reading = a_samples_meter(board, clock).read()

    assert (150_000_000, clock.monotonic_ns(), "measured_raw") == (reading.energy_uj, reading.at_ns, reading.tier)


def test_lost_samples_open_a_segment() -> None:
    """What nobody saw is not taken for energy: the changed source makes it a gap."""
    clock = ManualClock()
    us = clock.unix_us()
    board = FakeBoard(samples=[(us - 1_000_000, 100_000), (us, 100_000)])
    meter = a_samples_meter(board, clock)
    first = meter.read()
    clock.advance(duration_ns=60 * NS_PER_S)
    board.samples = [(us + 60_000_000, 100_000)]

    second = meter.read()

    assert first.energy_uj == second.energy_uj
    assert "segment 1" in second.source


def test_no_sample_yet_is_no_reading() -> None:
    """An empty buffer says nothing."""
    with pytest.raises(MeterUnavailable, match="no power sample yet"):
        a_samples_meter(FakeBoard(samples=[]), ManualClock()).read()


def test_a_driver_that_dates_values_is_believed() -> None:
    """A value published 30 ms before it was seen is dated there."""
    clock, board = ManualClock(), FakeBoard()
    board.timestamp_us = clock.unix_us()
    meter = a_meter(board, clock)
    meter.read()
    clock.advance(duration_ns=50_000_000)
    meter.read()
    board.timestamp_us += 70_000
    board.counter_mj += 5
    clock.advance(duration_ns=50_000_000)

    reading = meter.read()

    assert clock.monotonic_ns() - 30_000_000 == reading.at_ns
    assert meter.describe()["driver_dates_values"] is True


def test_a_driver_that_dates_its_answers_is_corrected_by_the_period() -> None:
    """A counter that moves each 100 ms and is read each 89 ms: within ten seconds the edges are found."""
    clock, board = ManualClock(), FakeBoard()
    meter = a_meter(board, clock, a_characterisation())
    start_ns, edges = clock.monotonic_ns(), list[tuple[int, int]]()
    for _ in range(400):
        passed_ns = clock.monotonic_ns() - start_ns
        board.counter_mj = 1_000_000 + 7_000 * ((passed_ns + 40_000_000) // 100_000_000)
        before_mj, reading = edges[-1][0] if edges else 0, meter.read()
        if reading.energy_uj > before_mj:
            edges.append((reading.energy_uj, reading.at_ns - start_ns))
        clock.advance(duration_ns=89_000_000)

    assert meter.describe()["driver_dates_values"] is False
    assert all(
        abs((at_ns + 40_000_000 + 50_000_000) % 100_000_000 - 50_000_000) <= 3_000_000 for _, at_ns in edges[120:]
    )
