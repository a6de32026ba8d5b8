"""The section `energy` of the configuration: which meters are asked, and the watts of this machine that are known."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from greenserve.sections import Section

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


class Energy(Section):
    """Which meters are asked, best first; `auto` takes the best that is readable."""

    meters: Literal["auto"] | tuple[str, ...] = "auto"
    cpu: CpuEnergy | None = None
    boards: tuple[BoardEnergy, ...] = ()

    @model_validator(mode="after")
    def _each_board_once(self) -> Self:
        names = [board.device for board in self.boards]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"boards names {', '.join(map(repr, twice))} twice; keep one line for each")
        return self
