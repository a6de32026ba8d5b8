"""Back-tested half widths: the quantile, what is held out, and what of it a reading takes."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.feeds.backtest import (
    HOUR_US,
    WEEK_US,
    GridWidth,
    Pair,
    Series,
    backtest,
    error_bp,
    half_width_bp,
)
from greenserve.carbon.feeds.chain import FeedChain
from greenserve.carbon.feeds.levels import ANNUAL, FORECAST, LAST_GOOD, LAST_WEEK
from greenserve.carbon.feeds.live import LiveReadings
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.carbon.feeds.widths import COLUMNS, GridWidths, read_widths, width_rows, widths_of
from greenserve.errors import ConfigInvalid
from tests.carbon.grid_server import NOW_US, a_reading

DATA = Path(__file__).parents[3] / "shared" / "data"
ORIGINAL = "carbon_intensity_us_eia_2022.csv.gz"


def a_width(**changes: Any) -> GridWidth:
    whole: dict[str, Any] = {
        "zone": "DE",
        "basis": "lifecycle",
        "scope": None,
        "level": LAST_WEEK,
        "age_us": WEEK_US,
        "half_width_bp": 4_200,
        "pairs": 8_000,
        "held_out_bp": 8_990,
        "forward_bp": None,
    }
    return GridWidth(**(whole | changes))


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=200))
def test_nine_tenths_of_the_errors_are_within_the_half_width(errors: list[int]) -> None:
    """At least 90 % of n + 1, and no wider than an error that was seen."""
    width = half_width_bp(errors)

    assert width in errors
    assert width == max(errors) or 10 * sum(error <= width for error in errors) >= 9 * (len(errors) + 1)


def test_an_error_is_relative_to_what_stood_in() -> None:
    """Rounded up, since the interval is drawn around that; nothing is relative to zero."""
    assert 3_334 == error_bp(Pair(at_us=0, stood_in=300, was=400))
    assert error_bp(Pair(at_us=0, stood_in=0, was=400)) is None


def test_held_out_months_are_covered_as_promised() -> None:
    """A year of noise around 300 g/kWh: 88-92 % of each left-out month, and of those that came after."""
    random = Random(7)
    seen = {hour * HOUR_US: round(300_000 * (1 + random.gauss(0, 0.1))) for hour in range(8_760)}

    rows = backtest(Series(zone="DE", basis="lifecycle", scope=None, slot_us=HOUR_US, seen=seen))

    levels = {(row.level, row.age_us // HOUR_US) for row in rows}
    assert {(LAST_GOOD, 1), (LAST_GOOD, 2), (LAST_WEEK, 168), (ANNUAL, 0)} <= levels
    assert FORECAST not in {row.level for row in rows}
    assert all(8_800 <= (row.held_out_bp or 0) <= 9_200 for row in rows)
    assert all(8_800 <= (row.forward_bp or 0) <= 9_200 for row in rows)
    (annual,) = (row for row in rows if row.level == ANNUAL)
    assert annual.half_width_bp == pytest.approx(1_645, rel=0.05)


def test_forecasts_are_judged_by_horizon() -> None:
    """What was said a day ahead is not what was said an hour ahead."""
    seen = {hour * HOUR_US: 100_000 for hour in range(400)}
    expected = [(hour * HOUR_US, (hour - 1) * HOUR_US, 110_000) for hour in range(1, 200)]
    expected += [(hour * HOUR_US, (hour - 20) * HOUR_US, 200_000) for hour in range(200, 400)]

    rows = backtest(Series(zone="GB", basis="direct", scope=None, slot_us=HOUR_US // 2, seen=seen, expected=expected))

    assert [(1, 910), (24, 5_000)] == [
        (row.age_us // HOUR_US, row.half_width_bp) for row in rows if row.level == FORECAST
    ]


def test_too_short_a_series_gives_nothing() -> None:
    """A guess would be worse than the default."""
    seen = {hour * HOUR_US: 100_000 for hour in range(90)}

    assert [] == backtest(Series(zone="DE", basis="direct", scope=None, slot_us=HOUR_US, seen=seen))


def test_a_reading_takes_its_zones_half_width() -> None:
    """Same zone, basis, level and scope, at most as old; an older one the wider of the widest row and the default."""
    widths = GridWidths([a_width(), a_width(scope="production", zone="PL"), a_width(age_us=4 * WEEK_US, zone="SE")])
    week_old: dict[str, Any] = {
        "level": LAST_WEEK,
        "u_grid_bp": 3_000,
        "observed_us": NOW_US - WEEK_US,
        "start_us": NOW_US,
    }

    def width_of(**changes: Any) -> int | None:
        return widths.applied(a_reading(**(week_old | changes))).u_grid_bp

    assert 4_200 == width_of() == width_of(zone="SE") == width_of(zone="PL", scope="production")
    assert 4_200 == width_of(observed_us=NOW_US - 9 * WEEK_US)
    assert 5_000 == width_of(observed_us=NOW_US - 9 * WEEK_US, u_grid_bp=5_000)
    others: tuple[dict[str, Any], ...] = (
        {"zone": "FR"},
        {"basis": "direct"},
        {"level": ANNUAL},
        {"zone": "PL", "scope": "consumption"},
        {"observed_us": NOW_US},
        {"observed_us": None},
    )
    assert {3_000} == {width_of(**other) for other in others}


def test_the_chain_answers_with_it() -> None:
    """So it stands on every entry that the reading prices, and in the statement's interval."""
    live = LiveReadings("a test", ["DE"])
    live.put([a_reading(start_us=NOW_US - WEEK_US)])
    chain = FeedChain([live], widths=GridWidths([a_width()]))

    reading = chain.read(zone="DE", at_us=NOW_US)
    (expected,) = chain.forecast(zone="DE", start_us=NOW_US, end_us=NOW_US + HOUR_US)

    assert reading is not None
    assert expected.reading is not None
    assert (LAST_WEEK, 4_200, 4_200) == (reading.level, reading.u_grid_bp, expected.reading.u_grid_bp)


