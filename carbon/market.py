"""Market-based emissions: contracts hour by hour, what they do not cover at the residual mix."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greenserve.carbon.apportion import apportion
from greenserve.carbon.emissions import emissions_ng
from greenserve.carbon.entries import it_uj
from greenserve.carbon.terms import Market

REST = "the residual mix"
Line = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What one line of the breakdown caused by contract: emissions [ng] and site energy without any figure [uJ]."""

    emissions_ng: int
    uncovered_uj: int


class MarketFold:
    """Site energy by hour and region: the statement's own by line, and of everybody, idle energy included.

    State: counters, changed by `add`, `add_sum` and `close` alone.
    """

    def __init__(self) -> None:
        self._own: dict[tuple[int, str], Counter[Line]] = {}
        self._site: Counter[tuple[int, str]] = Counter()
        self._it: Counter[int] = Counter()
        self._metered: Counter[int] = Counter()

    def add(self, body: Mapping[str, Any], hour: int, line: Line | None) -> None:
        """Take a request of the period; `line` is None where it is not the statement's own."""
        if body["facility_uj"] is not None:
            self.add_sum(
                (hour, body["region"] or ""), line, facility_uj=body["facility_uj"], energy_uj=it_uj(body) or 0
            )

    def add_sum(self, place: tuple[int, str], line: Line | None, *, facility_uj: int, energy_uj: int) -> None:
        """Take site and IT energy [uJ] of requests of one hour and region, all of them at a known PUE."""
        self._site[place] += facility_uj
        self._it[place[0]] += energy_uj
        if line is not None:
            self._own.setdefault(place, Counter())[line] += facility_uj

    def close(self, hour: int, metered_uj: int) -> None:
        """Take a device's metered energy; what no request caused makes the site's share larger."""
        self._metered[hour] += metered_uj

    def site_uj(self, hour: int, region: str) -> int:
        """Site energy of a region in an hour [uJ]: its requests, and idle and the like in their proportion."""
        requests, requests_it = self._site[hour, region], self._it[hour]
        if self._metered[hour] <= requests_it or not requests_it:
            return requests
        return -(-requests * self._metered[hour] // requests_it)

    def priced(self, market: Market) -> dict[Line, Priced]:
        """Each line's emissions; every hour and region is rounded once and split by largest remainder."""
        found: dict[Line, Counter[str]] = {}
        for (hour, region), lines in sorted(self._own.items()):
            own_uj = sum(lines.values())
            ng, uncovered_uj = self._hour(market, hour, region, own_uj)
            weights = {"\x1f".join(line): uj for line, uj in lines.items()}
            shares, rest = apportion(ng, weights), apportion(uncovered_uj, weights)
            for line in lines:
                name = "\x1f".join(line)
                found.setdefault(line, Counter()).update(ng=shares[name], uncovered=rest[name])
        return {line: Priced(emissions_ng=sums["ng"], uncovered_uj=sums["uncovered"]) for line, sums in found.items()}

    def _hour(self, market: Market, hour: int, region: str, own_uj: int) -> tuple[int, int]:
        covered = dict(_contracts(market, hour, region))
        site_uj, contracted = self.site_uj(hour, region), sum(covered.values())
        weights = covered if contracted > site_uj else covered | {REST: site_uj - contracted}
        if not own_uj or not any(weights.values()):
            return 0, 0
        shares = apportion(own_uj, weights)
        intensities = {one.instrument_id: one.mg_per_kwh for one in market.instruments}
        ng = sum(emissions_ng(uj, intensities[name]) for name, uj in shares.items() if name != REST)
        rest_uj, residual = shares.get(REST, 0), market.residual_of(region)
        return (ng, rest_uj) if residual is None else (ng + emissions_ng(rest_uj, residual), 0)


def _contracts(market: Market, hour: int, region: str) -> Iterator[tuple[str, int]]:
    for one in market.instruments:
        energy_uj = one.energy_in_hour_uj(hour) if one.region == region else 0
        if energy_uj:
            yield one.instrument_id, energy_uj
