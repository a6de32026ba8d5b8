"""Feeds in order of preference."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.feeds.annual import AnnualFeed
from greenserve.carbon.feeds.chain import FeedChain, MarginalFeed
from greenserve.carbon.feeds.live import BASES, WEEK_US, LiveReadings
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.records import Basis, IntensityReading
from tests.carbon.grid_server import DAY_US, HOUR_US, NOW_US, a_reading


def test_the_first_feed_that_knows_answers() -> None:
    """Order is preference; who answered stands in the reading."""
    chain = FeedChain([AnnualFeed({"SE": 1}, 2024, "first"), AnnualFeed({"SE": 2, "PL": 3}, 2023, "second")])

    readings = [chain.read(zone=zone, at_us=0) for zone in ("SE", "PL", "XX")]

    assert [("first 2024", 1), ("second 2023", 3), None] == [
        reading and (reading.provider, reading.mg_per_kwh) for reading in readings
    ]
    assert frozenset({"SE", "PL"}) == chain.zones()


def test_a_chain_without_feeds_knows_nothing() -> None:
    """Every intensity is unknown then, none is zero."""
    assert FeedChain([]).read(zone="SE", at_us=0) is None
    assert frozenset() == FeedChain([]).zones()


def a_chain(*readings: IntensityReading, basis: Basis = "lifecycle") -> FeedChain:
    """A live provider that told these, before annual values of both bases."""
    live = LiveReadings("a test", ["DE"])
    live.put(readings)
    annual = [AnnualFeed({"DE": 342_000}, 2024, "table"), AnnualFeed({"DE": 300_000}, 2024, "table", basis="direct")]
    return FeedChain([live, *annual], basis=basis)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"start_us": NOW_US - HOUR_US // 2}, (0, 500, "observed", 0)),
        ({"start_us": NOW_US - HOUR_US // 2, "origin": "estimated"}, (0, 1_000, "estimated", 0)),
        ({"start_us": NOW_US - HOUR_US}, (1, 1_000, "estimated", HOUR_US)),
        ({"start_us": NOW_US - 3 * HOUR_US + 1}, (1, 1_000, "estimated", 2 * HOUR_US)),
        ({"start_us": NOW_US - 3 * HOUR_US}, (4, 4_000, "annual", None)),
        ({"start_us": NOW_US - 7 * HOUR_US}, (4, 4_000, "annual", None)),
        ({"start_us": NOW_US, "origin": "forecast", "observed_us": NOW_US - 5}, (2, 1_500, "forecast", 5)),
        ({"start_us": NOW_US - WEEK_US}, (3, 3_000, "estimated", WEEK_US)),
        ({"start_us": NOW_US + 1}, (4, 4_000, "annual", None)),
        ({"start_us": NOW_US, "kind": "marginal"}, (4, 4_000, "annual", None)),
        ({"start_us": NOW_US, "zone": "FR"}, (4, 4_000, "annual", None)),
    ],
)
def test_the_best_level_that_is_known_answers(told: dict[str, Any], expected: tuple[int, int, str, int | None]) -> None:
    """Live, last good up to two slots old, forecast, the same hour last week, the year: with origin, width and age."""
    reading = a_chain(a_reading(**told)).read(zone="DE", at_us=NOW_US)

    assert reading is not None
    level, width_bp, origin, age_us = expected
    assert (level, width_bp, origin) == (reading.level, reading.u_grid_bp, reading.origin)
    assert age_us is None or age_us == reading.age_us
    assert reading.start_us <= NOW_US < reading.end_us


def test_bases_have_levels_of_their_own() -> None:
    """A live lifecycle value says nothing of the direct one, which falls back by itself."""
    chain = a_chain(a_reading(start_us=NOW_US))

    lifecycle, direct = (chain.read_in(zone="DE", at_us=NOW_US, basis=basis) for basis in BASES)

    assert lifecycle is not None
    assert direct is not None
    assert [(0, 216_000), (4, 300_000)] == [(one.level, one.mg_per_kwh) for one in (lifecycle, direct)]


def test_the_other_basis_answers_only_where_the_wanted_one_is_unknown_at_every_level() -> None:
    """And it says so: grams of another basis are not the same grams."""
    live = LiveReadings("a test", ["DE"])
    live.put([a_reading(start_us=NOW_US, basis="direct")])

    reading = FeedChain([live]).read(zone="DE", at_us=NOW_US)

    assert reading is not None
    assert "direct" == reading.basis
    assert FeedChain([live]).read_in(zone="DE", at_us=NOW_US, basis="lifecycle") is None


def test_a_recorded_series_stands_behind_live_values_and_before_the_year(tmp_path: Path) -> None:
    """However well its hour fits, nobody saw it now."""
    file = tmp_path / "series.csv"
    rows = f"timestamp_utc,region,carbon_intensity_gco2e_per_kwh\n{'2026-03-06T20:00:00Z'},DE,99\n"
    file.write_text(rows)
    recorded = RecordedFeed(file, provider="file")
    live = LiveReadings("a test", ["DE"])
    chain = FeedChain([AnnualFeed({"DE": 342_000}, 2024, "table"), recorded, live])

    before = chain.read(zone="DE", at_us=NOW_US)
    live.put([a_reading(start_us=NOW_US - HOUR_US)])
    after = chain.read(zone="DE", at_us=NOW_US)

    assert before is not None
    assert after is not None
    assert [(3, "recorded"), (1, "estimated")] == [(one.level, one.origin) for one in (before, after)]


def test_a_forecast_goes_through_what_is_expected_slot_by_slot() -> None:
    """A provider's forecast for its hours, last week's hour after it, then the year; unknown stays unknown."""
    expected = a_reading(start_us=NOW_US + HOUR_US, origin="forecast", observed_us=NOW_US)
    before = a_reading(start_us=NOW_US + 2 * HOUR_US - WEEK_US, mg_per_kwh=100_000)
    chain = a_chain(a_reading(start_us=NOW_US), expected, before)

    hours = chain.forecast(zone="DE", start_us=NOW_US, end_us=NOW_US + 4 * HOUR_US)
    unknown = chain.forecast(zone="FR", start_us=NOW_US + 5, end_us=NOW_US + 2 * HOUR_US)

    assert [4, 2, 3, 4] == [one.reading and one.reading.level for one in hours]
    assert [(NOW_US + 5, NOW_US + HOUR_US, None), (NOW_US + HOUR_US, NOW_US + 2 * HOUR_US, None)] == unknown


def test_the_marginal_signal_is_never_older_than_a_forecast() -> None:
    """It steers by the present; last week's marginal plant says nothing."""
    live = LiveReadings("a test", ["DE"])
    live.put([a_reading(start_us=NOW_US - WEEK_US, kind="marginal", basis="direct")])
    feed = MarginalFeed([live])

    old = feed.read(zone="DE", at_us=NOW_US)
    live.put([a_reading(start_us=NOW_US, kind="marginal", basis="direct")])
    new = feed.read(zone="DE", at_us=NOW_US)

    assert old is None
    assert new is not None
    assert "marginal" == new.kind
    assert FeedChain([live]).read(zone="DE", at_us=NOW_US) is None


