"""US Energy Information Administration v2: generation by fuel of a balancing authority, by the hour, priced by E13."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from fractions import Fraction

from greenserve.carbon.factors.tables import FuelFactors
from greenserve.carbon.feeds.fetcher import Fetched, Fetcher
from greenserve.carbon.feeds.mixing import MixOrigin, Slot, readings_from
from greenserve.carbon.feeds.parsing import DAY_US, HOUR_US, amount, at_utc, json_object, moment_us, parsed
from greenserve.ports import SourceFacts
from greenserve.records import IntensityReading

PROVIDER = "US EIA"
URL = "https://api.eia.gov"
MIX = "mix"
UNITS = "megawatthours"
MOST_ROWS = 5_000


class Eia:
    """Asks `/v2/electricity/rto/fuel-type-data`; published 1 to 24 hours late, so it rarely knows the present hour.

    A period is named by the hour's end (EIA-930). Values may be words or negative; a fuel code that is not in the
    table is unknown. Public domain.
    """

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        key: Callable[[], str],
        codes: Mapping[str, str],
        fuels: Mapping[str, str],
        factors: FuelFactors,
        url: str = URL,
    ) -> None:
        self._fetcher = fetcher
        self._key = key
        self._codes = dict(codes)
        self._fuels = fuels
        self._factors = factors
        self._url = url

    def __repr__(self) -> str:
        return f"<Eia {self._url}: {len(self._codes)} zones>"

    def about(self) -> SourceFacts:
        """One signal for both bases; no forecast; under 5 calls a second, or the key is suspended."""
        return SourceFacts(
            provider=PROVIDER,
            signals=(MIX,),
            forecasts=(),
            slot_us=HOUR_US,
            recent_us=30 * HOUR_US,
            history_us=8 * DAY_US,
            spacing_s=0.5,
        )

    def zones(self) -> frozenset[str]:
        """Those with a respondent."""
        return frozenset(self._codes)

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """The hours of that time that are published."""
        params: dict[str, str | list[str]] = {
            "api_key": self._key(),
            "frequency": "hourly",
            "data[]": "value",
            "facets[respondent][]": self._codes[zone],
            "start": f"{at_utc(start_us):%Y-%m-%dT%H}",
            "end": f"{at_utc(end_us + HOUR_US):%Y-%m-%dT%H}",
            "length": str(MOST_ROWS),
        }
        fetched = await self._fetcher.get(
            f"{self._url}/v2/electricity/rto/fuel-type-data/data/", provider=PROVIDER, params=params
        )
        about = MixOrigin(provider=PROVIDER, zone=zone, fuels=self._fuels, factors=self._factors, fetched=fetched)
        return await parsed(
            lambda: list(readings_from(_slots(fetched, self._codes[zone]), about)),
            provider=PROVIDER,
            what="fuel-type-data",
        )

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """There is none."""
        return []


def _slots(fetched: Fetched, respondent: str) -> dict[Slot, dict[str, Fraction | None]]:
    response = json_object(fetched.body)["response"]
    if int(response.get("total", 0)) > len(response["data"]):
        raise ValueError(f"{response['total']} rows, but only {len(response['data'])} in the answer")
    slots: defaultdict[Slot, dict[str, Fraction | None]] = defaultdict(dict)
    for row in response["data"]:
        if row["value-units"] != UNITS:
            raise ValueError(f"value-units are {row['value-units']!r:.40}, not {UNITS}")
        if row["respondent"] != respondent:
            raise ValueError(f"asked for {respondent}, got {row['respondent']!r:.40}")
        end_us = moment_us(row["period"], zone=UTC)
        slots[end_us - HOUR_US, end_us][str(row["fueltype"])] = amount(row["value"])
    return dict(slots)
