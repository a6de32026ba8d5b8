"""US EIA: generation by fuel, with all that comes in place of a number."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.factors.tables import fuel_codes, fuel_factors
from greenserve.carbon.feeds.eia import MIX, Eia
from greenserve.errors import GridUnavailable
from tests.carbon.grid_server import HOUR_US, NOW_US, Answer, GridServer, a_clock, a_fetcher, a_grid_server, told

PATH = "/v2/electricity/rto/fuel-type-data/data/"
ASK: dict[str, Any] = {"zone": "US-CAL-CISO", "signal": MIX, "start_us": NOW_US - 3 * HOUR_US, "end_us": NOW_US}


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
async def source(server: GridServer) -> AsyncIterator[Eia]:
    """The adapter."""
    async with a_fetcher(a_clock()) as fetcher:
        yield Eia(
            fetcher=fetcher,
            key=lambda: "k3y",
            codes={"US-CAL-CISO": "CISO"},
            fuels=fuel_codes("eia"),
            factors=fuel_factors(),
            url=server.url,
        )


def a_row(hour: int, fuel: str, value: object, **changes: Any) -> dict[str, Any]:
    row = {"period": f"2026-03-06T{hour:02}", "respondent": "CISO", "fueltype": fuel, "value": value}
    return row | {"value-units": "megawatthours"} | changes


def a_document(*rows: dict[str, Any], total: object = None) -> Answer:
    return Answer({"response": {"total": len(rows) if total is None else total, "data": list(rows)}})


async def test_an_hour_is_priced_in_both_bases(source: Eia, server: GridServer) -> None:
    """A period is named by its end; values come as numbers or as words; own use (negative) counts as none."""
    server.says[PATH] = a_document(
        a_row(18, "NG", 300), a_row(18, "WND", "700"), a_row(18, "SUN", -5), a_row(18, "BAT", 400), total="4"
    )

    readings = await source.read(**ASK)

    start_us = NOW_US - 3 * HOUR_US  # 17:00 to 18:00
    assert [(start_us, 154_700, "lifecycle", "observed"), (start_us, 111_000, "direct", "observed")] == told(readings)
    assert {("production", start_us + HOUR_US)} == {(one.scope, one.end_us) for one in readings}
    asked = server.asked[0].query
    assert (["k3y"], ["CISO"], ["2026-03-06T17"]) == (asked["api_key"], asked["facets[respondent][]"], asked["start"])


async def test_a_new_fuel_code_is_unknown(source: Eia, server: GridServer) -> None:
    """A little of it does not matter; a lot of it makes the hour unknown, never clean."""
    server.says[PATH] = a_document(a_row(17, "NG", 95), a_row(17, "XYZ", 5), a_row(18, "NG", 60), a_row(18, "XYZ", 40))

    readings = await source.read(**ASK)

    assert [490_000, 370_000] == [one.mg_per_kwh for one in readings]
    assert {NOW_US - 4 * HOUR_US} == {one.start_us for one in readings}


@pytest.mark.parametrize("missing", [[], [a_row(18, "NG", None)], [a_row(18, "NG", "n/a")]])
async def test_an_hour_that_lacks_a_large_fuel_is_unknown(
    source: Eia, server: GridServer, missing: list[dict[str, Any]]
) -> None:
    """Gas that is not published yet, or null, would leave an hour of wind alone: a clean one that never was."""
    server.says[PATH] = a_document(
        a_row(16, "NG", 600),
        a_row(16, "WND", 400),
        a_row(17, "NG", 600),
        a_row(17, "WND", 400),
        a_row(18, "WND", 400),
        *missing,
    )

    readings = await source.read(**ASK)

    assert {NOW_US - 5 * HOUR_US, NOW_US - 4 * HOUR_US} == {one.start_us for one in readings}


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (a_document(a_row(18, "NG", 1, **{"value-units": "gigawatthours"})), "gigawatthours"),
        (a_document(a_row(18, "NG", 1, respondent="ERCO")), "asked for CISO"),
        (a_document(a_row(18, "NG", 1), total=6000), "6000 rows"),
        (a_document(a_row(18, "NG", 1, period="yesterday")), "ValueError"),
        (Answer({"error": "invalid facet", "code": 400}), "KeyError"),
    ],
)
async def test_what_does_not_fit_the_question_is_no_reading(
    source: Eia, server: GridServer, document: Answer, word: str
) -> None:
    """Other units, another respondent, a cut list, an error with status 200."""
    server.says[PATH] = document

    with pytest.raises(GridUnavailable, match=word):
        await source.read(**ASK)


async def test_there_is_no_forecast(source: Eia, server: GridServer) -> None:
    """Nobody is asked for one."""
    assert [] == await source.forecast(zone="US-CAL-CISO", signal=MIX)
    assert [] == server.asked
