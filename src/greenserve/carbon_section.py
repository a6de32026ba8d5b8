"""The section `carbon` of the configuration: contracts, hardware, baselines, and the key that signs statements."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from greenserve.quantities import parse_emissions_g, parse_energy_uj
from greenserve.sections import MgPerKwh, Name, Percent, Section

WHOLE: Any = "100%"
QUARTER: Any = "25%"
"""Defaults as a file would write them; they are read like any other value."""
EnergyUj = Annotated[
    int,
    BeforeValidator(parse_energy_uj),
    PlainSerializer(lambda value: f"{value}uJ", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["120mJ", "100kWh"]}),
]
EmissionsG = Annotated[
    int,
    BeforeValidator(parse_emissions_g),
    PlainSerializer(lambda value: f"{value}gCO2e", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["164kgCO2e"]}),
]


class HardwarePart(Section):
    """A part of a metered device and what making it emitted; the parts of a device add."""

    device: Annotated[str, Field(min_length=1)]
    name: str
    embodied: EmissionsG
    life_years: Annotated[int, Field(ge=1, le=50)]
    share: Annotated[Percent, Field(gt=0)] = WHOLE
    source: str


class BaselineModel(Section):
    """What a baseline assumes for one model; lines of the same name make one baseline."""

    name: Name
    about: str
    model: Name
    energy: EnergyUj
    half_width: Percent = QUARTER
    intensity: MgPerKwh | None = None
    source: str


class Carbon(Section):
    """What statements rest on beside the ledger."""

    market: Path | None = None
    signing_key: Path | None = None
    hardware: tuple[HardwarePart, ...] = ()
    baselines: tuple[BaselineModel, ...] = ()
