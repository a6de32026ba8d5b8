"""The shipped tables as records, each with the digest of the file that it was read from."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from greenserve.canonical import sha256_hex
from greenserve.records import Basis
from greenserve.units import mg_per_kwh_from_g

DIGEST_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FuelFactors:
    """Factors by fuel [mg/kWh], lifecycle and direct, and the name under which readings name them."""

    name: str
    lifecycle: Mapping[str, int]
    direct: Mapping[str, int]

    def of(self, basis: Basis) -> Mapping[str, int]:
        """The factors of one basis."""
        return self.direct if basis == "direct" else self.lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A grid zone, its country (ISO 3166 alpha-3) and its code at each provider that has one."""

    zone: str
    name: str
    country: str
    codes: Mapping[str, str]


@cache
def fuel_factors() -> FuelFactors:
    """The factors that E13 uses; their name holds version and digest."""
    rows = list(_rows("fuels.csv"))
    return FuelFactors(
        name=f"E13 fuels {rows[0]['version']} sha256:{_digest('fuels.csv')}",
        lifecycle=MappingProxyType({row["fuel"]: mg_per_kwh_from_g(Decimal(row["lifecycle_g"])) for row in rows}),
        direct=MappingProxyType({row["fuel"]: mg_per_kwh_from_g(Decimal(row["direct_g"])) for row in rows}),
    )


@cache
def fuel_codes(provider: str) -> Mapping[str, str]:
    """The fuel that each of a provider's codes means; what is not in it is unknown."""
    return MappingProxyType(
        {row["code"]: row["fuel"] for row in _rows("fuel_codes.csv") if row["provider"] == provider}
    )


@cache
def zones() -> Mapping[str, Zone]:
    """All zones by name."""
    found = {}
    for row in _rows("zones.csv"):
        zone, name, country = row.pop("zone"), row.pop("name"), row.pop("country")
        codes = MappingProxyType({provider: code for provider, code in row.items() if code})
        found[zone] = Zone(zone=zone, name=name, country=country, codes=codes)
    return MappingProxyType(found)


@cache
def cloud_regions() -> Mapping[str, str]:
    """The grid zone of `gcp:europe-west3`, `aws:eu-central-1`, `azure:germanywestcentral` and so on."""
    return MappingProxyType({f"{row['cloud']}:{row['region']}": row["zone"] for row in _rows("cloud_regions.csv")})


def grid_zone(zone: str) -> str:
    """The grid zone that a configured zone means: a cloud region's, else itself."""
    return cloud_regions().get(zone, zone)


def country_of(zone: str) -> str | None:
    """The country (alpha-3) of a zone or cloud region; None where it is not in the table."""
    found = zones().get(grid_zone(zone))
    return None if found is None else found.country


def _rows(name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(_text(name).splitlines())


def _digest(name: str) -> str:
    return sha256_hex(_text(name).encode())[:DIGEST_DIGITS]


def _text(name: str) -> str:
    return (files("greenserve.carbon.factors") / name).read_text(encoding="utf-8")
