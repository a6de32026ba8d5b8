"""What every stage of a run reads and none changes."""

from dataclasses import dataclass

from greenserve.carbon.power_model import CpuPower
from greenserve.inputs import TextEncoder
from greenserve.optimize.data import Dataset
from greenserve.optimize.kinds import Kind
from greenserve.optimize.plan import Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Task, data, tokenizer, preset, power and gate of a run; `buckets` in tokens, `max_drop_points` is the gate."""

    kind: Kind
    dataset: Dataset
    encoder: TextEncoder
    buckets: tuple[int, ...]
    vocab: int
    preset: Preset
    power: CpuPower
    max_drop_points: float
    seed: int
