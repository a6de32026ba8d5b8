"""ENTSO-E Transparency Platform: actual generation per production type (A75, realised A16), priced by E13."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree

from greenserve.carbon.factors.tables import FuelFactors
from greenserve.carbon.feeds.fetcher import Fetched, Fetcher
from greenserve.carbon.feeds.mixing import MixOrigin, Slot, readings_from
from greenserve.carbon.feeds.parsing import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    amount,
    at_utc,
    duration_us,
    moment_us,
    parsed,
)
from greenserve.errors import GridUnavailable
from greenserve.ports import SourceFacts
from greenserve.records import IntensityReading

PROVIDER = "ENTSO-E"
URL = "https://web-api.tp.entsoe.eu"
MIX = "mix"
NO_DATA = "999"
REPEATS = "A03"
"""Curve type in which a position that is left out has the value of the one before."""
MOST_POSITIONS = 40_000
BAD_REQUEST = frozenset({400})


class Stretch(NamedTuple):
    """Mean power [MW] of one code over [start_us, end_us); None where it was left open."""

    start_us: int
    end_us: int
    code: str
    power_mw: Fraction | None


class EntsoE:
    """Asks `/api`; quarter-hours or hours, one or a few hours late. "No data" is a document of its own, also with 200.

    Series that flow out of a zone are pumping and left out.
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
        return f"<EntsoE {self._url}: {len(self._codes)} zones>"

    def about(self) -> SourceFacts:
        """One signal for both bases; under 400 calls a minute, or ten minutes of nothing."""
        return SourceFacts(
            provider=PROVIDER,
            signals=(MIX,),
            forecasts=(),
            slot_us=15 * MINUTE_US,
            recent_us=6 * HOUR_US,
            history_us=300 * DAY_US,
        )

    def zones(self) -> frozenset[str]:
        """Those with an EIC code."""
        return frozenset(self._codes)

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """The slots of that time that are published; empty where the platform has no data."""
        params = {
            "securityToken": self._key(),
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": self._codes[zone],
            "periodStart": f"{at_utc(start_us):%Y%m%d%H}00",
            "periodEnd": f"{at_utc(end_us + HOUR_US):%Y%m%d%H}00",
        }
        fetched = await self._fetcher.get(
            f"{self._url}/api", provider=PROVIDER, params=params, accept_status=BAD_REQUEST
        )
        about = MixOrigin(provider=PROVIDER, zone=zone, fuels=self._fuels, factors=self._factors, fetched=fetched)
        return await parsed(
            lambda: list(readings_from(slots_of(fetched), about)), provider=PROVIDER, what="generation per type"
        )

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """Generation by type is not forecast there."""
        return []


def slots_of(fetched: Fetched) -> dict[Slot, dict[str, Fraction | None]]:
    """Power [MW] by code for every slot of the finest resolution in the document."""
    stretches = list(_stretches(_root(fetched.body)))
    if not stretches:
        return {}
    step_us = min(stretch.end_us - stretch.start_us for stretch in stretches)
    begun_us, ended_us = min(s.start_us for s in stretches), max(s.end_us for s in stretches)
    if (ended_us - begun_us) // step_us > MOST_POSITIONS:
        raise ValueError(f"over {MOST_POSITIONS} slots in one document")
    edges = range(begun_us, ended_us, step_us)
    slots: defaultdict[Slot, dict[str, Fraction | None]] = defaultdict(dict)
    for stretch in stretches:
        first = bisect_right(edges, stretch.start_us) - 1
        for start_us in edges[first : bisect_right(edges, stretch.end_us - 1)]:
            # Several units of one type may come as several series: they add up.
            before = slots[start_us, start_us + step_us].get(stretch.code, Fraction(0))
            both = None if before is None or stretch.power_mw is None else before + stretch.power_mw
            slots[start_us, start_us + step_us][stretch.code] = both
    return dict(slots)


def _root(body: bytes) -> ElementTree.Element:
    # Documents of the platform declare no types or entities of their own: nothing is to be expanded.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ValueError("the document has a DOCTYPE; it is not read")
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML: {error}") from None


def _stretches(root: ElementTree.Element) -> Iterator[Stretch]:
    if _name(root) == "Acknowledgement_MarketDocument":
        code, text = _text(root, "Reason", "code"), _text(root, "Reason", "text")
        if code == NO_DATA:
            return
        raise GridUnavailable(f"{PROVIDER}: the platform refuses with reason {code}: {text:.120}")
    if _name(root) != "GL_MarketDocument":
        raise ValueError(f"a document {_name(root)!r:.60}")
    for series in _all(root, "TimeSeries"):
        if not _all(series, "outBiddingZone_Domain.mRID"):
            yield from _series(series)


def _series(series: ElementTree.Element) -> Iterator[Stretch]:
    unit = _text(series, "quantity_Measure_Unit.name")
    if unit != "MAW":
        raise ValueError(f"quantities in {unit!r:.40}, not MAW")
    code, repeats = _text(series, "MktPSRType", "psrType"), _text(series, "curveType") == REPEATS
    for period in _all(series, "Period"):
        start_us = moment_us(_text(period, "timeInterval", "start"))
        end_us = moment_us(_text(period, "timeInterval", "end"))
        step_us = duration_us(_text(period, "resolution"))
        count = (end_us - start_us) // step_us
        if not 0 < count <= MOST_POSITIONS:
            raise ValueError(f"a period of {count} positions")
        points = {int(_text(point, "position")): amount(_text(point, "quantity")) for point in _all(period, "Point")}
        held: Fraction | None = None
        for position in range(1, count + 1):
            held = points.get(position, held if repeats else None)
            begins_us = start_us + (position - 1) * step_us
            if position in points or repeats:
                yield Stretch(begins_us, begins_us + step_us, code, held)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(parent: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in parent if _name(child) == name]


def _text(parent: ElementTree.Element, *names: str) -> str:
    for name in names:
        found = _all(parent, name)
        if not found:
            raise ValueError(f"{_name(parent)} has no {name}")
        parent = found[0]
    return (parent.text or "").strip()
