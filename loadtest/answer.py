"""What an answer says it cost, read back from headers or gRPC trailing metadata. Missing is unknown, never 0."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from greenserve.records import TIERS, Tier

UJ_PLACES = 6
NG_PLACES = 9


class Cost(NamedTuple):
    """Energy [uJ] with its tier, emissions [ng], the route taken and what the cache did; None where not said."""

    energy_uj: int | None = None
    tier: Tier | None = None
    emissions_ng: int | None = None
    route: str | None = None
    cache: str | None = None


def cost_of(headers: Mapping[str, str]) -> Cost:
    """Read the cost from headers whose names are in lower case."""
    energy_uj, parameters = _integer(headers.get("greenserve-energy"), unit="uJ")
    emissions_ng, _ = _integer(headers.get("greenserve-carbon"), unit="ng")
    if energy_uj is None:
        energy_uj = _scaled(headers.get("greenserve-energy-joules"), UJ_PLACES)
    if emissions_ng is None:
        emissions_ng = _scaled(headers.get("greenserve-carbon-grams"), NG_PLACES)
    route, _ = _item(headers.get("greenserve-route"))
    cache, _ = _item(headers.get("greenserve-cache"))
    tier = next((tier for tier in TIERS if tier == parameters.get("tier")), None)
    return Cost(energy_uj=energy_uj, tier=tier, emissions_ng=emissions_ng, route=route, cache=cache)


def _item(header: str | None) -> tuple[str | None, dict[str, str]]:
    value, *rest = (header or "").split(";")
    pairs = (part.strip().partition("=") for part in rest)
    return value.strip().strip('"') or None, {name: text.strip('"') for name, _, text in pairs}


def _integer(header: str | None, *, unit: str) -> tuple[int | None, dict[str, str]]:
    value, parameters = _item(header)
    if value is None or not value.isascii() or not value.isdigit() or parameters.get("u") != unit:
        return None, parameters
    return int(value), parameters


def _scaled(header: str | None, places: int) -> int | None:
    try:
        value = Decimal(header or "")
    except InvalidOperation:
        return None
    return round(value.scaleb(places)) if value.is_finite() and value >= 0 else None
