"""E2 to E4: a device's interval over the batches that ran in it."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.attribution import (
    Sensor,
    WorkSpan,
    span_weight,
    split_dynamic,
    split_held,
    split_instances,
    static_instances,
)

ROOT = Path(__file__).parents[2]

amounts_uj = st.integers(0, 50) | st.integers(0, 10**12)
weights_uj = st.lists(st.integers(1, 3) | st.integers(1, 10**9), max_size=8)


@given(amounts_uj, weights_uj, st.booleans(), st.booleans())
def test_dynamic_energy_is_conserved_in_every_case(
    dynamic_uj: int, weights: list[int], foreign: bool, gap: bool
) -> None:
    """Spans and pools sum to the interval, none negative, and only one pool takes the rest."""
    split = split_dynamic(dynamic_uj, weights, foreign=foreign, gap=gap)

    pools = [split.background_uj, split.foreign_uj, split.gap_uj]
    assert dynamic_uj == sum(split.spans) + sum(pools)
    assert min([*split.spans, *pools]) >= 0
    assert sum(pool > 0 for pool in pools) <= 1


def test_a_solo_span_gets_all_dynamic_energy() -> None:
    """Whatever it was expected to use."""
    assert [1_000_000] == split_dynamic(1_000_000, [7]).spans


def test_beside_foreign_work_a_span_takes_a_quarter_more_than_expected_at_most() -> None:
    """1,000 uJ expected, 5,000 uJ metered: 1,250 uJ are its own, the rest is the other process's."""
    split = split_dynamic(5_000, [400, 600], foreign=True)

    assert ([500, 750], 3_750) == (split.spans, split.foreign_uj)
    assert 900 == split_dynamic(900, [], foreign=True).foreign_uj


def test_an_estimate_over_a_hole_is_bounded_too() -> None:
    """What no span explains is gap, not background: nobody saw it."""
    split = split_dynamic(5_000, [1_000], gap=True)

    assert ([1_250], 3_750, 0) == (split.spans, split.gap_uj, split.background_uj)


@given(amounts_uj, st.integers(1, 10**9), st.lists(st.integers(0, 10**12), max_size=8))
def test_static_energy_is_held_or_idle(static_uj: int, length_ns: int, occupied: list[int]) -> None:
    """Conserved, never negative, and nothing idle once the device is fully held."""
    held, idle_uj = split_held(static_uj, length_ns, occupied)

    assert static_uj == sum(held) + idle_uj
    assert min([*held, idle_uj]) >= 0
    if sum(occupied) >= 1_000 * length_ns:
        assert 0 == idle_uj


def test_half_of_the_device_for_half_of_the_time_is_a_quarter() -> None:
    """share x overlap: 500/1000 of 50 of 100 ns."""
    assert ([250], 750) == split_held(1_000, 100, [500 * 50])


@given(st.integers(1, 10**9), st.lists(st.integers(0, 1_000), min_size=2, max_size=6), st.integers(1, 10**6))
def test_the_parts_of_a_span_follow_its_overlap(expected_uj: int, cuts: list[int], busy_ns: int) -> None:
    """Weights of consecutive intervals sum to the expected energy, up to 1 uJ of rounding each."""
    edges = sorted({0, busy_ns, *(cut * busy_ns // 1_000 for cut in cuts)})

    parts = [span_weight(expected_uj, end - start, busy_ns) for start, end in pairwise(edges)]

    assert abs(expected_uj - sum(parts)) <= len(parts)
    assert min(parts) >= 1


def test_a_lagging_sensor_shows_what_was_earlier() -> None:
    """20 ns behind: the interval [100, 200) used [80, 180), of which a sensor of a quarter saw [155, 180)."""
    sensor = Sensor(lag_ns=20, observed_milli=250)

    assert (80, 180) == sensor.window(100, 200)
    assert (155, 180) == sensor.observed(100, 200)
    assert [0, 30, 100] == [sensor.window(100, 200).overlap_ns(*span) for span in ((180, 300), (150, 300), (0, 300))]


def test_a_span_without_a_duration_counts_as_a_microsecond() -> None:
    """Its work was not nothing; the flag says that the clock did not show it."""
    span = WorkSpan.ended("b", "class", (500, 500), work=3)

    assert (500, 1_500, ("no_duration",)) == (span.start_ns, span.end_ns, span.flags)
    assert () == WorkSpan.ended("b", "class", (500, 501), work=3).flags


def test_mig_instances_share_by_activity_and_slices() -> None:
    """Three slices at full activity against one at half: 6 to 1; without any activity by slices."""
    slices = {"a": 3, "b": 1}

    assert {"a": 600, "b": 100} == split_instances(700, {"a": 1_000, "b": 500}, slices)
    assert {"a": 525, "b": 175} == split_instances(700, {"a": 0, "b": 0}, slices)
    assert ({"a": 300, "b": 100}, 300) == static_instances(700, slices, 7)


@pytest.mark.parametrize(("end_ns", "work", "share_milli"), [(0, 1, 1_000), (10, -1, 1_000), (10, 1, 1_001)])
def test_an_impossible_span_is_refused(end_ns: int, work: int, share_milli: int) -> None:
    """With what was given, and the way out for equal clock readings."""
    with pytest.raises(ValueError, match=r"WorkSpan\.ended"):
        WorkSpan(span_id="b", work_class="c", start_ns=0, end_ns=end_ns, work=work, share_milli=share_milli)


def test_impossible_sensors_and_instances_are_refused() -> None:
    """A sensor that sees nothing, more slices than the board has, instances without slices."""
    with pytest.raises(ValueError, match="observes 1"):
        Sensor(observed_milli=0)
    with pytest.raises(ValueError, match="8 slices are in use on a board of 7"):
        static_instances(1, {"a": 8}, 7)
    with pytest.raises(ValueError, match="same instances"):
        split_instances(1, {"a": 1}, {"b": 1})
    with pytest.raises(ValueError, match="positive length"):
        split_held(1, 0, [])


@pytest.mark.parametrize("module", ["attribution", "games", "members", "theta"])
def test_attribution_runs_where_nothing_is_installed(module: str) -> None:
    """The check on a GPU machine runs from a plain checkout, with the standard library alone."""
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import greenserve.carbon.{module}"

    ran = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)

    assert "" == ran.stderr
