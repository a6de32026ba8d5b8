"""What a run will do: its preset, the variants it builds, the grid it measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from greenserve.errors import InvalidRequest
from greenserve.optimize.kinds import CLASSIFICATION, EMBEDDING

BASELINE = "fp32"
FAMILIES = ("int8-dyn", "drop", "static")
BUCKETS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
STATIC_WIDTH = 256
MAX_BATCH = 32
HEADLINE_BATCH = 8
P95_AT = (1, 64)
P95_RUNS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Rows per split (train, val, test), grid (batch sizes, tokens), windows per cell, their length [s]."""

    name: str
    sizes: tuple[int, int, int]
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    windows: int
    window_s: float
    bootstrap: int


STANDARD = Preset(
    name="standard",
    sizes=(12_000, 3_000, 3_000),
    batches=(1, 2, 4, 8, 16, 32),
    lengths=(16, 32, 64, 128, 256),
    windows=5,
    window_s=0.5,
    bootstrap=2_000,
)
PRESETS: Mapping[tuple[str, str], Preset] = MappingProxyType(
    {
        (CLASSIFICATION, "demo"): Preset(
            name="demo",
            sizes=(2_000, 1_000, 3_000),
            batches=(1, 4, 16),
            lengths=(16, 64, 128),
            windows=3,
            window_s=0.25,
            bootstrap=2_000,
        ),
        (CLASSIFICATION, "standard"): STANDARD,
        (EMBEDDING, "demo"): Preset(
            name="demo",
            sizes=(1_000, 200, 700),
            batches=(1, 8),
            lengths=(16, 64, 128),
            windows=2,
            window_s=0.15,
            bootstrap=2_000,
        ),
        (EMBEDDING, "standard"): STANDARD,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A variant to build: `layers` of the encoder that it keeps, or `width` of its token table."""

    name: str
    family: str
    precision: str
    parent: str | None
    layers: int | None = None
    width: int | None = None


def preset_named(name: str, task: str = CLASSIFICATION) -> Preset:
    """The preset of that name for that task; raises InvalidRequest otherwise."""
    if (task, name) not in PRESETS:
        allowed = ", ".join(dict.fromkeys(known for _, known in PRESETS))
        raise InvalidRequest(f"--preset is {name!r}; allowed are {allowed}")
    return PRESETS[task, name]


def plan_variants(*, layers: int, hidden: int, families: Sequence[str] = FAMILIES) -> tuple[Planned, ...]:
    """The baseline, then one variant per family in a fixed order, for an encoder of `layers` and `hidden` size."""
    unknown = [family for family in families if family not in FAMILIES]
    if unknown or not families:
        given = ", ".join(map(repr, unknown)) or "nothing"
        raise InvalidRequest(f"--families names {given}; allowed are {', '.join(FAMILIES)}")
    if "drop" in families and layers < 2:
        raise InvalidRequest("--families names 'drop', and the model has one layer: leave that family out")
    kept, width = layers // 2, min(STATIC_WIDTH, hidden)
    offered = {
        "int8-dyn": Planned(name="int8-dyn", family="int8-dyn", precision="int8", parent=BASELINE, layers=layers),
        "drop": Planned(name=f"drop{kept}-int8-dyn", family="drop", precision="int8", parent=BASELINE, layers=kept),
        "static": Planned(name=f"static-{width}-int8", family="static", precision="int8", parent=BASELINE, width=width),
    }
    baseline = Planned(name=BASELINE, family="fp32", precision="fp32", parent=None, layers=layers)
    return (baseline, *(offered[family] for family in FAMILIES if family in families))


def buckets_for(max_length: int) -> tuple[int, ...]:
    """Bucket edges [tokens] up to `max_length`, which is always the last."""
    return (*(edge for edge in BUCKETS if edge < max_length), max_length)


def grid_for(preset: Preset, *, max_length: int) -> tuple[tuple[int, int], ...]:
    """The (batch, tokens) cells of the preset that the model can take; the longest input stands in for longer ones."""
    lengths = sorted({min(length, max_length) for length in preset.lengths})
    return tuple((batch, length) for batch in preset.batches for length in lengths)


def p95_cell(cells: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The cell whose p95 stands for a variant: one row of 64 tokens, else the nearest length below."""
    single = [length for batch, length in cells if batch == P95_AT[0]]
    return P95_AT[0], max((length for length in single if length <= P95_AT[1]), default=min(single))


def expected_seconds(preset: Preset, *, families: Sequence[str]) -> dict[str, float]:
    """A rough share of the time [s] per stage on two ordinary cores; the display corrects it as stages finish."""
    train, val, test = preset.sizes
    variants = 1 + len(families)
    whole_vocabulary_s = 10.0 if "static" in families else 2.0
    cells = len(preset.batches) * len(preset.lengths)
    return {
        "source": 1.0,
        "data": 2.0,
        "export": 12.0,
        "build": whole_vocabulary_s + 0.0015 * variants * (train + val),
        "evaluate": 0.002 * variants * test,
        "profile": 1.3 * variants * cells * preset.windows * preset.window_s,
        "publish": 2.0,
    }
