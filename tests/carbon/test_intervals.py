"""Differences of cumulative readings, and when there is none."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.intervals import (
    Dropped,
    Estimate,
    IntervalMaker,
    Limits,
    Row,
    cut,
    interval_between,
    is_restart,
)
from greenserve.records import Interval, Reading, Tier

FIRST = Reading(
    device="cpu", energy_uj=1_000, static_uj=600, at_ns=10, source="model", tier="class_average", busy_ns=100
)
SECOND = replace(FIRST, energy_uj=1_500, static_uj=900, at_ns=30, busy_ns=140)


def test_an_interval_is_the_difference_of_two_readings() -> None:
    """Energy, its static part and busy time by subtraction."""
    expected = Interval(
        device="cpu",
        start_ns=10,
        end_ns=30,
        energy_uj=500,
        static_uj=300,
        tier="class_average",
        source="model",
        busy_ns=40,
    )

    assert expected == interval_between(FIRST, SECOND)


@pytest.mark.parametrize(
    "second",
    [
        FIRST,
        replace(SECOND, at_ns=10),
        replace(SECOND, at_ns=9),
        replace(SECOND, energy_uj=1_000),
        replace(SECOND, energy_uj=999),
        replace(SECOND, static_uj=599),
    ],
)
def test_a_repeated_older_or_fallen_reading_tells_no_energy(second: Reading) -> None:
    """No interval rather than a zero or negative one; a counter that did not tick closes nothing."""
    assert interval_between(FIRST, second) is None


def test_only_a_later_and_lower_counter_has_restarted() -> None:
    """Then the second reading is the new base; after a late delivery or a standstill the first one stays."""
    assert is_restart(FIRST, replace(SECOND, energy_uj=5, static_uj=3))
    assert not is_restart(FIRST, SECOND)
    assert not is_restart(SECOND, FIRST)
    assert not is_restart(FIRST, replace(FIRST, at_ns=99))


@pytest.mark.parametrize(("first", "second"), [("metered", "class_average"), ("class_average", "metered")])
def test_the_weaker_tier_of_both_ends_holds(first: Tier, second: Tier) -> None:
    """A difference is as good as its worse end."""
    interval = interval_between(replace(FIRST, tier=first), replace(SECOND, tier=second))

    assert interval is not None
    assert "class_average" == interval.tier


def test_busy_time_is_unknown_unless_both_ends_count_it() -> None:
    """Unknown is not zero."""
    interval = interval_between(replace(FIRST, busy_ns=None), SECOND)

    assert interval is not None
    assert interval.busy_ns is None


def test_the_static_part_is_at_most_the_energy() -> None:
    """Two roundings may put the static difference one above: it is cut, never negative dynamic energy."""
    interval = interval_between(FIRST, replace(SECOND, energy_uj=1_200))

    assert interval is not None
    assert (200, 200) == (interval.energy_uj, interval.static_uj)


@pytest.mark.parametrize("other", [replace(SECOND, device="gpu"), replace(SECOND, source="rapl")])
def test_two_counters_have_no_difference(other: Reading) -> None:
    """Another device or source is an error of the caller."""
    with pytest.raises(ValueError, match="readings of one counter"):
        interval_between(FIRST, other)


def a_reading(
    at_ns: int, energy_uj: int, *, static_uj: int = 0, source: str = "counter", tier: Tier = "measured"
) -> Reading:
    return Reading(device="gpu", energy_uj=energy_uj, static_uj=static_uj, at_ns=at_ns, source=source, tier=tier)


def rows_of(maker: IntervalMaker, readings: list[Reading], estimate: Estimate | None = None) -> list[Row]:
    return [row for reading in readings if (row := maker.add(reading, estimate=estimate)) is not None]


def test_a_counter_that_did_not_tick_closes_nothing() -> None:
    """The next tick closes one interval from the last tick on."""
    maker = IntervalMaker(device="gpu")

    rows = rows_of(maker, [a_reading(0, 5), a_reading(10, 5), a_reading(20, 5), a_reading(30, 9)])

    assert [(0, 30, 4)] == [(row.start_ns, row.end_ns, row.energy_uj) for row in rows]
    assert Dropped() == maker.dropped


def test_duplicates_and_late_points_are_dropped_and_counted() -> None:
    """A point delivered twice or out of order adds nothing, and the base stays."""
    maker = IntervalMaker(device="gpu")

    rows = rows_of(maker, [a_reading(0, 5), a_reading(10, 8), a_reading(10, 8), a_reading(5, 6), a_reading(20, 9)])

    assert [3, 1] == [row.energy_uj for row in rows]
    assert Dropped(duplicates=1, out_of_order=1) == maker.dropped
    assert 0 == maker.segment


@pytest.mark.parametrize("fallen", [a_reading(20, 1), a_reading(20, 7, static_uj=-1)])
def test_a_counter_that_fell_opens_a_segment_behind_a_gap(fallen: Reading) -> None:
    """Backwards is a reset: the energy of the time between is unknown, never zero and never negative."""
    maker = IntervalMaker(device="gpu")

    rows = rows_of(maker, [a_reading(0, 5), a_reading(10, 8), fallen, replace(fallen, at_ns=30, energy_uj=9)])

    assert [(3, 0), (None, 0), (9 - fallen.energy_uj, 1)] == [(row.energy_uj, row.segment) for row in rows]
    assert frozenset({"gap", "reset"}) == rows[1].flags
    assert rows[1].is_gap
    assert rows[1].interval is None


def test_a_gap_takes_its_energy_from_the_estimate_at_its_tier() -> None:
    """60 W over 2 s are 120 J, modelled, and counted as metered."""
    maker = IntervalMaker(device="gpu")

    (row,) = rows_of(maker, [a_reading(0, 5), a_reading(2_000_000_000, 1)], Estimate(power_mw=60_000))

    assert (120_000_000, 0, "modelled") == (row.energy_uj, row.static_uj, row.tier)
    assert {"gap", "reset", "estimated"} == row.flags
    assert row.interval is not None


def test_a_gap_of_a_simulated_counter_stays_simulated() -> None:
    """What was played can never be billed, not even by an estimate."""
    maker = IntervalMaker(device="gpu")
    played = [a_reading(0, 5, tier="simulated"), a_reading(9, 1, tier="simulated")]

    (row,) = rows_of(maker, played, Estimate(power_mw=60_000))

    assert "simulated" == row.tier


def test_another_source_opens_a_segment() -> None:
    """Two counters have nothing in common, also where the second stands higher."""
    maker = IntervalMaker(device="gpu")

    (row,) = rows_of(maker, [a_reading(0, 5), a_reading(10, 50, source="another")])

    assert (None, frozenset({"gap", "source_changed"}), "counter") == (row.energy_uj, row.flags, row.source)
    assert 1 == maker.segment


def test_more_than_the_board_can_draw_is_quarantined() -> None:
    """1.2 times 100 W for a second is the most that is believed."""
    limits = Limits(power_limit_mw=100_000)
    at_ns = 1_000_000_000

    (most,) = rows_of(IntervalMaker(device="gpu", limits=limits), [a_reading(0, 0), a_reading(at_ns, 120_000_000)])
    (more,) = rows_of(IntervalMaker(device="gpu", limits=limits), [a_reading(0, 0), a_reading(at_ns, 120_000_001)])

    assert (120_000_000, frozenset()) == (most.energy_uj, most.flags)
    assert (None, frozenset({"gap", "quarantined"})) == (more.energy_uj, more.flags)


def test_a_hole_keeps_what_was_counted_and_says_so() -> None:
    """A cumulative counter knows the energy of a long silence; only its course is lost (decision 0016)."""
    maker = IntervalMaker(device="gpu", limits=Limits(publication_ns=100))

    rows = rows_of(maker, [a_reading(0, 0), a_reading(1_000, 7), a_reading(2_001, 9)])

    assert [(7, frozenset()), (2, {"hole"})] == [(row.energy_uj, row.flags) for row in rows]
    assert "measured" == rows[1].tier


def test_readings_that_failed_are_counted_and_flag_the_row_behind_them() -> None:
    """A failed read is no zero: the next good one covers the time."""
    maker = IntervalMaker(device="gpu")
    maker.add(a_reading(0, 0))
    maker.failed()
    maker.failed()

    rows = rows_of(maker, [a_reading(10, 4), a_reading(20, 6)])

    assert [(4, {"read_failed"}), (2, frozenset())] == [(row.energy_uj, row.flags) for row in rows]
    assert 2 == maker.dropped.failed


def test_another_devices_reading_is_refused() -> None:
    """An error of the caller."""
    with pytest.raises(ValueError, match="needs readings of gpu"):
        IntervalMaker(device="gpu").add(FIRST)


@pytest.mark.parametrize(
    "changes",
    [{"end_ns": 0}, {"static_uj": None}, {"static_uj": 9}, {"energy_uj": None}, {"segment": -1}, {"tier": None}],
)
def test_a_row_without_sense_is_refused(changes: dict[str, Any]) -> None:
    """Energy, static part and tier are known together or not at all."""
    row = Row(
        device="gpu", segment=0, start_ns=0, end_ns=9, energy_uj=5, static_uj=2, tier="measured", source="counter"
    )
    with pytest.raises(ValueError, match="a row "):
        replace(row, **changes)


points = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), st.sampled_from("ab"), st.booleans()), max_size=30)


@given(points, st.integers(1, 100) | st.none())
def test_no_stream_of_points_gives_negative_or_impossible_energy(
    stream: list[tuple[int, int, str, bool]], limit_mw: int | None
) -> None:
    """Resets, duplicates, reordering, other sources, failed reads: rows never overlap and never pass the limit."""
    maker = IntervalMaker(device="gpu", limits=Limits(power_limit_mw=limit_mw))
    rows = []
    for at_ms, energy_uj, source, fails in stream:
        if fails:
            maker.failed()
        rows += rows_of(maker, [a_reading(at_ms * 1_000, energy_uj, source=source)])

    for before, after in pairwise(rows):
        assert before.end_ns <= after.start_ns
        assert before.segment <= after.segment
    for row in rows:
        assert row.energy_uj is None or row.energy_uj > 0
        if limit_mw and row.energy_uj:
            assert row.energy_uj * 10 * 1_000_000 <= 12 * limit_mw * (row.end_ns - row.start_ns)


@given(
    st.integers(0, 10**9) | st.none(),
    st.integers(0, 1000),
    st.integers(1, 500),
    st.lists(st.integers(-10, 510), max_size=6),
)
def test_cutting_a_row_anywhere_keeps_all_sums(
    energy_uj: int | None, static_part: int, end_ns: int, edges: list[int]
) -> None:
    """Pieces join without a hole, and energy, static part and CPU time sum to the row's; unknown stays unknown."""
    row = Row(
        device="gpu",
        segment=3,
        start_ns=0,
        end_ns=end_ns,
        energy_uj=energy_uj,
        static_uj=None if energy_uj is None else energy_uj * static_part // 1000,
        tier=None if energy_uj is None else "measured",
        source="counter",
        busy_ns=energy_uj,
    )

    pieces = cut(row, edges)

    assert [0, *(piece.end_ns for piece in pieces)] == [*(piece.start_ns for piece in pieces), end_ns]
    for name in ("energy_uj", "static_uj", "busy_ns"):
        parts = [getattr(piece, name) for piece in pieces]
        assert getattr(row, name) == (None if None in parts else sum(parts))


def test_a_length_that_is_only_bounded_quarantines_nothing_real() -> None:
    """A second at 100 W seen as half a second is kept where the edges may be off by as much."""
    readings = [a_reading(0, 0), a_reading(500_000_000, 100_000_000)]

    (sharp,) = rows_of(IntervalMaker(device="gpu", limits=Limits(power_limit_mw=100_000)), readings)
    (bounded,) = rows_of(
        IntervalMaker(device="gpu", limits=Limits(power_limit_mw=100_000, edge_ns=500_000_000)), readings
    )

    assert (True, False) == (sharp.is_gap, bounded.is_gap)
