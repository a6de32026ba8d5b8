"""Energy from CPU time, in integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.power_model import CpuPower
from greenserve.units import NS_PER_S

durations_ns = st.integers(0, 10**18)


def a_power(*, idle_mw: int = 10_000, dynamic_mw_per_cpu: int = 2_750, half_width_pct: int = 35) -> CpuPower:
    return CpuPower(
        idle_mw=idle_mw,
        dynamic_mw_per_cpu=dynamic_mw_per_cpu,
        tier="modelled",
        half_width_pct=half_width_pct,
        source="test",
    )


def test_a_busy_second_costs_the_dynamic_power() -> None:
    """2,750 mW for one CPU-second is 2.75 J, 10 W for a second 10 J, a quarter held 2.5 J."""
    power = a_power()

    assert 2_750_000 == power.active_uj(NS_PER_S)
    assert 10_000_000 == power.static_uj(NS_PER_S)
    assert 2_500_000 == power.held_uj(NS_PER_S, 250)


def test_energy_rounds_down_to_the_microjoule() -> None:
    """A cumulative counter must not run ahead of its sum."""
    assert 2 == a_power().active_uj(1_000)
    assert 0 == a_power(idle_mw=1).static_uj(999_999)


@given(durations_ns, durations_ns)
def test_parts_never_exceed_the_whole_and_miss_it_by_one_at_most(first_ns: int, second_ns: int) -> None:
    """Additivity bound of rounding down."""
    power = a_power()

    difference = power.active_uj(first_ns + second_ns) - power.active_uj(first_ns) - power.active_uj(second_ns)

    assert difference in (0, 1)


@given(durations_ns)
def test_the_whole_device_held_is_the_static_energy(duration_ns: int) -> None:
    """A share of 1000/1000 holds all of it."""
    assert a_power().static_uj(duration_ns) == a_power().held_uj(duration_ns, 1_000)


def test_bounds_are_the_half_width_around_the_figure() -> None:
    """35 % around 33,120 uJ; odd figures widen to whole microjoules."""
    assert (21_528, 44_712) == a_power().bounds(33_120)
    assert (0, 2) == a_power().bounds(1)


def test_the_lower_bound_never_falls_below_zero() -> None:
    """Energy is not negative however little is known."""
    assert (0, 25) == a_power(half_width_pct=150).bounds(10)


def test_negative_powers_are_refused() -> None:
    """A model that would give energy back is a mistake."""
    with pytest.raises(ValueError, match=">= 0"):
        a_power(idle_mw=-1)