def test_a_file_of_them_is_read_back(tmp_path: Path) -> None:
    """And replaces the shipped rows of its zones alone."""
    file = tmp_path / "widths.csv"
    own = a_width(zone="US-CAL-CISO", scope="production")
    file.write_text("\n".join(",".join(row) for row in width_rows([own], "mine")) + "\n")
    old = a_reading(zone="US-CAL-CISO", level=LAST_WEEK, u_grid_bp=3_000, start_us=NOW_US, observed_us=NOW_US - WEEK_US)

    assert [own] == read_widths(file)
    assert 4_200 == widths_of(file).applied(old).u_grid_bp
    assert widths_of(None).applied(old).u_grid_bp not in (3_000, 4_200)


@pytest.mark.parametrize(
    "row", ["DE,lifecycle,,9,168,30,5,,,x", "DE,lifecycle,,3,168,NaN,5,,,x", ",direct,,3,1,3,5,,,x"]
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str) -> None:
    """File, line, and what is allowed."""
    file = tmp_path / "widths.csv"
    file.write_text(f"{','.join(COLUMNS)}\n{row}\n")

    with pytest.raises(ConfigInvalid, match=r"line 2: .* is no row"):
        read_widths(file)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / ORIGINAL).exists(), reason=f"needs {ORIGINAL} in ../shared/data")
def test_the_shipped_rows_are_those_of_the_recorded_year() -> None:
    """Re-derived from the series, one zone of it: the table is no claim."""
    zone = "US-NY-NYIS"
    series = RecordedFeed(DATA / ORIGINAL, provider="EIA").series(zone)
    rows = backtest(Series(zone=zone, basis="lifecycle", scope="production", slot_us=HOUR_US, seen=series))

    own = widths_of(None)
    for row in rows:
        if row.level == LAST_WEEK:
            old = a_reading(zone=zone, level=row.level, u_grid_bp=1, start_us=NOW_US, observed_us=NOW_US - row.age_us)
            assert row.half_width_bp == own.applied(old).u_grid_bp
