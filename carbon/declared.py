"""From the configuration and the contracts file to the terms of a statement."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, ValidationError

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.carbon.terms import PPM, SECONDS_PER_YEAR, Baseline, Hardware, Instrument, Market, Residual, Terms
from greenserve.carbon_section import EnergyUj
from greenserve.config import Config
from greenserve.errors import ConfigInvalid, InvalidRequest
from greenserve.sections import MgPerKwh, Name, Section
from greenserve.yaml_places import read_yaml

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class InstrumentLine(Section):
    """A contract: energy in whole UTC hours from..to, its intensity, and the SHA-256 of the evidence."""

    id: Annotated[str, Field(min_length=1)]
    region: Name
    start: Annotated[AwareDatetime, Field(alias="from")]
    end: Annotated[AwareDatetime, Field(alias="to")]
    energy: EnergyUj
    intensity: MgPerKwh
    evidence_sha256: _SHA256


class ResidualLine(Section):
    """The residual mix of a region."""

    region: Name
    intensity: MgPerKwh
    source: str


class MarketFile(Section):
    """The file that `carbon.market` names."""

    instruments: tuple[InstrumentLine, ...] = ()
    residual_mix: tuple[ResidualLine, ...] = ()


def terms_of(config: Config, baseline: str | None = None) -> Terms:
    """What the issuer declares; `baseline` names the one to compare with, the only one without a name.

    ConfigInvalid where the contracts file is wrong, InvalidRequest for a baseline that is not declared.
    """
    return Terms(
        hardware=tuple(
            Hardware(
                device=part.device,
                name=part.name,
                embodied_g=part.embodied,
                life_s=part.life_years * SECONDS_PER_YEAR,
                share_ppm=round(part.share * PPM),
                source=part.source,
            )
            for part in config.carbon.hardware
        ),
        market=None if config.carbon.market is None else read_market(config.carbon.market),
        baselines=_baselines(config, baseline),
        pue_sources={region.name: region.pue.source for region in config.regions},
    )


def config_digest(config: Config) -> str:
    """SHA-256 of the configuration as canonical JSON."""
    return sha256_hex(canonical_json(config.model_dump(mode="json", by_alias=True)))


def read_market(path: Path) -> Market:
    """The contracts file (YAML) with its digest; ConfigInvalid names every fault."""
    try:
        data = path.read_bytes()
        document, _ = read_yaml(data.decode(), name=str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigInvalid(f"{path}: the contracts of `carbon.market` cannot be read ({why})") from None
    try:
        file = MarketFile(**document)
        instruments = tuple(_instrument(line) for line in file.instruments)
        names = [one.instrument_id for one in instruments]
        if len(set(names)) < len(names):
            raise ValueError(f"instruments: each id may stand once, given are {', '.join(sorted(names))}")
        return Market(
            instruments=instruments,
            residuals=tuple(
                Residual(region=line.region, mg_per_kwh=line.intensity, source=line.source)
                for line in file.residual_mix
            ),
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except ValidationError as error:
        faults = [f"{path}  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigInvalid("\n".join(faults)) from None
    except (TypeError, ValueError) as error:
        raise ConfigInvalid(f"{path}  {error}") from None


def _instrument(line: InstrumentLine) -> Instrument:
    return Instrument(
        instrument_id=line.id,
        region=line.region,
        start_us=(line.start - _EPOCH) // timedelta(microseconds=1),
        end_us=(line.end - _EPOCH) // timedelta(microseconds=1),
        energy_uj=line.energy,
        mg_per_kwh=line.intensity,
        evidence_sha256=line.evidence_sha256,
    )


def _baselines(config: Config, name: str | None) -> tuple[Baseline, ...]:
    names = sorted({line.name for line in config.carbon.baselines})
    if name is None and len(names) == 1:
        name = names[0]
    if name is not None and name not in names:
        declared = ", ".join(names) or "none; declare one under `carbon.baselines`"
        raise InvalidRequest(f"--baseline {name}: declared are {declared}")
    return tuple(
        Baseline(
            name=line.name,
            about=line.about,
            model=line.model,
            request_uj=line.energy,
            half_width_bp=round(line.half_width * 10_000),
            mg_per_kwh=line.intensity,
            source=line.source,
        )
        for line in config.carbon.baselines
        if line.name == name
    )
