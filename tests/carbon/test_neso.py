"""NESO, all of Great Britain: direct intensity with its own forecast for what is open, lifecycle from the fuel mix."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.factors.tables import fuel_codes, fuel_factors
from greenserve.carbon.feeds.neso import DIRECT, MIX, Neso
from greenserve.errors import GridUnavailable
from tests.carbon.grid_server import (
    HOUR_US,
    MINUTE_US,
    NOW_US,
    Answer,
    GridServer,
    a_clock,
    a_fetcher,
    a_grid_server,
    told,
)

SPAN = "2026-03-06T19:00Z/2026-03-06T20:00Z"
ASK: dict[str, Any] = {"zone": "GB", "start_us": NOW_US - HOUR_US, "end_us": NOW_US}


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
async def source(server: GridServer) -> AsyncIterator[Neso]:
    """The adapter."""
    async with a_fetcher(a_clock()) as fetcher:
        yield Neso(
            fetcher=fetcher,
            clock=a_clock(),
            codes={"GB": "GB"},
            fuels=fuel_codes("neso"),
            factors=fuel_factors(),
            url=server.url,
        )


def a_half_hour(start: str, end: str, forecast: object, actual: object) -> dict[str, Any]:
    return {
        "from": f"2026-03-06T{start}Z",
        "to": f"2026-03-06T{end}Z",
        "intensity": {"forecast": forecast, "actual": actual, "index": "moderate"},
    }


async def test_an_open_half_hour_is_told_as_a_forecast(source: Neso, server: GridServer) -> None:
    """`actual` is null until the half-hour is over; neither value: nothing is told."""
    rows = [
        a_half_hour("19:00", "19:30", 266, 263),
        a_half_hour("19:30", "20:00", 258, None),
        a_half_hour("20:00", "20:30", None, None),
    ]
    server.says[f"/intensity/{SPAN}"] = Answer({"data": rows})

    readings = await source.read(signal=DIRECT, **ASK)

    assert [
        (NOW_US - HOUR_US, 263_000, "direct", "observed"),
        (NOW_US - 30 * MINUTE_US, 258_000, "direct", "forecast"),
    ] == told(readings)
    assert {"consumption"} == {one.scope for one in readings}


async def test_the_next_two_days_are_forecast(source: Neso, server: GridServer) -> None:
    """No forecast was made after it was asked for; an actual value in it is not taken for one."""
    rows = [a_half_hour("20:00", "20:30", 250, 999), a_half_hour("20:30", "21:00", 240, None)]
    server.says["/intensity/2026-03-06T20:00Z/fw48h"] = Answer({"data": rows})

    readings = await source.forecast(zone="GB", signal=DIRECT)

    assert [250_000, 240_000] == [one.mg_per_kwh for one in readings]
    assert {("forecast", NOW_US)} == {(one.origin, one.observed_us) for one in readings}
    assert [] == await source.forecast(zone="GB", signal=MIX)


async def test_the_mix_gives_a_lifecycle_value_of_production(source: Neso, server: GridServer) -> None:
    """Half gas, half wind of what is produced here; imports are not, and a fuel nobody knows is unknown."""
    parts = [{"fuel": "gas", "perc": 40}, {"fuel": "wind", "perc": 40.0}, {"fuel": "imports", "perc": 20}]
    parts.append({"fuel": "fusion", "perc": 0})
    strange = [{"fuel": "gas", "perc": 80}, {"fuel": "fusion", "perc": 20}]
    server.says[f"/generation/{SPAN}"] = Answer(
        {
            "data": [
                {"from": "2026-03-06T19:00Z", "to": "2026-03-06T19:30Z", "generationmix": parts},
                {"from": "2026-03-06T19:30Z", "to": "2026-03-06T20:00Z", "generationmix": strange},
            ]
        }
    )

    (reading,) = await source.read(signal=MIX, **ASK)

    assert (NOW_US - HOUR_US, 250_500, "lifecycle", "production") == (
        reading.start_us,
        reading.mg_per_kwh,
        reading.basis,
        reading.scope,
    )
    assert fuel_factors().name == reading.model


@pytest.mark.parametrize("document", [{}, {"data": [{}]}, {"data": [{"intensity": 5}]}, {"error": {"code": "400"}}])
async def test_another_shape_is_no_reading(source: Neso, server: GridServer, document: dict[str, Any]) -> None:
    """Told, not guessed."""
    server.says[f"/intensity/{SPAN}"] = Answer(document)

    with pytest.raises(GridUnavailable, match="NESO: intensity is not in the documented shape"):
        await source.read(signal=DIRECT, **ASK)
