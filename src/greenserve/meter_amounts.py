"""What an external meter's number is: where it stands in an answer, and its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from greenserve.errors import ConfigInvalid

ENERGY_UJ: Mapping[str, int] = MappingProxyType(
    {
        "uJ": 1,
        "mJ": 1_000,
        "J": 1_000_000,
        "kJ": 1_000_000_000,
        "Wh": 3_600_000_000,
        "kWh": 3_600_000_000_000,
    }
)
POWER_UW: Mapping[str, int] = MappingProxyType({"uW": 1, "mW": 1_000, "W": 1_000_000, "kW": 1_000_000_000})
UNITS = (*ENERGY_UJ, *POWER_UW)
NAMED: Mapping[str, str] = MappingProxyType(
    {"millijoules": "mJ", "microjoules": "uJ", "joules": "J", "kwh": "kWh", "milliwatts": "mW", "watts": "W"}
)
"""Words in the names of Prometheus metrics, and the units that they mean; the longer ones first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Where a number stands in an answer and what it is.

    `format` is `prometheus` (text exposition: `metric` and `labels`), `json` (`pointer`, RFC 6901; `time_pointer` to
    its time, Unix seconds or RFC 3339) or `number` (the whole text). `unit` is one of UNITS: energy is a counter,
    power is integrated.
    """

    format: Literal["prometheus", "json", "number"]
    unit: str
    metric: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pointer: str | None = None
    time_pointer: str | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigInvalid(f"unit is {self.unit!r}; allowed are {', '.join(UNITS)}")
        wanted = {"prometheus": (True, False), "json": (False, True), "number": (False, False)}[self.format]
        if (self.metric is not None, self.pointer is not None) != wanted:
            raise ConfigInvalid(
                f"format {self.format} with metric {self.metric!r} and pointer {self.pointer!r}: prometheus needs a "
                "metric, json needs a pointer, number neither"
            )
        means = next((unit for word, unit in NAMED.items() if word in (self.metric or "").lower()), self.unit)
        if means != self.unit:
            raise ConfigInvalid(f"the metric {self.metric} is in {means} by its name, the unit is {self.unit}")

    @property
    def is_power(self) -> bool:
        """Whether it is a power, not an energy counter."""
        return self.unit in POWER_UW

    def micro(self, number: Decimal) -> int:
        """The number in uJ or uW, cut down to a whole one."""
        return int(number * (POWER_UW if self.is_power else ENERGY_UJ)[self.unit])
