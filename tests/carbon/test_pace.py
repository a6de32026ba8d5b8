"""How often a meter is read."""

import pytest

from greenserve.carbon.meters.pace import Pace, board_period_ns

MS = 1_000_000


@pytest.mark.parametrize(
    ("publication_ms", "period_ms"), [(None, 50), (100, 50), (60, 30), (40, 20), (10, 20), (1_000, 50)]
)
def test_a_board_is_read_at_half_its_period_within_bounds(publication_ms: int | None, period_ms: int) -> None:
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
