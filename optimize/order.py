"""What a user asks the optimizer for."""

from dataclasses import dataclass
from pathlib import Path

from greenserve.optimize.cost import StatedIntensity
from greenserve.optimize.plan import FAMILIES, Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A model and a data set, where the variants go, and the gate: `max_drop_points` of accuracy."""

    model: str
    data: str
    out: Path
    name: str
    preset: Preset
    text_column: str = "text"
    label_column: str = "label"
    families: tuple[str, ...] = FAMILIES
    max_drop_points: float = 1.0
    seed: int = 0
    intensity: StatedIntensity | None = None
    command: str = "greenserve optimize"
