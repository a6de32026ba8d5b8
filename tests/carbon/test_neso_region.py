"""NESO's regions: by number or outward postcode, all of it forecast, and never another region's values."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.factors.tables import fuel_codes, fuel_factors
from greenserve.carbon.feeds.build import grid_of
from greenserve.carbon.feeds.neso import DIRECT, MIX, Neso
from greenserve.carbon.feeds.neso_region import REGIONS, Region, region_of
from greenserve.errors import ConfigInvalid, GridUnavailable
from greenserve.grid_sections import Intensity
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
LONDON, READING = f"/regional/intensity/{SPAN}/regionid/13", f"/regional/intensity/{SPAN}/postcode/RG41"
WHEN: dict[str, Any] = {"start_us": NOW_US - HOUR_US, "end_us": NOW_US}


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
async def source(server: GridServer) -> AsyncIterator[Neso]:
    """The adapter, asked for London by number and for a place by its postcode."""
    async with a_fetcher(a_clock()) as fetcher:
        yield Neso(
            fetcher=fetcher,
            clock=a_clock(),
            codes={"neso:13": "13", "office": "rg41"},
            fuels=fuel_codes("neso"),
            factors=fuel_factors(),
            url=server.url,
        )


def a_half_hour(start: str, end: str, forecast: object, **mix: object) -> dict[str, Any]:
    return {
        "from": f"2026-03-06T{start}Z",
        "to": f"2026-03-06T{end}Z",
        "intensity": {"forecast": forecast, "index": "high"},
        "generationmix": [{"fuel": fuel, "perc": perc} for fuel, perc in mix.items()],
    }


def a_region(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {"regionid": 13, "dnoregion": "UKPN London", "shortname": "London", "data": list(rows)}
    return {"data": whole | changes}


async def test_a_region_is_forecast_even_where_it_is_past(source: Neso, server: GridServer) -> None:
    """Nobody meters a region: an `actual` in the answer is not taken for one, a null is left out."""
    odd = a_half_hour("19:30", "20:00", None, gas=100)
    row = a_half_hour("19:00", "19:30", 312, gas=40, wind=40, imports=20)
    row["intensity"]["actual"] = 1
    server.says[LONDON] = Answer(a_region(row, odd))

    readings = await source.read(zone="neso:13", signal=DIRECT, **WHEN)

    assert [(NOW_US - HOUR_US, 312_000, "direct", "forecast")] == told(readings)
    assert {("neso:13", "consumption", NOW_US - HOUR_US)} == {
        (one.zone, one.scope, one.observed_us) for one in readings
    }


async def test_its_mix_gives_a_lifecycle_value_without_its_imports(source: Neso, server: GridServer) -> None:
    """Half gas, half wind of what is generated; it is a forecast too, and of no scope that NESO would name."""
    server.says[LONDON] = Answer(a_region(a_half_hour("19:00", "19:30", 312, gas=40, wind=40, imports=20)))

    (reading,) = await source.read(zone="neso:13", signal=MIX, **WHEN)

    assert (250_500, "lifecycle", "forecast", None) == (
        reading.mg_per_kwh,
        reading.basis,
        reading.origin,
        reading.scope,
    )


async def test_a_place_is_asked_for_by_its_outward_postcode(source: Neso, server: GridServer) -> None:
    """As a list of one, with the postcode repeated, or without it: all of them occur."""
    rows = [a_half_hour("19:00", "19:30", 90, wind=100)]
    answers = [
        {"data": [{"regionid": 12, "postcode": "RG41", "data": rows}]},
        {"data": {"regionid": 12, "data": rows}},
    ]

    for answer in answers:
        server.says[READING] = Answer(answer)
        readings = await source.read(zone="office", signal=DIRECT, **WHEN)
        assert [(NOW_US - HOUR_US, 90_000, "direct", "forecast")] == told(readings)


async def test_the_next_two_days_bring_both_bases_in_one_call(source: Neso, server: GridServer) -> None:
    """No forecast was made after it was asked for."""
    path = "/regional/intensity/2026-03-06T20:00Z/fw48h/regionid/13"
    server.says[path] = Answer(a_region(a_half_hour("20:30", "21:00", 200, gas=100)))

    readings = await source.forecast(zone="neso:13", signal=DIRECT)

    assert [
        (NOW_US + 30 * MINUTE_US, 200_000, "direct", "forecast"),
        (NOW_US + 30 * MINUTE_US, 490_000, "lifecycle", "forecast"),
    ] == told(readings)
    assert {NOW_US} == {one.observed_us for one in readings}
    assert [path] == server.paths()


ROW = a_half_hour("19:00", "19:30", 312, gas=100)
WRONG = {
    "another region": a_region(ROW, regionid=12),
    "true is no number": a_region(ROW, regionid=True),
    "all of them": {"data": [{"regionid": number, "data": [ROW]} for number in (12, 13)]},
    "none": {"data": []},
    "no number": {"data": {"data": [ROW]}},
    "an error": {"error": {"code": "400 Bad Request", "message": "Please enter a valid region ID i.e. 1-17."}},
}


@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
async def test_another_regions_values_are_refused(source: Neso, server: GridServer, document: dict[str, Any]) -> None:
    """Whole, and told: the next level answers."""
    server.says[LONDON] = Answer(document)

    with pytest.raises(GridUnavailable, match="NESO: regional intensity of region 13 is not in the documented shape"):
        await source.read(zone="neso:13", signal=DIRECT, **WHEN)


async def test_another_postcodes_values_are_refused(source: Neso, server: GridServer) -> None:
    """As with numbers."""
    server.says[READING] = Answer({"data": {"regionid": 12, "postcode": "RG4", "data": [ROW]}})

    with pytest.raises(GridUnavailable, match="postcode RG41 was asked for, postcode 'RG4' came"):
        await source.read(zone="office", signal=DIRECT, **WHEN)


@given(st.sampled_from(sorted(REGIONS)) | st.from_regex(r"[A-Z]{1,2}[0-9][A-Z0-9]?", fullmatch=True))
def test_numbers_and_outward_postcodes_are_codes(code: int | str) -> None:
    """Each ends up in its own address."""
    region = region_of(str(code))

    assert region is not None
    assert region.path.endswith(f"/{code}")


@pytest.mark.parametrize("code", ["0", "18", "RG41 5AA", "London", "", "٣", "13/fw48h"])
def test_other_codes_are_refused_with_what_is_allowed(code: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(ConfigInvalid, match=r"a region's number 1 to 17 \(13 is London\).*RG41 of RG41 5AA"):
        region_of(code)


def test_a_zone_can_be_a_region_by_its_name(tmp_path: Any) -> None:
    """`neso:13` needs no code; other providers do not know it."""
    intensity = Intensity.model_validate({"sources": [{"kind": "neso"}, {"kind": "eia", "api_key": "file:none"}]})

    grid = grid_of(intensity, wanted=["neso:13", "GB", "neso:LS1"], store=tmp_path / "grid", clock=a_clock())

    assert frozenset({"neso:13", "GB", "neso:LS1"}) == grid.chain.zones()
    assert None is region_of("gb")
    assert Region(postcode="LS1") == region_of("LS1")
