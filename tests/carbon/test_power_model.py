"""Energy from CPU time, in integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.power_model import CpuPower, LoadPower, fit_load_power, static_part_uj
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


LOADS = (0.0, 0.25, 0.5, 0.75, 1.0)


@given(st.integers(0, 100_000), st.integers(1_000, 300_000), st.sampled_from([0.5, 0.7, 1.0, 1.3, 1.9]))
def test_the_fit_finds_the_curve_that_made_the_points(idle_mw: int, dynamic_mw: int, alpha: float) -> None:
    """Without noise, every load is met to a part in a thousand of the range, and the held-out error says so."""
    points = [(load, (idle_mw + dynamic_mw * load**alpha) / 1_000) for load in LOADS]

    fitted = fit_load_power(points)

    for load, power_w in points:
        assert abs(1_000 * power_w - fitted.power_mw(load)) <= 2 + 0.001 * dynamic_mw
    assert fitted.error_pct is not None


def test_the_held_out_error_is_that_of_loads_not_seen() -> None:
    """A kink that no exponent follows shows up; three loads are too few to leave one out."""
    kinked = fit_load_power([(0.0, 10.0), (0.25, 11.0), (0.5, 30.0), (0.75, 31.0), (1.0, 50.0)])

    assert kinked.error_pct is not None
    assert kinked.error_pct > 20.0
    assert fit_load_power([(0.0, 10.0), (0.5, 20.0), (1.0, 30.0)]).error_pct is None


def test_a_fit_never_gives_energy_back() -> None:
    """Power that falls with the load is noise: a flat line; a negative intercept is none."""
    falling = fit_load_power([(0.0, 12.0), (0.5, 11.0), (1.0, 10.0)])
    steep = fit_load_power([(0.4, 0.0), (0.6, 10.0), (1.0, 40.0)])

    assert falling.idle_mw == falling.max_mw
    assert steep.idle_mw >= 0
    with pytest.raises(ValueError, match="3 or more loads"):
        fit_load_power([(0.0, 1.0), (0.0, 1.0), (1.0, 2.0)])


def test_a_step_of_a_bent_model() -> None:
    """Half of 4 CPUs for a second at alpha 0.5: 10 W + 30 W x 0.7071 = 31.213 J, 10 J of it static."""
    power = LoadPower(idle_mw=10_000, max_mw=40_000, alpha=0.5, error_pct=None)

    assert (31_213_000, 10_000_000) == power.energy_uj(2 * NS_PER_S, 4, NS_PER_S)
    assert (40_000_000, 10_000_000) == power.energy_uj(9 * NS_PER_S, 4, NS_PER_S)
    with pytest.raises(ValueError, match="CPU time >= 0"):
        power.energy_uj(-1, 4, 1)
    with pytest.raises(ValueError, match="idle <= max"):
        LoadPower(idle_mw=2, max_mw=1, alpha=1.0, error_pct=None)


def test_static_energy_is_idle_power_times_time_and_at_most_all() -> None:
    """E2: 70 W for 100 ms is 7 J; a counter that shows 5 J shows nothing dynamic."""
    assert 7_000_000 == static_part_uj(9_000_000, 70_000, NS_PER_S // 10)
    assert 5_000_000 == static_part_uj(5_000_000, 70_000, NS_PER_S // 10)
    with pytest.raises(ValueError, match="a time > 0"):
        static_part_uj(1, 1, 0)
