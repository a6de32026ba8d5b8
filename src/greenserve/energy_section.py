"""The section `energy` of the configuration: which meters are asked, and the watts of this machine that are known."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from greenserve.errors import ConfigInvalid
from greenserve.grid_sections import SecretReference
from greenserve.meter_amounts import Amount
from greenserve.sections import Name, Seconds, Section

EVERY: Any = "10s"
TIMEOUT: Any = "2s"
"""Defaults as a file would write them; they are read like any other value."""


def _meter_url(given: str) -> str:
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment:
        raise ValueError(f"{given!r:.80}: an http or https address is needed; a key goes into authorization")
    return given


MeterUrl = Annotated[str, AfterValidator(_meter_url)]
Watts = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class CpuEnergy(Section):
    """This machine's own power figures [W], where they are known from a measurement."""

    idle_w: Annotated[float, Field(ge=0)]
    max_w: Annotated[float, Field(gt=0)]
    alpha: Annotated[float, Field(ge=0.2, le=2.0)] = 1.0
    half_width_pct: Annotated[int, Field(ge=1, le=100)] = 35


class BoardEnergy(Section):
    """What a board draws [W] at rest and on average while a batch runs: estimates until its meter speaks.

    `device` is its UUID, the name that an engine gives it (`cuda:0`), or `*` for every board without a line.
    """

    device: Annotated[str, Field(min_length=1)] = "*"
    idle_w: Watts
    busy_w: Watts
    half_width_pct: Annotated[int, Field(ge=1, le=100)] = 35

    @model_validator(mode="after")
    def _more_at_work(self) -> Self:
        if self.busy_w < self.idle_w or not self.busy_w:
            raise ValueError(f"busy_w is {self.busy_w:g}, it lies above 0 and not below idle_w ({self.idle_w:g})")
        return self


class OverheadEnergy(Section):
    """What this machine draws beyond its devices [W] (fans, network, disks, supply loss), where it was measured once.

    An external meter of the node that is read goes before it. `source` says who measured it, and how.
    """

    power_w: Watts
    half_width_pct: Annotated[int, Field(ge=1, le=100)] = 35
    source: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")]


class ExternalEnergy(Section):
    """A meter outside this machine's counters: a wall or node meter, read at a `url` or from a `file`.

    `device` is what it measures: `node` all of the machine, `cpu` its CPUs. `max_w` is what that can draw at most: a
    value beyond tells a wrong unit. `authorization` says where the header's value is read.
    """

    name: Name
    device: Literal["node", "cpu"] = "node"
    url: MeterUrl | None = None
    file: Path | None = None
    format: Literal["prometheus", "json", "number"]
    metric: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    pointer: Annotated[str | None, Field(pattern="^/")] = None
    time_pointer: Annotated[str | None, Field(pattern="^/")] = None
    unit: Literal["uJ", "mJ", "J", "kJ", "Wh", "kWh", "uW", "mW", "W", "kW"]
    max_w: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
    half_width_pct: Annotated[int, Field(ge=1, le=100)] = 5
    every_s: Seconds = Field(default=EVERY, alias="every", ge=1, le=600)
    timeout_s: Seconds = Field(default=TIMEOUT, alias="timeout", gt=0, le=30)
    authorization: SecretReference | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise ValueError(f"{self.name}: give a url or a file, one of them")
        if self.authorization is not None and self.url is None:
            raise ValueError(f"{self.name}: authorization goes with a url")
        try:
            self.amount()
        except ConfigInvalid as error:
            raise ValueError(f"{self.name}: {error}") from None
        return self

    def amount(self) -> Amount:
        """Where the number stands and what it is."""
        return Amount(
            format=self.format,
            unit=self.unit,
            metric=self.metric,
            labels=self.labels,
            pointer=self.pointer,
            time_pointer=self.time_pointer,
        )


class Energy(Section):
    """Which meters are asked, best first; `auto` takes the best that is readable."""

    meters: Literal["auto"] | tuple[str, ...] = "auto"
    cpu: CpuEnergy | None = None
    boards: tuple[BoardEnergy, ...] = ()
    external: tuple[ExternalEnergy, ...] = ()
    overhead: OverheadEnergy | None = None

    @model_validator(mode="after")
    def _each_board_once(self) -> Self:
        names = [board.device for board in self.boards]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"boards names {', '.join(map(repr, twice))} twice; keep one line for each")
        meters = [meter.name for meter in self.external]
        if len(set(meters)) < len(meters):
            raise ValueError(f"external: each name may stand once, given are {', '.join(meters)}")
        return self
