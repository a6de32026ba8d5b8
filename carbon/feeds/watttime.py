"""WattTime v3: the marginal intensity of a grid region, which may steer and never accounts; and its average."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial

from greenserve.carbon.feeds.fetcher import Fetched, Fetcher
from greenserve.carbon.feeds.parsing import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    at_utc,
    documented_shape,
    intensity,
    json_object,
    moment_us,
    parsed,
)
from greenserve.errors import GridUnavailable
from greenserve.ports import Clock, SourceFacts
from greenserve.records import IntensityReading, Kind

PROVIDER = "WattTime"
URL = "https://api.watttime.org"
MARGINAL, AVERAGE = "co2_moer", "co2_aoer"
UNITS = "lbs_co2_per_mwh"
MG_PER_KWH_PER_LB_PER_MWH = Fraction("453.59237")
TOKEN_US = 25 * MINUTE_US
"""A token lives 30 minutes."""
DENIED = frozenset({401, 403})


class WattTime:
    """Logs in with name and password and asks `/v3/historical` and `/v3/forecast`.

    `codes` are the provider's regions by our zones; a zone in `places` (latitude, longitude) is looked up once.
    Marginal values are stamped so; the average is historical only. Both are what leaves the stack: direct.
    """

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        clock: Clock,
        login: Callable[[], tuple[str, str]],
        codes: Mapping[str, str],
        places: Mapping[str, tuple[float, float]] | None = None,
        url: str = URL,
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._login = login
        self._codes = dict(codes)
        self._places = dict(places or {})
        self._url = url
        self._token: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return f"<WattTime {self._url}: {len(self.zones())} zones>"

    def about(self) -> SourceFacts:
        """Two signals; the marginal one has a forecast."""
        return SourceFacts(
            provider=PROVIDER,
            signals=(MARGINAL, AVERAGE),
            forecasts=(MARGINAL,),
            slot_us=5 * MINUTE_US,
            recent_us=2 * HOUR_US,
            history_us=30 * DAY_US,
        )

    def zones(self) -> frozenset[str]:
        """Those with a region or a place."""
        return frozenset(self._codes) | frozenset(self._places)

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """The five-minute values of that time."""
        span = {"start": f"{at_utc(start_us):%Y-%m-%dT%H:%MZ}", "end": f"{at_utc(end_us):%Y-%m-%dT%H:%MZ}"}
        return await self._values("historical", zone, signal, span)

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """The next 24 hours of the marginal signal; empty for the average."""
        if signal != MARGINAL:
            return []
        return await self._values("forecast", zone, signal, {"horizon_hours": "24"})

    async def _values(self, path: str, zone: str, signal: str, span: Mapping[str, str]) -> list[IntensityReading]:
        region = await self._region(zone, signal)
        fetched = await self._asked(f"v3/{path}", {"region": region, "signal_type": signal, **span})
        parse = partial(_readings, fetched, zone, signal, forecast=path == "forecast")
        return await parsed(parse, provider=PROVIDER, what=path)

    async def _region(self, zone: str, signal: str) -> str:
        if zone not in self._codes:
            latitude, longitude = self._places[zone]
            found = await self._asked(
                "v3/region-from-loc", {"latitude": f"{latitude}", "longitude": f"{longitude}", "signal_type": signal}
            )
            with documented_shape(PROVIDER, "region-from-loc"):
                self._codes[zone] = str(json_object(found.body)["region"])
        return self._codes[zone]

    async def _asked(self, path: str, params: Mapping[str, str]) -> Fetched:
        token = self._token
        if token is None or not 0 <= self._clock.unix_us() - token[1] < TOKEN_US:
            token = await self._fresh_token()
        try:
            return await self._fetcher.get(
                f"{self._url}/{path}",
                provider=PROVIDER,
                params=params,
                headers={"authorization": f"Bearer {token[0]}"},
            )
        except GridUnavailable:
            self._token = None  # a token that was ended early is asked for anew at the next call
            raise

    async def _fresh_token(self) -> tuple[str, int]:
        asked_us = self._clock.unix_us()
        fetched = await self._fetcher.get(f"{self._url}/login", provider=PROVIDER, auth=self._login())
        with documented_shape(PROVIDER, "login"):
            token = json_object(fetched.body)["token"]
            if not isinstance(token, str) or not token:
                raise ValueError("no token in it")
        self._token = token, asked_us
        return self._token


def _readings(fetched: Fetched, zone: str, signal: str, *, forecast: bool) -> list[IntensityReading]:
    document = json_object(fetched.body)
    meta = document["meta"]
    if meta["units"] != UNITS:
        raise ValueError(f"units are {meta['units']!r:.40}, not {UNITS}")
    if meta["signal_type"] != signal:
        raise ValueError(f"asked for {signal}, got {meta['signal_type']!r:.40}")
    slot_us = int(meta["data_point_period_seconds"]) * 1_000_000
    made = meta.get("generated_at")
    kind: Kind = "marginal" if signal == MARGINAL else "average"
    found = []
    for row in document["data"]:
        mg_per_kwh = intensity(row["value"], MG_PER_KWH_PER_LB_PER_MWH)
        if mg_per_kwh is None:
            continue
        start_us = moment_us(row["point_time"])
        found.append(
            IntensityReading(
                zone=zone,
                start_us=start_us,
                end_us=start_us + slot_us,
                mg_per_kwh=mg_per_kwh,
                basis="direct",
                kind=kind,
                # A model makes every value of both signals; none is a measurement.
                origin="forecast" if forecast else "estimated",
                provider=PROVIDER,
                retrieved_us=fetched.retrieved_us,
                scope="production",
                model=f"{signal} {(meta.get('model') or {}).get('date') or 'unnamed'}",
                observed_us=moment_us(made) if forecast and made is not None else start_us,
                raw_sha256=fetched.sha256,
            )
        )
    return found
