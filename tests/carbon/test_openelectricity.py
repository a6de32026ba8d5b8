"""OpenElectricity: grams from energy and emissions, where both are known."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.feeds.openelectricity import DIRECT, OpenElectricity
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

PATH = "/v4/data/network/NEM"
ASK: dict[str, Any] = {"zone": "AU-NSW", "signal": DIRECT, "start_us": NOW_US - HOUR_US, "end_us": NOW_US}
FIRST = NOW_US - HOUR_US
SLOTS = ["2026-03-07T05:00:00+10:00", "2026-03-07T05:05:00+10:00", "2026-03-07T05:10:00+10:00"]


def a_metric(metric: str, unit: str, *values: Any, region: str = "NSW1") -> dict[str, Any]:
    data = [[at, value] for at, value in zip(SLOTS, values, strict=False)]
    return {"metric": metric, "unit": unit, "results": [{"columns": {"network_region": region}, "data": data}]}


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
async def source(server: GridServer) -> AsyncIterator[OpenElectricity]:
    """The adapter."""
    async with a_fetcher(a_clock()) as fetcher:
        yield OpenElectricity(fetcher=fetcher, key=lambda: "k3y", codes={"AU-NSW": "NSW1"}, url=server.url)


async def test_tonnes_over_megawatt_hours_in_the_markets_time(source: OpenElectricity, server: GridServer) -> None:
    """12.3 t over 20 MWh are 615 g/kWh; other regions of the answer are not ours."""
    data = [
        a_metric("energy", "MWh", 20, 40),
        a_metric("emissions", "t", 12.3, 12.3),
        a_metric("emissions", "t", 900, region="VIC1"),
    ]
    server.says[PATH] = Answer({"success": True, "data": data})

    readings = await source.read(**ASK)

    assert [
        (FIRST, 615_000, "direct", "observed"),
        (FIRST + 5 * MINUTE_US, 307_500, "direct", "observed"),
    ] == told(readings)
    asked = server.asked[0]
    assert (["energy", "emissions"], ["2026-03-07T05:00:00"]) == (asked.query["metrics"], asked.query["date_start"])
    assert "Bearer k3y" == asked.headers["authorization"]


@pytest.mark.parametrize(
    ("energy", "emissions"), [(None, 5), (20, None), (0, 5), (-3, 5), (20, -1), (20, 1e9), ("x", 5)]
)
async def test_a_point_that_is_not_known_on_both_sides_is_left_out(
    source: OpenElectricity, server: GridServer, energy: object, emissions: object
) -> None:
    """Null, no energy, or nonsense: never 0 g, never a division by zero."""
    data = [a_metric("energy", "MWh", energy, 10), a_metric("emissions", "t", emissions, 5)]
    server.says[PATH] = Answer({"success": True, "data": data})

    assert [(FIRST + 5 * MINUTE_US, 500_000, "direct", "observed")] == told(await source.read(**ASK))


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"success": False, "error": "quota"}, "success is False: 'quota'"),
        ({"success": True, "data": [a_metric("energy", "GWh", 1)]}, "'GWh', not MWh"),
        ({"success": True}, "KeyError"),
    ],
)
async def test_another_shape_is_no_reading(
    source: OpenElectricity, server: GridServer, document: dict[str, Any], word: str
) -> None:
    """A failure with status 200, other units, no data."""
    server.says[PATH] = Answer(document)

    with pytest.raises(GridUnavailable, match=word):
        await source.read(**ASK)
