"""How often a meter is read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.meters.pace import MOVES, Edges, Pace, Rhythm, board_period_ns

MS = 1_000_000


@pytest.mark.parametrize(
    ("publication_ms", "period_ms"), [(None, 50), (100, 89), (60, 53.4), (20, 20), (10, 20), (1_000, 100)]
)
def test_a_board_is_read_often_enough_and_at_all_phases(publication_ms: int | None, period_ms: float) -> None:
    """20..50 ms; 50 ms before anything is known."""
    assert period_ms * MS == board_period_ns(None if publication_ms is None else publication_ms * MS)


def test_calls_over_a_hundredth_of_the_period_double_it() -> None:
    """Twenty calls decide by their median, up to a second."""
    pace = Pace(50 * MS)

    for _ in range(20):
        pace.took(600_000)

    assert (100 * MS, 1) == (pace.period_ns, pace.slowed)
    for _ in range(200):
        pace.took(50 * MS)
    assert 1_000 * MS == pace.period_ns


def test_one_hiccup_slows_nothing() -> None:
    """The median of twenty calls counts."""
    pace = Pace(50 * MS)

    for call in [400_000] * 19 + [80 * MS]:
        pace.took(call)

    assert (50 * MS, 0) == (pace.period_ns, pace.slowed)


def test_a_meter_read_once_a_second_keeps_its_period() -> None:
    """RAPL must not be read later than its counter wraps."""
    pace = Pace(1_000 * MS)

    for _ in range(60):
        pace.took(90 * MS)

    assert (1_000 * MS, 0) == (pace.period_ns, pace.slowed)


def test_moves_between_samples_are_found_by_the_period() -> None:
    """Sampled every 89 ms, a counter that moves at 13, 113, 213 ms... is dated within 3 ms soon, and stays so."""
    edges, moves, dated = Edges(100 * MS), [(13 + 100 * number) * MS for number in range(60)], []
    samples = range(0, 6_000 * MS, 89 * MS)
    for before, after in pairwise(samples):
        for move in moves:
            if before < move <= after:
                dated.append(edges.seen(before, after) - move)

    assert all(abs(late) <= 3 * MS for late in dated[20:])


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1), st.integers(1, 200) | st.none())
def test_a_move_is_never_dated_outside_its_bounds(steps: list[tuple[int, int]], period_ns: int | None) -> None:
    """Also where the period is wrong or unknown."""
    edges, now_ns = Edges(period_ns), 0
    for rest, width in steps:
        after_ns = now_ns + rest
        now_ns = after_ns + width

        assert after_ns < edges.seen(after_ns, now_ns) <= now_ns


def sampled(rhythm: Rhythm, *, period_ms: float, reading_ms: int, seconds: float = 60, hiccup_ms: int = 0) -> None:
    """Read a counter of that period so often, and note each move when it is seen."""
    at_ms, shown, last_ms = 0, 0, -reading_ms
    while at_ms < seconds * 1_000 and rhythm.period_ns is None:
        counter = int(at_ms / period_ms)
        if counter != shown:
            rhythm.moved(at_ms * MS, (at_ms - last_ms) * MS)
        shown, last_ms = counter, at_ms
        at_ms += reading_ms + (hiccup_ms if at_ms == 50 * reading_ms else 0)


@given(st.floats(75, 400))
def test_a_counters_own_moves_tell_its_period(period_ms: float) -> None:
    """A hundred moves, each seen up to 50 ms late, tell it within 0.7 %."""
    rhythm = Rhythm()

    sampled(rhythm, period_ms=period_ms, reading_ms=50)

    assert rhythm.period_ns == pytest.approx(period_ms * MS, rel=0.007)


@pytest.mark.parametrize(("period_ms", "reading_ms"), [(20, 50), (50, 50), (60, 50), (20, 100), (100, 100)])
def test_a_period_that_readings_cannot_tell_stays_unknown(period_ms: int, reading_ms: int) -> None:
    """A counter that moved at every reading may move ten times between two."""
    rhythm = Rhythm()

    sampled(rhythm, period_ms=period_ms, reading_ms=reading_ms)

    assert rhythm.period_ns is None


def test_a_reader_that_was_held_up_begins_to_count_anew() -> None:
    """Moves that nobody saw would make the period longer."""
    held_up, even = Rhythm(), Rhythm()

    sampled(held_up, period_ms=100, reading_ms=50, seconds=(MOVES + 5) / 10, hiccup_ms=400)
    sampled(even, period_ms=100, reading_ms=50, seconds=(MOVES + 5) / 10)

    assert (None, 100 * MS) == (held_up.period_ns, even.period_ns)


def test_a_counter_without_a_rhythm_has_no_period() -> None:
    """Moves after 100 ms and after 300 ms in turn."""
    rhythm, at_ms = Rhythm(), 0

    for move in range(5 * MOVES):
        at_ms += 300 if move % 2 else 100
        rhythm.moved(at_ms * MS, 50 * MS)

    assert rhythm.period_ns is None


def test_a_learned_period_sets_the_pace_unless_calls_are_slow() -> None:
    """89 % of it, as for a board that was probed."""
    pace, slow = Pace(50 * MS), Pace(100 * MS, slowed=1)

    assert (True, False) == (pace.learned(100 * MS), slow.learned(100 * MS))
    assert (89 * MS, 100 * MS) == (pace.period_ns, slow.period_ns)
