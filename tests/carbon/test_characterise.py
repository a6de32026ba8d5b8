"""What samples tell about a counter: period, jitter, quantum, static power, lag and observed part."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.meters.characterise import (
    MILLI,
    Point,
    counter_per_power_milli,
    find_window,
    mean_power_mw,
    publication,
)
from tests.carbon.test_boards import a_characterisation

MS = 1_000_000
PERIOD_NS = 100 * MS
IDLE_MW, STEP_MW = 70_000, 200_000


def published(*, periods_ms: list[int], step_mj: int = 7) -> list[tuple[int, int]]:
    """A counter sampled every millisecond that moves by `step_mj` after each of the periods."""
    series, value = [], 0
    for number, period_ms in enumerate(periods_ms):
        start_ms = sum(periods_ms[:number])
        series += [((start_ms + ms) * MS, value) for ms in range(period_ms)]
        value += step_mj
    return series


def test_period_jitter_and_quantum_of_a_counter() -> None:
    """The median time between changes, the spread around it, the common divisor of the steps."""
    found = publication(published(periods_ms=[100, 90, 110] * 20, step_mj=14))

    assert found is not None
    assert (100 * MS, 20 * MS, 14) == (found.period_ns, found.jitter_ns, found.quantum)


def test_a_value_that_hardly_moves_says_nothing() -> None:
    """Unknown instead of a period from a handful of points."""
    assert publication(published(periods_ms=[100] * 20)) is None
    assert publication([]) is None
    assert mean_power_mw([(0, 1), (5, 1), (9, 2)]) is None


def test_static_power_is_taken_between_changes() -> None:
    """7 mJ each 100 ms are 70 mW, whatever stands before the first and behind the last change."""
    assert 70 == mean_power_mw(published(periods_ms=[33, *[100] * 30, 55]))


def test_counter_over_power_is_one_where_both_agree() -> None:
    """100 mJ each 100 ms beside 1 W."""
    series = published(periods_ms=[100] * 30, step_mj=100)

    agreed = [Point(at_ns=at, counter_mj=mj, power_mw=1_000) for at, mj in series]
    doubled = [Point(at_ns=at, counter_mj=mj, power_mw=2_000) for at, mj in series]

    assert (1_000, 500) == (counter_per_power_milli(agreed), counter_per_power_milli(doubled))
    assert counter_per_power_milli([Point(at_ns=at, counter_mj=mj, power_mw=None) for at, mj in series]) is None


def a_wave(*, seconds: int = 30) -> list[tuple[int, int]]:
    return [(start * MS, (start + 37) * MS) for start in range(0, seconds * 1_000, 107)]


def seen_by(sensor: tuple[int, int], wave: list[tuple[int, int]], *, noise: float = 0.0) -> list[tuple[int, int]]:
    """The counter's points [ns, mJ] behind a sensor of this lag [ns] and share [1/1000]."""
    lag_ns, share_milli = sensor
    points, energy_mj = [], 0.0
    for number in range(1, 295):
        end = number * PERIOD_NS
        seen_ns = PERIOD_NS * share_milli // MILLI
        busy_ns = sum(max(0, min(b, end) - max(a, end - seen_ns)) for a, b in wave)
        power_mw = (IDLE_MW + STEP_MW * busy_ns / seen_ns) * (1 + (noise if number % 2 else -noise))
        energy_mj += power_mw * PERIOD_NS / 1e9
        points.append((end + lag_ns, round(energy_mj)))
    return points


@settings(max_examples=12)
@given(st.sampled_from([0, 20, 45, 70]), st.sampled_from([150, 250, 400, 600]))
def test_lag_and_share_of_a_part_time_sensor_are_found(lag_ms: int, share_milli: int) -> None:
    """Within one step of the grid, with half a percent of noise."""
    wave = a_wave()

    found = find_window(
        seen_by((lag_ms * MS, share_milli), wave, noise=0.005), wave, period_ns=PERIOD_NS, idle_mw=IDLE_MW
    )

    assert found is not None
    assert abs(share_milli - found.share_milli) <= 50
    assert abs(lag_ms * MS - found.lag_ns) <= 5 * MS
    assert abs(STEP_MW - found.step_mw) <= 0.05 * STEP_MW
    assert not found.duty_unknown


def test_a_sensor_that_sees_all_is_taken_to_see_all() -> None:
    """A share of one wins where it is as good as the best."""
    wave = a_wave()

    found = find_window(seen_by((0, MILLI), wave, noise=0.005), wave, period_ns=PERIOD_NS, idle_mw=IDLE_MW)

    assert found is not None
    assert (MILLI, False) == (found.share_milli, found.duty_unknown)


def test_a_counter_that_does_not_follow_the_load_has_an_unknown_duty() -> None:
    """The wave of another time explains nothing."""
    elsewhere = [
        (start + 51 * MS * (number % 3), end + 53 * MS * (number % 2)) for number, (start, end) in enumerate(a_wave())
    ]

    found = find_window(
        seen_by((0, 250), a_wave()), [(a, a + 37 * MS) for a, _ in elsewhere], period_ns=PERIOD_NS, idle_mw=IDLE_MW
    )

    assert found is not None
    assert found.duty_unknown


def test_too_few_points_find_no_window() -> None:
    """Unknown instead of a fit through nothing."""
    wave = a_wave()
    counter = seen_by((0, MILLI), wave)

    assert find_window(counter[:15], wave, period_ns=PERIOD_NS, idle_mw=IDLE_MW) is None
    assert find_window(counter, [], period_ns=PERIOD_NS, idle_mw=IDLE_MW) is None
    assert find_window([(at, at // MS) for at, _ in counter], wave, period_ns=PERIOD_NS, idle_mw=IDLE_MW) is None


@pytest.mark.parametrize("changes", [{"period_ns": 0}, {"idle_mw": -1}, {"share_milli": 0}, {"share_milli": 1_001}])
def test_a_characterisation_without_sense_is_refused(changes: dict[str, Any]) -> None:
    """Also where it comes from a file."""
    with pytest.raises(ValueError, match=r"a characterisation has|the observed share lies"):
        replace(a_characterisation(), **changes)
