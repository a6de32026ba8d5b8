"""How often a meter is read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.meters.pace import Edges, Pace, board_period_ns

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
