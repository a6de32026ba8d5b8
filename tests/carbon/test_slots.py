"""Cutting at grid slots and hours keeps every sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.closed import SlotPart
from greenserve.carbon.slots import (
    SLOT_MINUTES,
    CivilTime,
    Line,
    cut_interval,
    cut_span,
    lines_of,
    slot_start,
    slots_between,
)
from greenserve.records import Interval

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
minutes = st.sampled_from(SLOT_MINUTES)
times_us = st.integers(0, 3 * HOUR_US)
lengths_us = st.integers(1, 50) | st.integers(1, 3 * HOUR_US)


@given(times_us, lengths_us, minutes)
def test_pieces_join_and_lie_in_one_slot_and_hour_each(start_us: int, length_us: int, slot_minutes: int) -> None:
    """From start to end without a hole, each within its slot, which divides the hour."""
    pieces = slots_between(start_us, start_us + length_us, slot_minutes)

    assert start_us == pieces[0][1]
    assert start_us + length_us == pieces[-1][2]
    for slot_us, first_us, last_us in pieces:
        assert slot_us <= first_us < last_us <= slot_us + slot_minutes * MINUTE_US
        assert first_us // HOUR_US == (last_us - 1) // HOUR_US
    assert [last for _, _, last in pieces[:-1]] == [first for _, first, _ in pieces[1:]]


@given(
    st.integers(0, 10**13),
    st.integers(1, 999) | st.integers(1, 10**13),
    st.integers(0, 9) | st.integers(0, 10**12),
    st.integers(0, 9) | st.integers(0, 10**12),
    st.none() | st.integers(0, 10**13),
    minutes,
)
def test_cutting_an_interval_at_slots_keeps_all_sums(
    start_ns: int, length_ns: int, static_uj: int, dynamic_uj: int, busy_ns: int | None, slot_minutes: int
) -> None:
    """Energy, static energy, time and CPU times sum to the interval's; unknown stays unknown."""
    interval = Interval(
        device="cpu",
        start_ns=start_ns,
        end_ns=start_ns + length_ns,
        energy_uj=static_uj + dynamic_uj,
        static_uj=static_uj,
        tier="modelled",
        source="test",
        busy_ns=busy_ns,
    )
    clock = CivilTime(unix_us=1_767_225_600_000_123, monotonic_ns=777)

    pieces = cut_interval(interval, 55, clock=clock, slot_minutes=slot_minutes)

    assert interval.energy_uj == sum(piece.interval.energy_uj for piece in pieces)
    assert interval.static_uj == sum(piece.interval.static_uj for piece in pieces)
    assert length_ns == sum(piece.interval.end_ns - piece.interval.start_ns for piece in pieces)
    assert 55 == sum(piece.own_busy_ns for piece in pieces)
    if busy_ns is None:
        assert {None} == {piece.interval.busy_ns for piece in pieces}
    else:
        assert busy_ns == sum(piece.interval.busy_ns or 0 for piece in pieces)
    for piece in pieces:
        assert piece.slot_us == slot_start(clock.us_at(piece.interval.start_ns), slot_minutes)


@given(st.integers(0, 10**16), st.integers(0, 999))
def test_the_two_clocks_agree_to_the_microsecond(at_us: int, rest_ns: int) -> None:
    """Civil time rounds down within its microsecond, and turns back into its start."""
    clock = CivilTime(unix_us=1_767_225_600_000_123, monotonic_ns=777)

    assert at_us == clock.us_at(clock.ns_at(at_us) + rest_ns)


def test_an_interval_over_the_hour_is_cut_there() -> None:
    """A second, a quarter of which lies before the full hour: 250 and 750 uJ."""
    clock = CivilTime(unix_us=HOUR_US, monotonic_ns=5_000_000_000)
    interval = Interval(
        device="cpu",
        start_ns=4_750_000_000,
        end_ns=5_750_000_000,
        energy_uj=1_000,
        static_uj=400,
        tier="modelled",
        source="test",
    )

    pieces = cut_interval(interval, 0, clock=clock, slot_minutes=60)

    assert [(0, 250, 100), (HOUR_US, 750, 300)] == [
        (piece.slot_us, piece.interval.energy_uj, piece.interval.static_uj) for piece in pieces
    ]


def test_a_request_has_one_line_per_slot_and_its_host_in_the_last() -> None:
    """Parts of one slot are added; the host's energy stands where the request ended."""
    parts = [SlotPart(0, 10, 1), SlotPart(0, 5, 0), SlotPart(300, 7, 2)]

    assert [
        Line(device="gpu0", slot_us=0, active_uj=15, held_uj=1, host_uj=0),
        Line(device="gpu0", slot_us=300, active_uj=7, held_uj=2, host_uj=4),
    ] == lines_of("gpu0", parts, 4, host_slot_us=300)
    assert [4] == [line.energy_uj for line in lines_of("cpu", [], 4, host_slot_us=300)]
    assert [] == lines_of("gpu0", [])


@given(times_us, lengths_us, st.integers(0, 10**9), st.integers(0, 10**9), minutes)
def test_a_span_without_intervals_is_cut_by_time(
    start_us: int, length_us: int, active_uj: int, held_uj: int, slot_minutes: int
) -> None:
    """Both amounts are conserved."""
    parts = cut_span(start_us, start_us + length_us, (active_uj, held_uj), slot_minutes)

    assert (active_uj, held_uj) == (sum(part.active_uj for part in parts), sum(part.held_uj for part in parts))


def test_impossible_cuts_are_refused() -> None:
    """Slots that do not divide the hour, time that runs backwards, host energy of no hour."""
    with pytest.raises(ValueError, match="5, 15, 30, 60 minutes long, got 7"):
        slot_start(0, 7)
    with pytest.raises(ValueError, match="ends after it starts"):
        slots_between(5, 5, 60)
    with pytest.raises(ValueError, match="need the slot"):
        lines_of("cpu", [], 4)
