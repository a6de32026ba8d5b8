"""The contract of every EnergyMeter."""

import pytest

from greenserve.carbon.intervals import interval_between
from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.meters.replay import ReplayMeter
from greenserve.clock import SystemClock
from greenserve.ports import EnergyMeter
from greenserve.records import TIERS, Reading

SERIES = tuple(
    Reading(device="cpu", energy_uj=5 * step, static_uj=3 * step, at_ns=step, source="series", tier="measured")
    for step in range(1, 21)
)


@pytest.fixture(params=["cpu-time", "replay"])
def meter(request: pytest.FixtureRequest) -> EnergyMeter:
    """Each implementation of the seam."""
    if request.param == "cpu-time":
        return CpuTimeMeter(host_power(), clock=SystemClock())
    return ReplayMeter(SERIES)


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
