"""What the API says of a reading that stands in for another slot."""

from greenserve.carbon.feeds.levels import LAST_GOOD, moved
from greenserve.serve.http.admin.grid import reading_shown
from tests.carbon.grid_server import HOUR_US, NOW_US, a_reading


def test_the_api_shows_level_width_scope_and_when_it_was_seen() -> None:
    """A last good value: 10 %, seen an hour before its slot."""
    shown = reading_shown(moved(a_reading(scope="consumption", model="m"), HOUR_US, LAST_GOOD), NOW_US)

    assert (1, "10", "consumption", "m") == (shown.level, shown.half_width, shown.scope, shown.model)
    assert ("2026-03-06T19:00:00Z", "2026-03-06T20:00:00Z") == (shown.observed, shown.start)


def test_what_nobody_told_of_it_is_null() -> None:
    """Unknown is no zero."""
    shown = reading_shown(a_reading(), NOW_US)

    assert [None] * 5 == [shown.level, shown.half_width, shown.scope, shown.model, shown.observed]
