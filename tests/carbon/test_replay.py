"""A played series is stamped as what it is."""

import pytest

from greenserve.carbon.meters.replay import ReplayMeter
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading


def a_reading(energy_uj: int) -> Reading:
    return Reading(device="cpu", energy_uj=energy_uj, static_uj=0, at_ns=energy_uj, source="series", tier="metered")


def test_readings_come_in_order_and_simulated() -> None:
    """Whatever tier the series claims, a replay measures nothing here."""
    meter = ReplayMeter([a_reading(1), a_reading(2)])

    assert [(1, "simulated"), (2, "simulated")] == [
        (reading.energy_uj, reading.tier) for reading in (meter.read(), meter.read())
    ]
    assert "<ReplayMeter of cpu: 2 of 2 played>" == repr(meter)


def test_the_end_of_the_series_is_no_zero() -> None:
    """Behind the last reading the meter is unavailable."""
    meter = ReplayMeter([a_reading(1)])
    meter.read()

    with pytest.raises(MeterUnavailable, match="series of 1 readings is at its end"):
        meter.read()


def test_an_empty_series_is_refused() -> None:
    """Before it is needed, not at the first request."""
    with pytest.raises(ConfigInvalid, match="at least one reading"):
        ReplayMeter([])
