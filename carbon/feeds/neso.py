"""GB National Energy System Operator: direct intensity by the half-hour, and a lifecycle one from its fuel mix; of
all Great Britain, or of one of its regions."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from greenserve.carbon.factors.tables import FuelFactors
from greenserve.carbon.feeds.fetcher import Fetched, Fetcher
from greenserve.carbon.feeds.mixing import MixOrigin, Slot, made_us, readings_from
from greenserve.carbon.feeds.neso_region import Region, region_of, region_rows
from greenserve.carbon.feeds.parsing import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    amount,
    at_utc,
    intensity,
    json_object,
    moment_us,
    parsed,
)
from greenserve.ports import Clock, SourceFacts
from greenserve.records import IntensityReading, Origin
from greenserve.units import MG_PER_G

PROVIDER = "NESO"
URL = "https://api.carbonintensity.org.uk"
DIRECT, MIX = "direct", "mix"


class Neso:
    """Asks `/intensity` (signal `direct`) and `/generation` (signal `mix`); no key; CC BY 4.0.

    `codes` gives each zone what it is at NESO: `GB`, a region's number 1..17, or the outward half of a postcode.
    A region is asked for at `/regional`, where all is expected and nothing seen: its readings are forecasts, and the
    forecast of the direct signal brings that of the mix along. ConfigInvalid for another code.

    Half-hours that are still open have only NESO's own forecast: they are told as one. The direct value is of what is
    consumed, imports included; the one from the mix is of production, and only its lifecycle value is used: NESO's
    own direct one knows more.
    """

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        clock: Clock,
        codes: Mapping[str, str],
        fuels: Mapping[str, str],
        factors: FuelFactors,
        url: str = URL,
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._regions = {zone: region_of(code) for zone, code in codes.items()}
        self._fuels = fuels
        self._factors = factors
        self._url = url

    def __repr__(self) -> str:
        return f"<Neso {self._url}: {len(self._regions)} zones>"

    def about(self) -> SourceFacts:
        """Half-hours; the direct signal has a forecast of 48 hours."""
        return SourceFacts(
            provider=PROVIDER,
            signals=(DIRECT, MIX),
            forecasts=(DIRECT,),
            slot_us=30 * MINUTE_US,
            recent_us=3 * HOUR_US,
            history_us=13 * DAY_US,
        )

    def zones(self) -> frozenset[str]:
        """Great Britain and its regions, as far as they are asked for."""
        return frozenset(self._regions)

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """The half-hours of that time."""
        span = f"{_stamp(start_us)}/{_stamp(end_us)}"
        region = self._regions[zone]
        if region is not None:
            both = await self._regional(zone, region, f"/regional/intensity/{span}")
            return [one for one in both if (one.basis == "lifecycle") == (signal == MIX)]
        if signal == MIX:
            return await self._mix(zone, span)
        return await self._direct(zone, f"/intensity/{span}")

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """The next 48 hours of the direct signal; empty for the mix."""
        if signal == MIX:
            return []
        ahead = f"/intensity/{_stamp(self._clock.unix_us())}/fw48h"
        region = self._regions[zone]
        if region is not None:
            return await self._regional(zone, region, f"/regional{ahead}")
        return await self._direct(zone, ahead, only_forecasts=True)

    async def _regional(self, zone: str, region: Region, path: str) -> list[IntensityReading]:
        """Both bases of a region, from one answer."""
        fetched = await self._fetcher.get(f"{self._url}{path}/{region.path}", provider=PROVIDER)
        # What flows into a region is told as a part of its mix; E13 leaves it out, so the result is no consumption's,
        # and NESO does not say of which production it would be.
        about = MixOrigin(
            provider=PROVIDER,
            zone=zone,
            fuels=self._fuels,
            factors=self._factors,
            fetched=fetched,
            origin="forecast",
            scope=None,
        )

        def readings() -> list[IntensityReading]:
            rows = region_rows(json_object(fetched.body), region)
            return [*_direct_of(rows, fetched, zone, only_forecasts=True), *_lifecycle(rows, about)]

        return await parsed(readings, provider=PROVIDER, what=f"regional intensity of {region}")

    async def _direct(self, zone: str, path: str, *, only_forecasts: bool = False) -> list[IntensityReading]:
        fetched = await self._fetcher.get(f"{self._url}{path}", provider=PROVIDER)
        return await parsed(
            lambda: list(_direct_of(json_object(fetched.body)["data"], fetched, zone, only_forecasts=only_forecasts)),
            provider=PROVIDER,
            what="intensity",
        )

    async def _mix(self, zone: str, span: str) -> list[IntensityReading]:
        fetched = await self._fetcher.get(f"{self._url}/generation/{span}", provider=PROVIDER)
        about = MixOrigin(provider=PROVIDER, zone=zone, fuels=self._fuels, factors=self._factors, fetched=fetched)

        def readings() -> list[IntensityReading]:
            return _lifecycle(json_object(fetched.body)["data"], about)

        return await parsed(readings, provider=PROVIDER, what="generation")


def _direct_of(
    rows: Sequence[Mapping[str, Any]], fetched: Fetched, zone: str, *, only_forecasts: bool
) -> Iterator[IntensityReading]:
    for row in rows:
        told = row["intensity"]
        actual = None if only_forecasts else intensity(told.get("actual"), MG_PER_G)
        expected = intensity(told.get("forecast"), MG_PER_G)
        mg_per_kwh = expected if actual is None else actual
        if mg_per_kwh is None:
            continue
        start_us = moment_us(row["from"])
        origin: Origin = "forecast" if actual is None else "observed"
        yield IntensityReading(
            zone=zone,
            start_us=start_us,
            end_us=moment_us(row["to"]),
            mg_per_kwh=mg_per_kwh,
            basis="direct",
            kind="average",
            origin=origin,
            provider=PROVIDER,
            retrieved_us=fetched.retrieved_us,
            scope="consumption",
            observed_us=made_us(start_us, origin, fetched),
            raw_sha256=fetched.sha256,
        )


def _lifecycle(rows: Sequence[Mapping[str, Any]], about: MixOrigin) -> list[IntensityReading]:
    slots: dict[Slot, dict[str, Fraction | None]] = {
        (moment_us(row["from"]), moment_us(row["to"])): {
            part["fuel"]: amount(part["perc"]) for part in row["generationmix"]
        }
        for row in rows
    }
    return [reading for reading in readings_from(slots, about) if reading.basis == "lifecycle"]


def _stamp(at_us: int) -> str:
    return f"{at_utc(at_us):%Y-%m-%dT%H:%MZ}"
