"""Electricity Maps v3: carbon intensity of what a zone consumes, lifecycle and direct, by the hour."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from greenserve.carbon.feeds.fetcher import Fetched, Fetcher
from greenserve.carbon.feeds.parsing import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    at_utc,
    intensity,
    json_object,
    moment_us,
    parsed,
)
from greenserve.ports import Clock, SourceFacts
from greenserve.records import Basis, IntensityReading, Origin
from greenserve.units import MG_PER_G

PROVIDER = "Electricity Maps"
URL = "https://api.electricitymaps.com"
RECENT_US = 2 * HOUR_US
SLACK_US = 5 * MINUTE_US
"""Time passes between the question and the call: two hours back are still two hours back then."""
SLOTS_US = {"5_minutes": 5 * MINUTE_US, "15_minutes": 15 * MINUTE_US, "hourly": HOUR_US}


class ElectricityMaps:
    """Asks `/v3/carbon-intensity/...`; `codes` are the provider's zones by ours, `key` gives the token each time.

    Hourly values, revised for a day; one that is flagged as estimated, or whose hour was not over when it was
    published, is `estimated`.
    """

    def __init__(
        self, *, fetcher: Fetcher, clock: Clock, key: Callable[[], str], codes: Mapping[str, str], url: str = URL
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._key = key
        self._codes = dict(codes)
        self._url = url

    def __repr__(self) -> str:
        return f"<ElectricityMaps {self._url}: {len(self._codes)} zones>"

    def about(self) -> SourceFacts:
        """Two signals by basis, both with a forecast."""
        return SourceFacts(
            provider=PROVIDER,
            signals=("lifecycle", "direct"),
            forecasts=("lifecycle", "direct"),
            slot_us=HOUR_US,
            recent_us=RECENT_US,
            history_us=10 * DAY_US,
        )

    def zones(self) -> frozenset[str]:
        """Those with a code."""
        return frozenset(self._codes)

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """`latest` for what lies up to two hours back, with `history` up to a day, else `past-range`."""
        now_us = self._clock.unix_us()
        if start_us < now_us - DAY_US - SLACK_US:
            span = {"start": f"{at_utc(start_us):%Y-%m-%dT%H:%M:%SZ}", "end": f"{at_utc(end_us):%Y-%m-%dT%H:%M:%SZ}"}
            return await self._asked("past-range", "data", zone, signal, span)
        history: Sequence[IntensityReading] = []
        if start_us < now_us - RECENT_US - SLACK_US:
            history = await self._asked("history", "history", zone, signal, {})
        return [*history, *await self._asked("latest", None, zone, signal, {})]

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """The next 24 hours and more, made at the document's `updatedAt`."""
        return await self._asked("forecast", "forecast", zone, signal, {})

    async def _asked(
        self, path: str, member: str | None, zone: str, signal: str, span: Mapping[str, str]
    ) -> list[IntensityReading]:
        basis: Basis = "direct" if signal == "direct" else "lifecycle"
        params = {"zone": self._codes[zone], "disableCallerLookup": "true", "emissionFactorType": basis, **span}
        fetched = await self._fetcher.get(
            f"{self._url}/v3/carbon-intensity/{path}",
            provider=PROVIDER,
            params=params,
            headers={"auth-token": self._key()},
        )

        def readings() -> list[IntensityReading]:
            document = json_object(fetched.body)
            if document["zone"] != self._codes[zone]:
                raise ValueError(f"asked for zone {self._codes[zone]}, got {document['zone']!r:.40}")
            rows: Iterable[Mapping[str, Any]] = [document] if member is None else document[member]
            return list(self._readings(rows, document, fetched, zone, basis, forecast=path == "forecast"))

        return await parsed(readings, provider=PROVIDER, what=path)

    def _readings(
        self,
        rows: Iterable[Mapping[str, Any]],
        document: Mapping[str, Any],
        fetched: Fetched,
        zone: str,
        basis: Basis,
        *,
        forecast: bool,
    ) -> Iterable[IntensityReading]:
        slot_us = SLOTS_US[document.get("temporalGranularity", "hourly")]
        for row in rows:
            told = row.get("emissionFactorType", basis)
            if told != basis:
                raise ValueError(f"asked for {basis}, got emissionFactorType {told!r:.40}")
            mg_per_kwh = intensity(row["carbonIntensity"], MG_PER_G)
            if mg_per_kwh is None:
                continue
            start_us = moment_us(row["datetime"])
            updated = row.get("updatedAt", document.get("updatedAt"))
            # A value whose hour had not begun when it was published is an expectation, whatever its flag says.
            early = updated is not None and moment_us(updated) < start_us
            guessed: Origin = "estimated" if early or row.get("isEstimated") is not False else "observed"
            yield IntensityReading(
                zone=zone,
                start_us=start_us,
                end_us=start_us + slot_us,
                mg_per_kwh=mg_per_kwh,
                basis=basis,
                kind="average",
                origin="forecast" if forecast else guessed,
                provider=PROVIDER,
                retrieved_us=fetched.retrieved_us,
                scope="consumption",
                model=row.get("estimationMethod"),
                observed_us=moment_us(updated) if forecast and updated is not None else start_us,
                raw_sha256=fetched.sha256,
            )
