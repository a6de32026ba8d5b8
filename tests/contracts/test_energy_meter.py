"""The contract of every EnergyMeter."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from greenserve.carbon.external.amounts import Told
from greenserve.carbon.external.meter import ExternalMeter
from greenserve.carbon.intervals import interval_between
from greenserve.carbon.meters.boards import CounterMeter, SamplesMeter
from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.meters.mig import Instance
from greenserve.carbon.meters.mig_meters import InstanceMeter, MigSplit
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.nvml import FieldReader, list_boards
from greenserve.carbon.meters.pick import Picked
from greenserve.carbon.meters.rapl import open_rapl
from greenserve.carbon.meters.replay import ReplayMeter
from greenserve.clock import ManualClock, SystemClock
from greenserve.meter_amounts import Amount
from greenserve.ports import EnergyMeter
from greenserve.records import TIERS, Reading
from greenserve.units import NS_PER_S
from tests.carbon.test_rapl import a_zone, moves
from tests.fake_nvml import FakeBoard, FakeNvml

SERIES = tuple(
    Reading(device="cpu", energy_uj=5 * step, static_uj=3 * step, at_ns=step, source="series", tier="measured")
    for step in range(1, 21)
)


def board_that_works(clock: ManualClock) -> FakeBoard:
    """A board whose counter, samples and clock move with each reading."""
    board = FakeBoard(samples=[])

    def work() -> None:
        clock.advance(duration_ns=100_000_000)
        board.counter_mj += 7_000
        assert board.samples is not None
        board.samples.append((clock.unix_us(), 70_000))

    board.before_read = work
    work()
    return board


class Driven:
    """A meter whose device does some work before each reading."""

    def __init__(self, meter: EnergyMeter, work: Callable[[], object]) -> None:
        self._meter, self._work = meter, work

    def read(self) -> Reading:
        self._work()
        return self._meter.read()

    def describe(self) -> Mapping[str, object]:
        return self._meter.describe()


def rapl(folder: Path) -> EnergyMeter:
    """RAPL over a folder tree whose counter moves and wraps."""
    clock = ManualClock()
    zone = a_zone(folder, "intel-rapl:0", "package-0", energy_uj=990_000_000, range_uj=1_000_000_000)

    def work() -> None:
        clock.advance(duration_ns=NS_PER_S)
        moves(zone, (int((zone / "energy_uj").read_text()) + 5_000_000) % 1_000_000_000)

    return Driven(open_rapl(clock=clock, wait=lambda seconds: None, powercap=folder), work)


def external(clock: ManualClock) -> EnergyMeter:
    """A wall meter that shows another power each second."""
    amount = Amount(format="number", unit="W")
    meter = ExternalMeter(
        "wall", amount, device="node", where="here", max_w=900, half_width_pct=2, every_s=1, clock=clock
    )

    def work() -> None:
        clock.advance(duration_ns=NS_PER_S)
        now_ns = clock.monotonic_ns()
        meter.took(Told(number=Decimal(50 + now_ns % 7), at_us=None), start_ns=now_ns, end_ns=now_ns)

    return Driven(meter, work)


@pytest.fixture(
    params=["cpu-time", "curved cpu-time", "replay", "rapl", "nvml", "nvml samples", "node", "mig", "external"]
)
def meter(request: pytest.FixtureRequest, tmp_path: Path) -> EnergyMeter:
    """Each implementation of the seam."""
    if request.param == "cpu-time":
        return CpuTimeMeter(host_power(), clock=SystemClock())
    if request.param == "curved cpu-time":
        return CpuTimeMeter(host_power(), clock=SystemClock(), alpha=0.75)
    if request.param == "replay":
        return ReplayMeter(SERIES)
    if request.param == "rapl":
        return rapl(tmp_path)
    clock = ManualClock()
    if request.param == "external":
        return external(clock)
    board = board_that_works(clock)
    nvml = FakeNvml(board, clock=clock)
    (opened,), _ = list_boards(nvml)
    if request.param == "nvml samples":
        return Driven(SamplesMeter(nvml, opened, clock=clock), board.before_read)
    counter = CounterMeter(opened, FieldReader(nvml, opened, clock=clock))
    if request.param == "nvml":
        return counter
    if request.param == "mig":
        instance = Instance(uuid="MIG-1", board=opened.uuid, gpu_instance=1, slices=3)
        split = MigSplit(counter, (instance,), all_slices=7, activity=lambda: {"MIG-1": 500}, clock=clock)
        return Driven(InstanceMeter(split, instance), lambda: clock.advance(duration_ns=100_000_000))
    picked = Picked(name="nvml", meter=counter, rejected=(), device=opened.uuid)
    return NodeMeter([picked], clock=clock).meter_of(opened.uuid)


def test_readings_never_fall(meter: EnergyMeter) -> None:
    """Energy, its static part and time are cumulative."""
    readings = [meter.read() for _ in range(20)]

    for counter in ("energy_uj", "static_uj", "at_ns"):
        values = [getattr(reading, counter) for reading in readings]
        assert sorted(values) == values
    assert readings[0].energy_uj < readings[-1].energy_uj


def test_a_reading_is_never_without_its_evidence(meter: EnergyMeter) -> None:
    """Source and tier on each one, the same that the description names."""
    reading, described = meter.read(), meter.describe()

    assert reading.tier in TIERS
    assert (reading.device, reading.source, reading.tier) == (
        described["device"],
        described["source"],
        described["tier"],
    )
    assert "half_width_pct" in described


def test_two_readings_make_an_interval_of_the_device(meter: EnergyMeter) -> None:
    """What the rest of the accounting takes from a meter."""
    first = meter.read()
    second = [meter.read() for _ in range(19)][-1]

    interval = interval_between(first, second)

    assert interval is not None
    assert second.energy_uj - first.energy_uj == interval.energy_uj
    assert 0 <= interval.static_uj <= interval.energy_uj
