"""What a user asks the optimizer for."""

from dataclasses import dataclass
from pathlib import Path

from greenserve.optimize.cost import StatedIntensity
from greenserve.optimize.kinds import CLASSIFICATION, KINDS
from greenserve.optimize.plan import Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A model and a data set, the task, where the variants go, and the gate: `max_drop_points` of the task's metric."""

    model: str
    data: str
    out: Path
    name: str
    preset: Preset
    text_column: str = "text"
    label_column: str = "label"
    task: str = CLASSIFICATION
    families: tuple[str, ...] = KINDS[CLASSIFICATION].families
    max_drop_points: float = KINDS[CLASSIFICATION].max_drop_points
    seed: int = 0
    intensity: StatedIntensity | None = None
    command: str = "greenserve optimize"
