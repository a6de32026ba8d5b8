"""The configuration's section on grid intensity: recorded and annual series, and providers on the network."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from greenserve.records import Basis
from greenserve.sections import LOOPBACK, MgPerKwh, Seconds, Section

REFRESH: Any = "5m"
"""As a file would write it; it is read like any other value."""
_REFERENCE = re.compile(r"(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+)")
SOURCE_KINDS = frozenset(
    {"recorded", "annual", "electricity-maps", "watttime", "neso", "eia", "entso-e", "openelectricity"}
)


def _reference(given: str) -> str:
    if not _REFERENCE.fullmatch(given):
        # What was given may be the key itself: it is not repeated.
        raise ValueError("a key is not written here; write env:NAME or file:PATH, where the key is then read")
    return given


def _provider_url(given: str) -> str:
    parts = urlsplit(given)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not safe or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{given!r:.80}: an https address without query is needed (http on loopback alone)")
    return given.rstrip("/")


SecretReference = Annotated[str, AfterValidator(_reference), Field(examples=["env:GRID_KEY", "file:grid.key"])]
ProviderUrl = Annotated[str, AfterValidator(_provider_url)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]


class RecordedSource(Section):
    """A recorded series: CSV or Parquet with timestamp_utc, region (the zone) and carbon_intensity_gco2e_per_kwh."""

    kind: Literal["recorded"]
    file: Path
    provider: str = "recorded"
    repeat: Literal["week"] | None = None
    basis: Basis = "lifecycle"


class AnnualSource(Section):
    """Annual averages: `values` by zone with year and source, or a `file` with its source."""

    kind: Literal["annual"]
    values: dict[str, MgPerKwh] | None = None
    file: Path | None = None
    year: Annotated[int, Field(ge=1990, le=2100)] | None = None
    source: str | None = None
    basis: Basis = "lifecycle"

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.values is None) == (self.file is None):
            raise ValueError("give values or a file, one of them")
        if self.values is not None and (self.year is None or self.source is None):
            raise ValueError("values need the year that they are of, and the source that says so")
        if self.file is not None and (self.source is None or self.year is not None):
            raise ValueError("a file needs the source that it is from, and has the years itself")
        return self


class _Provider(Section):
    """A provider on the network; `zones` are those that it is asked for (none given: every region's that it has).

    `codes` are its own names of zones, beside those of the shipped table.
    """

    zones: tuple[str, ...] | None = None
    codes: dict[str, str] = Field(default_factory=dict)


class ElectricityMapsSource(_Provider):
    """Electricity Maps v3. `api_key` says where the token is read."""

    kind: Literal["electricity-maps"]
    api_key: SecretReference
    url: ProviderUrl = "https://api.electricitymaps.com"


class WattTimeSource(_Provider):
    """WattTime v3: name, and where the password is read; `places` are zones by latitude and longitude."""

    kind: Literal["watttime"]
    username: Annotated[str, Field(min_length=1)]
    password: SecretReference
    places: dict[str, tuple[Latitude, Longitude]] = Field(default_factory=dict)
    url: ProviderUrl = "https://api.watttime.org"


class NesoSource(_Provider):
    """GB National Energy System Operator: no key."""

    kind: Literal["neso"]
    url: ProviderUrl = "https://api.carbonintensity.org.uk"


class EiaSource(_Provider):
    """US Energy Information Administration v2."""

    kind: Literal["eia"]
    api_key: SecretReference
    url: ProviderUrl = "https://api.eia.gov"


class EntsoESource(_Provider):
    """ENTSO-E Transparency Platform."""

    kind: Literal["entso-e"]
    api_key: SecretReference
    url: ProviderUrl = "https://web-api.tp.entsoe.eu"


class OpenElectricitySource(_Provider):
    """OpenElectricity v4."""

    kind: Literal["openelectricity"]
    api_key: SecretReference
    url: ProviderUrl = "https://api.openelectricity.org.au"


ProviderSource = ElectricityMapsSource | WattTimeSource | NesoSource | EiaSource | EntsoESource | OpenElectricitySource
Source = RecordedSource | AnnualSource | ProviderSource


class Intensity(Section):
    """Grid intensity: the best level of any source answers, then their order; who answered is stamped on the entry.

    `half_widths` is a file that `greenserve carbon backtest -o FILE` wrote: how far off what stands in for a zone was.
    `basis` is what routing and answers use; `routing_signal: marginal` lets that of WattTime steer, and nothing else.
    """

    sources: tuple[Annotated[Source, Field(discriminator="kind")], ...] = Field(min_length=1)
    basis: Basis = "lifecycle"
    routing_signal: Literal["average", "marginal"] = "average"
    half_widths: Path | None = None
    refresh_s: Seconds = Field(default=REFRESH, alias="refresh", ge=60, le=3600)

    @model_validator(mode="after")
    def _can_steer(self) -> Self:
        if self.routing_signal == "marginal" and not any(source.kind == "watttime" for source in self.sources):
            raise ValueError("routing_signal: marginal needs a source of kind watttime, the only one that tells it")
        return self