slots = st.integers(-200, 30).map(lambda hour: NOW_US + hour * HOUR_US)
readings = st.builds(
    a_reading,
    start_us=slots,
    mg_per_kwh=st.integers(0, 2_000_000),
    basis=st.sampled_from(BASES),
    kind=st.sampled_from(["average", "marginal"]),
    origin=st.sampled_from(["observed", "estimated", "forecast"]),
)


@given(st.lists(readings, max_size=30), st.integers(-HOUR_US, HOUR_US), st.sampled_from(BASES))
def test_whatever_was_told_the_chain_answers_for_the_moment_with_an_average(
    told: list[IntensityReading], offset_us: int, basis: Basis
) -> None:
    """It holds at the time asked for, is of the basis asked for, and carries its level and its width."""
    at_us = NOW_US + offset_us
    reading = a_chain(*told).read_in(zone="DE", at_us=at_us, basis=basis)

    assert reading is not None
    assert reading.start_us <= at_us < reading.end_us
    assert ("average", basis, "DE") == (reading.kind, reading.basis, reading.zone)
    assert reading.level in range(5)
    assert reading.u_grid_bp is not None


@given(st.lists(readings, max_size=20), readings)
def test_one_more_reading_never_makes_the_level_worse(told: list[IntensityReading], more: IntensityReading) -> None:
    """Knowledge does not take knowledge away."""
    levels: list[int] = []
    for known in (told, [*told, more]):
        reading = a_chain(*known).read_in(zone="DE", at_us=NOW_US, basis="lifecycle")
        assert reading is not None
        assert reading.level is not None
        levels.append(reading.level)

    assert levels[1] <= levels[0]


def test_a_restated_value_gets_the_next_revision() -> None:
    """The same again changes nothing; another value, or an estimate that became an observation, is told."""
    live = LiveReadings("a test", ["DE"])
    first, same = a_reading(), a_reading(retrieved_us=NOW_US + 5)
    restated, seen = a_reading(mg_per_kwh=230_000), a_reading(mg_per_kwh=230_000, origin="estimated")

    changes = [[one.revision for one in live.put([told])] for told in (first, same, restated, seen)]

    assert [[0], [], [1], [1]] == changes


def test_what_no_level_needs_is_forgotten() -> None:
    """Eight days are kept: a week back is level 3."""
    live = LiveReadings("a test", ["DE"])
    live.put([a_reading(start_us=NOW_US - 9 * DAY_US), a_reading(start_us=NOW_US - WEEK_US)])
    live.forget(NOW_US)

    assert "<LiveReadings of a test: 1 zones, 1 readings>" == repr(live)
    assert live.read(zone="DE", at_us=NOW_US) is not None
