"""WattTime: a marginal signal in pounds per megawatt-hour behind a login."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.feeds.watttime import AVERAGE, MARGINAL, TOKEN_US, WattTime
from greenserve.clock import ManualClock
from greenserve.errors import GridUnavailable
from tests.carbon.grid_server import (
    HOUR_US,
    MINUTE_US,
    NOW_US,
    Answer,
    Asked,
    GridServer,
    a_clock,
    a_fetcher,
    a_grid_server,
)

START = "2026-03-06T19:55:00+00:00"


def a_document(signal: str = MARGINAL, *values: Any, **meta: Any) -> dict[str, Any]:
    """The document of the page with these values, five minutes apart."""
    return {
        "data": [
            {"point_time": f"2026-03-06T19:{55 + 5 * place:02}:00+00:00", "value": value, "version": "2026-03-01"}
            for place, value in enumerate(values)
        ],
        "meta": {
            "region": "CAISO_NORTH",
            "signal_type": signal,
            "units": "lbs_co2_per_mwh",
            "data_point_period_seconds": 300,
            "model": {"date": "2026-03-01"},
        }
        | meta,
    }


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider: whoever logs in as ada gets a token that is numbered."""
    async with a_grid_server() as running:

        def login(asked: Asked) -> Answer:
            known = f"Basic {b64encode(b'ada:pa55').decode()}" == asked.headers["authorization"]
            token = f"token-{running.paths().count('/login')}"
            return Answer({"token": token}) if known else Answer("who?", status=401)

        running.says["/login"] = login
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


@pytest.fixture
async def source(server: GridServer, clock: ManualClock) -> AsyncIterator[WattTime]:
    """The adapter: one zone by its region, one by its place."""
    async with a_fetcher(clock) as fetcher:
        yield WattTime(
            fetcher=fetcher,
            clock=clock,
            login=lambda: ("ada", "pa55"),
            codes={"US-CAL-CISO": "CAISO_NORTH"},
            places={"HERE": (37.8, -122.4)},
            url=server.url,
        )


async def test_pounds_per_mwh_become_milligrams_per_kwh(source: WattTime, server: GridServer) -> None:
    """412.5 lb/MWh are 187,107 mg/kWh; the signal is marginal, made by a model that is named."""
    server.says["/v3/historical"] = Answer(a_document(MARGINAL, 412.5))

    (reading,) = await source.read(zone="US-CAL-CISO", signal=MARGINAL, start_us=NOW_US - HOUR_US, end_us=NOW_US)

    assert (187_107, "marginal", "direct", "estimated", "co2_moer 2026-03-01") == (
        reading.mg_per_kwh,
        reading.kind,
        reading.basis,
        reading.origin,
        reading.model,
    )
    assert (NOW_US - 5 * MINUTE_US, NOW_US) == (reading.start_us, reading.end_us)
    assert "Bearer token-1" == server.asked[-1].headers["authorization"]
    assert ["CAISO_NORTH"] == server.asked[-1].query["region"]


async def test_the_average_signal_is_an_average_without_a_forecast(source: WattTime, server: GridServer) -> None:
    """co2_aoer is historical only: nobody is asked for its future."""
    server.says["/v3/historical"] = Answer(a_document(AVERAGE, 500))

    (reading,) = await source.read(zone="US-CAL-CISO", signal=AVERAGE, start_us=NOW_US - HOUR_US, end_us=NOW_US)

    assert "average" == reading.kind
    assert [] == await source.forecast(zone="US-CAL-CISO", signal=AVERAGE)
    assert "/v3/forecast" not in server.paths()


async def test_a_token_is_kept_for_25_minutes_and_asked_anew_after_a_refusal(
    source: WattTime, server: GridServer, clock: ManualClock
) -> None:
    """It lives for 30; one that was ended early costs one failed call."""
    server.says["/v3/historical"] = Answer(a_document(MARGINAL, 1))

    async def ask() -> None:
        await source.read(zone="US-CAL-CISO", signal=MARGINAL, start_us=NOW_US - HOUR_US, end_us=NOW_US)

    await ask()
    await ask()
    logins = [server.paths().count("/login")]
    clock.advance(duration_ns=TOKEN_US * 1_000)
    await ask()
    logins.append(server.paths().count("/login"))
    server.says["/v3/historical"] = Answer("expired", status=401)
    with pytest.raises(GridUnavailable, match="check the key"):
        await ask()
    server.says["/v3/historical"] = Answer(a_document(MARGINAL, 1))
    await ask()
    logins.append(server.paths().count("/login"))

    assert [1, 2, 3] == logins


async def test_a_place_is_looked_up_once(source: WattTime, server: GridServer) -> None:
    """Latitude and longitude lead to a region, which is then kept."""
    server.says["/v3/region-from-loc"] = Answer({"region": "CAISO_NORTH", "signal_type": MARGINAL})
    server.says["/v3/forecast"] = Answer(a_document(MARGINAL, 300, None, generated_at="2026-03-06T19:50:00+00:00"))

    readings = [await source.forecast(zone="HERE", signal=MARGINAL) for _ in range(2)]

    assert 1 == server.paths().count("/v3/region-from-loc")
    assert [["forecast"], ["forecast"]] == [[one.origin for one in told] for told in readings]
    assert NOW_US - 10 * MINUTE_US == readings[0][0].observed_us


@pytest.mark.parametrize(
    "meta", [{"units": "g_co2_per_kwh"}, {"signal_type": "health_damage"}, {"data_point_period_seconds": None}]
)
async def test_other_units_are_no_reading(source: WattTime, server: GridServer, meta: dict[str, Any]) -> None:
    """A value in another unit is not converted by guessing."""
    server.says["/v3/historical"] = Answer(a_document(MARGINAL, 412.5, **meta))

    with pytest.raises(GridUnavailable, match="documented shape"):
        await source.read(zone="US-CAL-CISO", signal=MARGINAL, start_us=NOW_US - HOUR_US, end_us=NOW_US)


async def test_a_wrong_password_is_told(server: GridServer, clock: ManualClock) -> None:
    """The login's refusal says to check it."""
    async with a_fetcher(clock) as fetcher:
        source = WattTime(fetcher=fetcher, clock=clock, login=lambda: ("ada", "no"), codes={"X": "X"}, url=server.url)

        with pytest.raises(GridUnavailable, match="/login answered 401; its key is not accepted"):
            await source.read(zone="X", signal=MARGINAL, start_us=NOW_US - HOUR_US, end_us=NOW_US)
