"""Windows of budgets: in which one a moment lies, where it ends, and what is no window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.budgets import iso
from greenserve.carbon.windows import CALENDAR, US_PER_QUARTER, check, length_s, parse_per, span_of
from greenserve.errors import InvalidRequest

NOW_US = 1_795_305_600_000_000 + 5 * 3_600_000_000  # Sunday 2026-11-22T05:00:00Z
DAY_US = 86_400_000_000
ZONES = ("UTC", "Europe/Stockholm", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe")
times = st.integers(100 * DAY_US, 4_000_000_000_000_000)


@pytest.mark.parametrize(
    ("per", "zone", "start", "end"),
    [
        ("day", "UTC", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("week", "UTC", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("month", "UTC", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("day", "Asia/Kolkata", "2026-11-21T18:30:00Z", "2026-11-22T18:30:00Z"),
        ("day", "America/Los_Angeles", "2026-11-21T08:00:00Z", "2026-11-22T08:00:00Z"),
        ("month", "America/New_York", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
        ("week", "Europe/Stockholm", "2026-11-15T23:00:00Z", "2026-11-22T23:00:00Z"),
    ],
)
def test_windows_are_calendar_windows_in_their_zone(per: str, zone: str, start: str, end: str) -> None:
    """A Sunday belongs to the week of the Monday before it; a month begins and ends at local midnights."""
    start_us, end_us = span_of(per, zone, NOW_US)

    assert (start, end) == (iso(start_us), iso(end_us or 0))


@given(times, st.sampled_from(CALENDAR), st.sampled_from(ZONES))
def test_every_moment_lies_in_its_window_and_windows_join(now_us: int, per: str, zone: str) -> None:
    """[start, end) holds the moment, the next window starts where this one ends, at a whole quarter of an hour."""
    start_us, end_us = span_of(per, zone, now_us)

    assert end_us is not None
    assert start_us <= now_us < end_us
    assert end_us == span_of(per, zone, end_us).start_us
    assert start_us == span_of(per, zone, end_us - 1).start_us
    assert (0, 0) == (start_us % US_PER_QUARTER, end_us % US_PER_QUARTER)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_clocks_change_is_as_long_as_it_is(day: str, hours: int) -> None:
    """23 hours in spring, 25 in autumn."""
    noon_us = {"2026-03-29": 1_774_782_000, "2026-10-25": 1_792_929_600}[day] * 1_000_000
    span = span_of("day", "Europe/Stockholm", noon_us)

    assert hours * 3600 == length_s("day", span)


@given(times, st.sampled_from(["rolling:1h", "rolling:24h", "rolling:90m", "rolling:30d"]))
def test_a_rolling_window_reaches_at_least_as_far_back_as_it_says(now_us: int, per: str) -> None:
    """It begins at a whole quarter of an hour, less than one too early, and has no end."""
    start_us, end_us = span_of(per, "UTC", now_us)
    length = (length_s(per, span_of(per, "UTC", now_us)) or 0) * 1_000_000

    assert end_us is None
    assert 0 == start_us % US_PER_QUARTER
    assert length <= now_us - start_us < length + US_PER_QUARTER


def test_a_lifetime_has_neither_start_nor_end() -> None:
    """Nor a length."""
    span = span_of("lifetime", "UTC", NOW_US)

    assert (0, None, None) == (*span, length_s("lifetime", span))


@pytest.mark.parametrize(
    ("per", "zone", "words"),
    [
        ("year", "UTC", "rolling:<duration>"),
        ("rolling:", "UTC", "from 1h to 366d"),
        ("rolling:30m", "UTC", "from 1h to 366d"),
        ("rolling:367d", "UTC", "from 1h to 366d"),
        ("rolling:24 h", "UTC", "rolling:24h"),
        ("day", "Mars/Base", "IANA name"),
        ("day", "../etc/passwd", "IANA name"),
        ("day", "", "IANA name"),
        ("lifetime", "Europe/Stockholm", "has no time zone"),
        ("rolling:24h", "Europe/Stockholm", "has no time zone"),
    ],
)
def test_what_is_no_window_is_refused(per: str, zone: str, words: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match=words):
        check(per, zone)
    with pytest.raises(InvalidRequest, match=words):
        parse_per(per, zone)
