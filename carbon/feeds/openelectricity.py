"""OpenElectricity v4 (Australia): energy and emissions of the regions of the National Electricity Market."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, timezone
from fractions import Fraction
from functools import partial
from typing import Any

from greenserve.carbon.feeds.fetcher import Fetched, Fetcher
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
from greenserve.ports import SourceFacts
from greenserve.records import IntensityReading

PROVIDER = "OpenElectricity"
URL = "https://api.openelectricity.org.au"
DIRECT = "direct"
MARKET_TIME = timezone(timedelta(hours=10))
UNITS = {"energy": "MWh", "emissions": "t"}
MG_PER_KWH_PER_T_PER_MWH = 10**6
SLOT_US = 5 * MINUTE_US


class OpenElectricity:
    """Asks `/v4/data/network/NEM` for five-minute energy and emissions by region; CC BY 4.0.

    The emissions are those of the stations' stacks, so the basis is direct, the scope production.
    """

    def __init__(self, *, fetcher: Fetcher, key: Callable[[], str], codes: Mapping[str, str], url: str = URL) -> None:
        self._fetcher = fetcher
        self._key = key
        self._codes = dict(codes)
        self._url = url

    def __repr__(self) -> str:
        return f"<OpenElectricity {self._url}: {len(self._codes)} zones>"

    def about(self) -> SourceFacts:
        """One signal, no forecast; a call covers up to eight days of five minutes."""
        return SourceFacts(
            provider=PROVIDER,
            signals=(DIRECT,),
            forecasts=(),
            slot_us=SLOT_US,
            recent_us=2 * HOUR_US,
            history_us=8 * DAY_US,
        )

    def zones(self) -> frozenset[str]:
        """Those with a network region."""
        return frozenset(self._codes)

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """The five minutes of that time whose energy and emissions are both known."""
        params: dict[str, str | list[str]] = {
            "metrics": ["energy", "emissions"],
            "interval": "5m",
            "primary_grouping": "network_region",
            "date_start": _market_time(start_us),
            "date_end": _market_time(end_us),
        }
        fetched = await self._fetcher.get(
            f"{self._url}/v4/data/network/NEM",
            provider=PROVIDER,
            params=params,
            headers={"authorization": f"Bearer {self._key()}"},
        )
        parse = partial(_readings, fetched, zone, self._codes[zone])
        return await parsed(parse, provider=PROVIDER, what="network data")

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """There is none."""
        return []


def _readings(fetched: Fetched, zone: str, region: str) -> list[IntensityReading]:
    document = json_object(fetched.body)
    if document.get("success") is not True:
        raise ValueError(f"success is {document.get('success')!r:.20}: {document.get('error')!r:.120}")
    points = {metric: _points(document["data"], metric, region) for metric in UNITS}
    found = []
    for start_us, energy_mwh in sorted(points["energy"].items()):
        emitted_t = points["emissions"].get(start_us)
        if energy_mwh is None or energy_mwh <= 0 or emitted_t is None:
            continue
        # The quotient goes through the same gate as a value that a provider sends.
        grams = Fraction(emitted_t, 1) / energy_mwh * MG_PER_KWH_PER_T_PER_MWH
        mg_per_kwh = intensity(round(grams), 1)
        if mg_per_kwh is None:
            continue
        found.append(
            IntensityReading(
                zone=zone,
                start_us=start_us,
                end_us=start_us + SLOT_US,
                mg_per_kwh=mg_per_kwh,
                basis="direct",
                kind="average",
                origin="observed",
                provider=PROVIDER,
                retrieved_us=fetched.retrieved_us,
                scope="production",
                observed_us=start_us,
                raw_sha256=fetched.sha256,
            )
        )
    return found


def _points(data: Sequence[Mapping[str, Any]], metric: str, region: str) -> dict[int, Fraction | None]:
    """The region's sum of a metric by the start of the five minutes; None where one of its series is null."""
    points: defaultdict[int, Fraction | None] = defaultdict(Fraction)
    for part in data:
        if part["metric"] != metric:
            continue
        if part["unit"] != UNITS[metric]:
            raise ValueError(f"{metric} in {part['unit']!r:.20}, not {UNITS[metric]}")
        for series in part["results"]:
            if series["columns"]["network_region"] != region:
                continue
            for at, value in series["data"]:
                at_us, known = moment_us(at, zone=MARKET_TIME), amount(value)
                before = points[at_us]
                points[at_us] = None if before is None or known is None else before + known
    return dict(points)


def _market_time(at_us: int) -> str:
    return f"{at_utc(at_us).astimezone(MARKET_TIME):%Y-%m-%dT%H:%M:%S}"
