"""Electricity Maps: what its answers mean, and what is left out of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.feeds.electricity_maps import ElectricityMaps
from greenserve.errors import ConfigInvalid, GridUnavailable
from tests.carbon.grid_server import (
    DAY_US,
    HOUR_US,
    NOW_US,
    Answer,
    GridServer,
    a_clock,
    a_fetcher,
    a_grid_server,
    told,
    us,
)

PLACE = "/v3/carbon-intensity/"
AT = us("2026-03-06T19:00:00Z")


def a_value(**changes: Any) -> dict[str, Any]:
    """The document of the page, and what a test changes in it."""
    return {
        "zone": "DE",
        "carbonIntensity": 216,
        "datetime": "2026-03-06T19:00:00.000Z",
        "updatedAt": "2026-03-06T19:48:27.926Z",
        "isEstimated": False,
        "emissionFactorType": "lifecycle",
        "estimationMethod": None,
    } | changes


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
async def source(server: GridServer) -> AsyncIterator[ElectricityMaps]:
    """The adapter, knowing DE and a cloud region in it."""
    async with a_fetcher(a_clock()) as fetcher:
        codes = {"DE": "DE", "gcp:europe-west3": "DE"}
        yield ElectricityMaps(fetcher=fetcher, clock=a_clock(), key=lambda: "t0ken", codes=codes, url=server.url)


async def test_the_latest_hour_is_read_with_all_that_is_known_of_it(
    source: ElectricityMaps, server: GridServer
) -> None:
    """Zone, basis and the switch that stops the guessing of the zone are sent; the key goes in a header."""
    server.says[PLACE + "latest"] = Answer(a_value(isEstimated=True, estimationMethod="TIME_SLICER_AVERAGE"))

    (reading,) = await source.read(
        zone="gcp:europe-west3", signal="lifecycle", start_us=NOW_US - HOUR_US, end_us=NOW_US
    )

    asked = server.asked[0]
    assert {"zone": ["DE"], "disableCallerLookup": ["true"], "emissionFactorType": ["lifecycle"]} == asked.query
    assert "t0ken" == asked.headers["auth-token"]
    assert ("gcp:europe-west3", AT, AT + HOUR_US) == (reading.zone, reading.start_us, reading.end_us)
    assert (216_000, "lifecycle", "average", "estimated") == (
        reading.mg_per_kwh,
        reading.basis,
        reading.kind,
        reading.origin,
    )
    assert ("consumption", "TIME_SLICER_AVERAGE", AT) == (reading.scope, reading.model, reading.observed_us)
    assert reading.raw_sha256 is not None
    assert 64 == len(reading.raw_sha256)


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        ({}, "observed"),
        ({"isEstimated": None}, "estimated"),
        ({"updatedAt": "2026-03-06T18:48:27.926Z"}, "estimated"),
    ],
)
async def test_only_what_is_said_to_be_measured_is_observed(
    source: ElectricityMaps, server: GridServer, change: dict[str, Any], origin: str
) -> None:
    """A value whose hour lies after `updatedAt` was expected, not seen; one without a flag is taken as estimated."""
    server.says[PLACE + "latest"] = Answer(a_value(**change))

    (reading,) = await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - HOUR_US, end_us=NOW_US)

    assert origin == reading.origin


@pytest.mark.parametrize("value", ["null", "NaN", "-5", "1e9", "1e999999999", "true", '"green"', "[]"])
async def test_a_value_that_is_none_is_left_out(source: ElectricityMaps, server: GridServer, value: str) -> None:
    """Never 0 g: the fallback chain stands in."""
    document = '{"zone": "DE", "carbonIntensity": %s, "datetime": "2026-03-06T19:00:00Z", "isEstimated": false}'
    server.says[PLACE + "latest"] = Answer(document % value)

    assert [] == await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - HOUR_US, end_us=NOW_US)


async def test_zero_is_a_value(source: ElectricityMaps, server: GridServer) -> None:
    """A grid of hydro alone may be reported as 0 g direct: that is not unknown."""
    server.says[PLACE + "latest"] = Answer(a_value(carbonIntensity=0, emissionFactorType="direct"))

    (reading,) = await source.read(zone="DE", signal="direct", start_us=NOW_US - HOUR_US, end_us=NOW_US)

    assert (0, "direct") == (reading.mg_per_kwh, reading.basis)


@pytest.mark.parametrize(
    "document",
    [
        a_value(zone="FR"),
        a_value(emissionFactorType="direct"),
        a_value(datetime="2026-03-06T19:00:00"),
        a_value(datetime=None),
        a_value(temporalGranularity="daily"),
        {"zone": "DE"},
        [],
        "no json",
    ],
)
async def test_another_shape_than_the_documented_one_is_no_reading(
    source: ElectricityMaps, server: GridServer, document: Any
) -> None:
    """Another zone or basis than was asked for, times without offset, missing members: told, not guessed."""
    server.says[PLACE + "latest"] = Answer(document)

    with pytest.raises(GridUnavailable, match="Electricity Maps: latest is not in the documented shape"):
        await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - HOUR_US, end_us=NOW_US)


async def test_a_day_back_is_history_and_further_back_a_range(source: ElectricityMaps, server: GridServer) -> None:
    """Lists have a member of their own, and quarter-hours where the document says so."""
    row = {"carbonIntensity": 200.5, "datetime": "2026-03-06T18:00:00.000Z", "isEstimated": False}
    server.says[PLACE + "latest"] = Answer(a_value())
    server.says[PLACE + "history"] = Answer({"zone": "DE", "history": [row, row | {"carbonIntensity": None}]})
    server.says[PLACE + "past-range"] = Answer({"zone": "DE", "data": [row], "temporalGranularity": "15_minutes"})

    day = await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - DAY_US, end_us=NOW_US)
    paths = server.paths()
    server.asked.clear()
    await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - 2 * HOUR_US - 1_000_000, end_us=NOW_US)
    recent = server.paths()
    (week,) = await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - 7 * DAY_US, end_us=NOW_US)

    assert [(AT - HOUR_US, 200_500), (AT, 216_000)] == [(one.start_us, one.mg_per_kwh) for one in day]
    assert ([PLACE + "history", PLACE + "latest"], [PLACE + "latest"]) == (paths, recent)
    assert 15 * 60_000_000 == week.end_us - week.start_us
    assert ["2026-02-27T20:00:00Z"] == server.asked[-1].query["start"]


async def test_a_forecast_says_when_it_was_made(source: ElectricityMaps, server: GridServer) -> None:
    """Its origin is forecast, whatever else stands in it."""
    rows = [
        {"carbonIntensity": 180, "datetime": "2026-03-06T21:00:00Z"},
        {"carbonIntensity": 170, "datetime": "2026-03-06T22:00:00Z"},
    ]
    server.says[PLACE + "forecast"] = Answer({"zone": "DE", "forecast": rows, "updatedAt": "2026-03-06T19:30:00Z"})

    readings = await source.forecast(zone="DE", signal="lifecycle")

    assert [
        (NOW_US + hour * HOUR_US, mg, "lifecycle", "forecast") for hour, mg in ((1, 180_000), (2, 170_000))
    ] == told(readings)
    assert {us("2026-03-06T19:30:00Z")} == {reading.observed_us for reading in readings}


async def test_without_a_key_nobody_is_asked(server: GridServer) -> None:
    """The message says where the key was looked for."""

    def no_key() -> str:
        raise ConfigInvalid("the environment variable EM is not set")

    async with a_fetcher(a_clock()) as fetcher:
        source = ElectricityMaps(fetcher=fetcher, clock=a_clock(), key=no_key, codes={"DE": "DE"}, url=server.url)

        with pytest.raises(ConfigInvalid, match="EM is not set"):
            await source.read(zone="DE", signal="lifecycle", start_us=NOW_US - HOUR_US, end_us=NOW_US)

    assert [] == server.asked
