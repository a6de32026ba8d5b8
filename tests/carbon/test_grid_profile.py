"""A year of a zone by hour and month: means over time, ranks, percentiles."""

from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.grid_profile import HOUR_US, HOURS, Slot, extremes, profile_of, ranked, years_of

START_US = round(datetime(2022, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE_US = HOUR_US // 60


def at(hours: float, mg_per_kwh: int, lasts_us: int = HOUR_US) -> Slot:
    """A slot that many hours after New Year 2022 UTC."""
    start_us = START_US + round(hours * HOUR_US)
    return Slot(start_us=start_us, end_us=start_us + lasts_us, mg_per_kwh=mg_per_kwh)


def test_cells_are_means_and_what_nobody_knows_is_none() -> None:
    """Two days of January: hour 0 has a mean of both, hour 1 one value, the rest is unknown and never 0."""
    found = profile_of("DE", [at(0, 100), at(24, 201), at(1, 7)], 2022)

    assert found is not None
    assert (150, 7, None) == (found.cells[0][0], found.cells[1][0], found.cells[2][0])
    assert (None, None) == (found.cells[0][1], found.by_month[1])
    assert 103 == found.mean == found.by_month[0]
    # 1 January 2022 was a Saturday.
    assert (54, 201, None) == (found.by_weekday[5], found.by_weekday[6], found.by_weekday[0])
    assert (3 * HOUR_US, 365 * 24 * HOUR_US) == (found.known_us, found.year_us)
    assert 2 * HOUR_US == found.known_cells_us[0][0]


def test_a_mean_is_over_time_not_over_slots() -> None:
    """Three quarters of an hour count three times as much as one quarter."""
    found = profile_of("DE", [at(0, 100, 45 * MINUTE_US), at(0.75, 200, 15 * MINUTE_US)], 2022)

    assert found is not None
    assert 125 == found.cells[0][0]
    assert (100, 100, 200) == (found.percentiles[50], found.percentiles[75], found.percentiles[95])


def test_hours_are_those_of_the_clock_that_was_asked_for() -> None:
    """India is half an hour off: an hour of UTC counts in two local ones; the year begins at local midnight."""
    found = profile_of("IN-WE", [at(0, 100), at(1, 200), at(-6, 900)], 2022, ZoneInfo("Asia/Kolkata"))

    assert found is not None
    assert (100, 150, 200) == tuple(found.cells[hour][0] for hour in (5, 6, 7))
    assert {2021: HOUR_US, 2022: 2 * HOUR_US} == years_of(
        [at(0, 100), at(1, 200), at(-6, 900)], ZoneInfo("Asia/Kolkata")
    )


def test_a_leap_year_and_summer_time_are_as_long_as_they_are() -> None:
    """The hour that is twice in October is in one cell."""
    night = round((datetime(2022, 10, 29, 23, tzinfo=UTC).timestamp() * 1_000_000 - START_US) / HOUR_US)
    found = profile_of("DE", [at(night + hour, 100) for hour in range(4)], 2022, ZoneInfo("Europe/Berlin"))

    assert found is not None
    assert 2 * HOUR_US == found.known_cells_us[2][9]
    assert 8_760 * HOUR_US == found.year_us


def test_a_day_swings_from_its_lowest_to_its_highest_hour() -> None:
    """The median of days that are known well enough; one that is not does not count."""
    days = [at(24 * day + hour, 100 + (hour == 12) * day) for day in range(3) for hour in range(24)]

    whole, short = profile_of("DE", days, 2022), profile_of("DE", days[:10], 2022)

    assert (whole and whole.day_swing, short and short.day_swing) == (1, None)


def test_another_year_has_no_profile() -> None:
    """Rather than one full of gaps."""
    assert profile_of("DE", [at(0, 100)], 2023) is None


def test_ranks_go_from_best_to_worst_without_the_unknown() -> None:
    """Equal ones in their order."""
    assert [2, 0, 3] == ranked([5, None, 1, 5])


slots = st.lists(
    st.builds(at, st.integers(0, 8_759), st.integers(0, 2_000_000), st.sampled_from([MINUTE_US * 5, HOUR_US])),
    min_size=1,
    max_size=60,
    unique_by=lambda slot: slot.start_us,
)


@settings(max_examples=60)
@given(slots, st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/Los_Angeles"]))
def test_the_cells_hold_the_whole_year(given_slots: list[Slot], zone: str) -> None:
    """No time is lost between cells; every mean lies between the extremes; percentiles rise."""
    whole_us = sum(slot.end_us - slot.start_us for slot in given_slots)
    found = [profile_of("DE", given_slots, year, ZoneInfo(zone)) for year in (2021, 2022, 2023)]
    known = [one for one in found if one is not None]

    assert whole_us == sum(one.known_us for one in known)
    for one in known:
        assert one.known_us == sum(map(sum, one.known_cells_us))
        values = [value for row in one.cells for value in row if value is not None]
        assert one.lowest <= min(values) <= one.mean <= max(values) <= one.highest
        assert sorted(one.percentiles.values()) == list(one.percentiles.values())
        (low_hour, low_month), (high_hour, high_month) = extremes(one)
        assert (min(values), max(values)) == (one.cells[low_hour][low_month], one.cells[high_hour][high_month])
        weighted = sum(
            value * one.known_cells_us[hour][month]
            for hour in range(HOURS)
            for month, value in enumerate(one.cells[hour])
            if value is not None
        )
        assert abs(Fraction(weighted, one.known_us) - one.mean) <= 1


@pytest.mark.parametrize("percent", [5, 25, 50, 75, 95])
def test_percentiles_are_nearest_ranks(percent: int) -> None:
    """Of 100 equal hours with the values 1 to 100 the percentile is its own number."""
    found = profile_of("DE", [at(hour, hour + 1) for hour in range(100)], 2022)

    assert found is not None
    assert percent == found.percentiles[percent]
