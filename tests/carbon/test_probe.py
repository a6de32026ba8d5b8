"""The probe finds what a simulated board does, and refuses where it would measure something else."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from greenserve.carbon.meters.nvml import list_boards
from greenserve.carbon.meters.probe import Plan, Probe, Work
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S
from tests.fake_nvml import FakeBoard, FakeNvml, FakeSensor

MS = 1_000_000
SHORT = Plan(idle_ns=5 * NS_PER_S, wave_ns=12 * NS_PER_S, steady_ns=3 * NS_PER_S, tick_ns=2 * MS)


def a_probe(
    sensor: FakeSensor, *, ours: frozenset[int] = frozenset(), sampler: AbstractContextManager[object] | None = None
) -> Probe:
    nvml = FakeNvml(sensor.board, clock=sensor.clock, call_ns=100_000)
    (board,), _ = list_boards(nvml)
    work = Work(prepare=lambda: None, feed=sensor.feed, drain=sensor.drain, job=sensor.job)
    sampling = None if sampler is None else (lambda: sampler)
    return Probe(nvml, board, clock=sensor.clock, wait=sensor.wait, work=work, plan=SHORT, ours=ours, sampler=sampling)


@pytest.mark.parametrize(("share", "lag_ms"), [(1.0, 0), (0.25, 30)])
def test_a_probe_finds_the_simulated_sensor(share: float, lag_ms: int) -> None:
    """Period, static power, observed share and lag of a board whose truth is known."""
    clock = ManualClock()
    sensor = FakeSensor(FakeBoard(), clock, share=share, lag_ns=lag_ms * MS, noise=0.005)

    found = a_probe(sensor).run()

    assert ("GPU-0000", "580.1") == (found.uuid, found.driver)
    assert abs(100 * MS - found.period_ns) <= 2 * MS
    assert abs(sensor.idle_mw - found.idle_mw) <= 0.01 * sensor.idle_mw
    assert abs(1000 * share - found.share_milli) <= 50
    assert abs(lag_ms * MS - found.lag_ns) <= 10 * MS or share == 1.0
    assert not found.duty_unknown
    assert found.counter_per_power_milli is not None
    assert abs(1000 - found.counter_per_power_milli) <= 60
    assert (100_000, None) == (found.call_ns, found.slowdown_milli)


def test_the_samplers_cost_is_the_slowdown_of_a_fixed_job() -> None:
    """Ten milliseconds become eleven beside a sampler."""
    clock = ManualClock()
    sensor = FakeSensor(FakeBoard(), clock)

    class Slow(FakeSensor):
        """Its job takes 1 ms more while somebody samples."""

        sampled = False

        def job(self) -> None:
            self.clock.advance(duration_ns=(11 if self.sampled else 10) * MS)

    sensor = Slow(FakeBoard(), clock)

    @contextmanager
    def sampling() -> Iterator[None]:
        sensor.sampled = True
        yield
        sensor.sampled = False

    assert 1_100 == a_probe(sensor, sampler=sampling()).run().slowdown_milli


def test_a_board_with_company_is_not_probed() -> None:
    """Another process's work would be taken for the load's; our own processes are no company."""
    sensor = FakeSensor(FakeBoard(pids=[7, 8]), ManualClock())

    with pytest.raises(MeterUnavailable, match=r"1 other processes are on NVIDIA Test Board .*: 8; a probe needs"):
        a_probe(sensor, ours=frozenset({7})).run()


def test_a_counter_that_stands_still_cannot_be_characterised() -> None:
    """No characterisation instead of one from nothing."""
    sensor = FakeSensor(FakeBoard(), ManualClock())
    sensor.board.before_read = lambda: None

    with pytest.raises(MeterUnavailable, match="moved too rarely at rest"):
        a_probe(sensor).run()
