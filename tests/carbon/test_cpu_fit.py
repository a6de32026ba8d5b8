"""The fit of the CPU-time model, and the calibration that feeds it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.meters.calibrate import calibrate, spinning
from greenserve.carbon.meters.cpu_fit import Level, fit
from greenserve.carbon.meters.replay import ReplayMeter
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from greenserve.records import Reading

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@settings(max_examples=30)
@given(st.floats(0, 200), st.floats(20, 400), st.sampled_from([0.5, 0.75, 1.0, 1.25]))
def test_known_parameters_are_found_again(idle_w: float, slope_w: float, alpha: float) -> None:
    """Five exact levels give idle, full power and exponent back, with no error on held-out levels."""
    levels = [Level(busy=share, power_w=idle_w + slope_w * share**alpha) for share in SHARES]
    held_out = [Level(busy=share, power_w=idle_w + slope_w * share**alpha) for share in (0.4, 0.9)]

    found = fit(levels, held_out=held_out)

    assert pytest.approx((idle_w, idle_w + slope_w, alpha), abs=1e-3) == (found.idle_w, found.max_w, found.alpha)
    assert found.held_out_pct < 0.1
    assert 15 == found.half_width_pct


def test_a_large_error_on_held_out_levels_widens_the_interval() -> None:
    """15 % at least, the held-out error where it is larger."""
    levels = [Level(busy=share, power_w=50 + 100 * share) for share in SHARES]

    found = fit(levels, held_out=[Level(busy=0.5, power_w=200)])

    assert (50.0, 50) == (found.held_out_pct, found.half_width_pct)
    assert pytest.approx(100) == found.power_w(0.5)


@pytest.mark.parametrize(
    "levels",
    [
        [Level(busy=0.5, power_w=10)] * 5,
        [Level(busy=share, power_w=50 - 10 * share) for share in SHARES],
    ],
)
def test_power_that_does_not_follow_the_load_fits_nothing(levels: list[Level]) -> None:
    """Too few levels, or a meter that does not see this machine."""
    with pytest.raises(ValueError, match=r"three different levels|does not rise with the load"):
        fit(levels, held_out=levels)


class Bench:
    """A machine of 4 CPUs whose meters follow the load that is put on it."""

    def __init__(self, *, rising: bool = True, breaks: bool = False) -> None:
        self.clock, self.share, self.rising, self.breaks = ManualClock(), 0.0, rising, breaks
        self.energy_uj = self.busy_ns = self.reads = 0

    def wait(self, seconds: float) -> None:
        duration_ns = round(seconds * 1e9)
        power_w = 20 + (80 * self.share**0.75 if self.rising else 0)
        self.energy_uj += round(power_w * seconds * 1e6)
        self.busy_ns += round(4 * self.share * duration_ns)
        self.clock.advance(duration_ns=duration_ns)

    @contextmanager
    def load(self, share_pct: int, cpus: int) -> Iterator[None]:
        assert 4 == cpus
        self.share = share_pct / 100
        yield
        self.share = 0.0

    def read(self) -> Reading:
        self.reads += 1
        source = f"rapl, segment {self.reads}" if self.breaks else "rapl"
        return Reading(
            device="cpu",
            energy_uj=self.energy_uj,
            static_uj=0,
            at_ns=self.clock.monotonic_ns(),
            source=source,
            tier="measured",
            busy_ns=self.busy_ns,
        )

    def describe(self) -> dict[str, object]:
        return {"device": "cpu"}


def test_a_calibration_finds_the_machines_parameters() -> None:
    """Two shuffled passes over five levels: one fits, the other one tells the error."""
    bench, said = Bench(), list[str]()

    found = calibrate(truth=bench, busy=bench, cpus=4, load=bench.load, wait=bench.wait, said=said.append)

    assert pytest.approx((20, 100, 0.75), abs=0.01) == (found.idle_w, found.max_w, found.alpha)
    assert 10 == len(said)
    assert said[0].split(": ")[1:] != said[5].split(": ")[1:]


@pytest.mark.parametrize(
    ("bench", "reason"), [(Bench(breaks=True), "broke off during a level"), (Bench(rising=False), "cannot be fitted")]
)
def test_a_calibration_that_measures_nothing_says_so(bench: Bench, reason: str) -> None:
    """A lost counter, or a meter that does not see the load."""
    with pytest.raises(MeterUnavailable, match=reason):
        calibrate(truth=bench, busy=bench, cpus=4, load=bench.load, wait=bench.wait)


def test_a_meter_without_cpu_time_calibrates_nothing() -> None:
    """The busy share must be counted."""
    bench = Bench()
    blind = ReplayMeter(
        Reading(device="cpu", energy_uj=step, static_uj=0, at_ns=step, source="x", tier="measured") for step in (1, 2)
    )

    with pytest.raises(MeterUnavailable, match="counts no CPU time"):
        calibrate(truth=bench, busy=blind, cpus=4, load=bench.load, wait=bench.wait)


def test_the_load_ends_with_its_block() -> None:
    """No helper process outlives the calibration."""
    with spinning(25, 1):
        pass
    with spinning(0, 4):
        pass
