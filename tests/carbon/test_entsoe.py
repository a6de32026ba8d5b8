"""ENTSO-E: positions that are left out, series that flow the other way, and "no data" that looks like success."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.factors.tables import fuel_codes, fuel_factors
from greenserve.carbon.feeds.entsoe import MIX, EntsoE, slots_of
from greenserve.carbon.feeds.fetcher import Fetched
from greenserve.errors import GridUnavailable
from tests.carbon.grid_server import HOUR_US, MINUTE_US, NOW_US, Answer, GridServer, a_clock, a_fetcher, a_grid_server

ASK: dict[str, Any] = {"zone": "FI", "signal": MIX, "start_us": NOW_US - HOUR_US, "end_us": NOW_US}
QUARTERS = [NOW_US - HOUR_US + place * 15 * MINUTE_US for place in range(4)]
DOCUMENT = '<?xml version="1.0"?><GL_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-6:x">{}</GL_MarketDocument>'
ACKNOWLEDGEMENT = (
    '<Acknowledgement_MarketDocument xmlns="urn:x"><Reason><code>{}</code><text>{}</text></Reason>'
    "</Acknowledgement_MarketDocument>"
)


def a_series(
    fuel: str,
    points: dict[int, object],
    *,
    curve: str = "A03",
    unit: str = "MAW",
    resolution: str = "PT15M",
    out: bool = False,
    hours: int = 1,
) -> str:
    """A TimeSeries from 19:00 on."""
    domain = "outBiddingZone_Domain.mRID" if out else "inBiddingZone_Domain.mRID"
    told = "".join(
        f"<Point><position>{place}</position><quantity>{value}</quantity></Point>" for place, value in points.items()
    )
    return (
        f"<TimeSeries><{domain}>10YFI-1--------U</{domain}><quantity_Measure_Unit.name>{unit}"
        f"</quantity_Measure_Unit.name><curveType>{curve}</curveType><MktPSRType><psrType>{fuel}</psrType></MktPSRType>"
        f"<Period><timeInterval><start>2026-03-06T19:00Z</start><end>2026-03-06T{19 + hours}:00Z</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{told}</Period></TimeSeries>"
    )


def power(*series: str) -> list[dict[str, int | None]]:
    """Power by fuel code, slot by slot."""
    body = DOCUMENT.format("".join(series)).encode()
    slots = slots_of(Fetched(body=body, sha256="", retrieved_us=0))
    return [
        {code: None if value is None else int(value) for code, value in slots[slot].items()} for slot in sorted(slots)
    ]


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
async def source(server: GridServer) -> AsyncIterator[EntsoE]:
    """The adapter."""
    async with a_fetcher(a_clock()) as fetcher:
        yield EntsoE(
            fetcher=fetcher,
            key=lambda: "k3y",
            codes={"FI": "10YFI-1--------U"},
            fuels=fuel_codes("entso-e"),
            factors=fuel_factors(),
            url=server.url,
        )


def test_a_position_that_is_left_out_repeats_the_one_before() -> None:
    """Curve type A03: 820 holds for positions 1 to 3."""
    assert [{"B01": 820}, {"B01": 820}, {"B01": 820}, {"B01": 790}] == power(a_series("B01", {1: 820, 4: 790}))


def test_in_any_other_curve_it_is_missing() -> None:
    """A01 tells every position; what is not there was not told."""
    assert [{"B01": 820}, {"B01": 790}] == power(a_series("B01", {1: 820, 4: 790}, curve="A01"))


def test_a_value_that_is_no_number_is_open_and_repeats_as_open() -> None:
    """Never zero."""
    assert [{"B01": None}, {"B01": None}, {"B01": 5}, {"B01": 5}] == power(a_series("B01", {1: "n/e", 3: 5}))


def test_series_that_flow_out_are_pumping() -> None:
    """Their code is the same as that of generation; they are left out."""
    assert [{"B10": 30}] * 4 == power(a_series("B10", {1: 30}), a_series("B10", {1: 500}, out=True))


def test_hours_and_quarters_share_the_finer_slots() -> None:
    """Mean power of an hour holds in each of its quarters; two series of one type add up."""
    assert [{"B04": 400, "B14": 900}] * 2 + [{"B04": 300, "B14": 900}] * 2 == power(
        a_series("B14", {1: 900}, resolution="PT60M"), a_series("B04", {1: 300, 3: 200}), a_series("B04", {1: 100})
    )


async def test_a_document_becomes_readings_in_both_bases(source: EntsoE, server: GridServer) -> None:
    """Gas and nuclear, by quarter-hours; the question names zone, document and process."""
    server.says["/api"] = Answer(DOCUMENT.format(a_series("B04", {1: 500, 3: 250}) + a_series("B14", {1: 500, 3: 750})))

    readings = await source.read(**ASK)

    lifecycle = [(one.start_us, one.mg_per_kwh) for one in readings if one.basis == "lifecycle"]
    assert list(zip(QUARTERS, [251_000, 251_000, 131_500, 131_500], strict=True)) == lifecycle
    assert [185_000, 185_000, 92_500, 92_500] == [one.mg_per_kwh for one in readings if one.basis == "direct"]
    asked = server.asked[0].query
    assert (["A75"], ["A16"], ["10YFI-1--------U"]) == (asked["documentType"], asked["processType"], asked["in_Domain"])
    assert (["202603061900"], ["202603062100"]) == (asked["periodStart"], asked["periodEnd"])


async def test_quarters_that_lack_a_large_type_are_unknown(source: EntsoE, server: GridServer) -> None:
    """Gas is published for the first half of the hour alone: the second half has no reading."""
    gas = a_series("B04", {1: 500, 2: 500}, curve="A01")
    server.says["/api"] = Answer(DOCUMENT.format(gas + a_series("B14", {1: 500})))

    readings = await source.read(**ASK)

    assert set(QUARTERS[:2]) == {one.start_us for one in readings}


@pytest.mark.parametrize("status", [200, 400])
async def test_no_data_is_an_empty_answer_whatever_its_status(source: EntsoE, server: GridServer, status: int) -> None:
    """An Acknowledgement with reason 999 is no failure: later there may be data."""
    server.says["/api"] = Answer(ACKNOWLEDGEMENT.format(999, "No matching data found"), status=status)

    assert [] == await source.read(**ASK)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (ACKNOWLEDGEMENT.format("A01", "too many instances"), "reason A01: too many instances"),
        (DOCUMENT.format(a_series("B04", {1: 1}, unit="MWH")), "'MWH', not MAW"),
        (DOCUMENT.format(a_series("B04", {1: 1}, resolution="P1Y")), "no duration"),
        (DOCUMENT.format("<TimeSeries/>"), "TimeSeries has no quantity_Measure_Unit.name"),
        ("<html>maintenance</html>", "a document 'html'"),
        ("<GL_MarketDocument>", "no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><GL_MarketDocument/>', "has a DOCTYPE"),
    ],
)
async def test_what_cannot_be_understood_is_told(source: EntsoE, server: GridServer, body: str, word: str) -> None:
    """Another refusal, other units, other documents, no XML, and XML that wants to grow."""
    server.says["/api"] = Answer(body)

    with pytest.raises(GridUnavailable, match=word):
        await source.read(**ASK)
