"""Annual intensity: a last known figure that says how old it is."""

from datetime import UTC, datetime

import pytest

from greenserve.carbon.feeds.annual import AnnualFeed
from greenserve.errors import ConfigInvalid
from greenserve.records import IntensityReading


def year_us(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def test_a_value_holds_for_the_whole_calendar_year() -> None:
    """Slot = the year asked for; provider = source and the year that the figure is from."""
    feed = AnnualFeed({"SE": 21_000}, 2024, "table")

    assert IntensityReading(
        zone="SE",
        start_us=year_us(2026),
        end_us=year_us(2027),
        mg_per_kwh=21_000,
        basis="lifecycle",
        kind="average",
        origin="annual",
        provider="table 2024",
        retrieved_us=year_us(2025),
        observed_us=year_us(2024),
    ) == feed.read(zone="SE", at_us=year_us(2027) - 1)


def test_a_zone_without_a_value_is_unknown() -> None:
    """None, not zero and not a world mean."""
    assert AnnualFeed({"SE": 21_000}, 2024, "table").read(zone="PL", at_us=0) is None


@pytest.mark.parametrize("values", [{}, {"SE": -1}, {"SE": 2_000_001}])
def test_impossible_values_are_refused(values: dict[str, int]) -> None:
    """The message names zone, value and what is allowed."""
    with pytest.raises(ConfigInvalid, match=r"0\.\.2000000 mg/kWh"):
        AnnualFeed(values, 2024, "table")
