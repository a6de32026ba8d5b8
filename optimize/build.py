"""Every planned variant as a file: encoder, optional INT8, head fitted on the variant's own features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenserve.errors import GreenServeError, InvalidRequest
from greenserve.inputs import TextEncoder
from greenserve.optimize.export import OPSET, Exported, export_encoder
from greenserve.optimize.features import Floats, features_of
from greenserve.optimize.graph import attach_head
from greenserve.optimize.heads import Head, fit_head
from greenserve.optimize.plan import BASELINE, Planned
from greenserve.optimize.quantize import needs_reduced_range, quantize_dynamic, required_isa
from greenserve.optimize.setting import Setting
from greenserve.optimize.sources import Source
from greenserve.optimize.split import Rows
from greenserve.optimize.static import token_table, token_vectors, write_static

Tokens = tuple[tuple[int, ...], ...]
LEAST_GAIN_POINTS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The rows of one split as token ids, with the index of their class."""

    tokens: Tokens
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A variant on disk: its file, recipe, host needs, and how near its features are to the baseline's (None: other
    width); cosines over the validation rows."""

    planned: Planned
    file: Path
    steps: tuple[dict[str, object], ...]
    isa: tuple[str, ...]
    batch_invariant: bool
    mean_cosine: float | None
    min_cosine: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A variant that could not be built, and why."""

    planned: Planned
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a plan became."""

    built: tuple[Built, ...]
    broken: tuple[Broken, ...]


def encode(encoder: TextEncoder, rows: Rows) -> Encoded:
    """Token ids of the rows, cut as serving cuts them."""
    return Encoded(tokens=encoder.encode(rows.texts), labels=np.array(rows.labels, dtype=np.int64))


def export_encoders(source: Source, planned: Sequence[Planned], folder: Path) -> dict[int, Exported]:
    """One plain graph per number of layers that the plan asks for."""
    wanted = sorted({variant.layers for variant in planned if variant.layers is not None}, reverse=True)
    return {layers: export_encoder(source, layers=layers, file=folder / f"{layers}.onnx") for layers in wanted}


class Builder:
    """Builds variants of one source into `folder`, which holds one sub-folder per variant.

    State: `_baseline`, the baseline's validation features, set by the first call of `build`.
    """

    def __init__(
        self, *, setting: Setting, encoders: dict[int, Exported], folder: Path, scratch: Path, isa: tuple[str, ...]
    ) -> None:
        self._folder = folder
        self._scratch = scratch
        self._encoders = encoders
        self._text_encoder = setting.encoder
        self._vocab = setting.vocab
        self._classes = len(setting.dataset.labels)
        self._train = encode(setting.encoder, setting.dataset.splits.train)
        self._val = encode(setting.encoder, setting.dataset.splits.val)
        self._reduced_range = needs_reduced_range(isa)
        self._baseline: Floats | None = None

    def build_all(self, planned: Sequence[Planned]) -> Made:
        """Every variant in the order of the plan, baseline first."""
        results = [self.build(one) for one in planned]
        return Made(
            built=tuple(one for one in results if isinstance(one, Built)),
            broken=tuple(one for one in results if isinstance(one, Broken)),
        )

    def build(self, planned: Planned) -> Built | Broken:
        """The variant, or why it could not be built; a baseline that fails stops the run with GreenServeError."""
        try:
            features_file, steps = self._features_graph(planned)
            train = features_of(features_file, self._train.tokens)
            val = features_of(features_file, self._val.tokens)
            head = fit_head(
                train=train,
                train_labels=self._train.labels,
                val=val,
                val_labels=self._val.labels,
                classes=self._classes,
            )
            if planned.name == BASELINE:
                self._baseline = val
                self._check_head(head, val)
            file = self._folder / planned.name / "model.onnx"
            file.parent.mkdir(parents=True)
            attach_head(features_file, head, file)
        except GreenServeError as error:
            if planned.name == BASELINE:
                raise
            return Broken(planned=planned, reason=str(error))
        cosines = _cosines(self._baseline, val)
        dynamic = planned.family in {"int8-dyn", "drop"}
        return Built(
            planned=planned,
            file=file,
            steps=(*steps, _head_step(head)),
            isa=required_isa(reduced_range=self._reduced_range) if dynamic else (),
            batch_invariant=not dynamic,
            mean_cosine=None if cosines is None else float(cosines.mean()),
            min_cosine=None if cosines is None else float(cosines.min()),
        )

    def _features_graph(self, planned: Planned) -> tuple[Path, tuple[dict[str, object], ...]]:
        if planned.width is not None:
            return self._static_graph(planned.width)
        assert planned.layers is not None
        exported = self._encoders[planned.layers]
        steps: list[dict[str, object]] = []
        if planned.family == "drop":
            steps.append({"op": "keep_first_layers", "layers": planned.layers})
        steps.append({"op": "export", "path": "legacy-eager", "opset": OPSET})
        if planned.precision == "fp32":
            return exported.file, tuple(steps)
        file = self._scratch / f"{planned.name}.onnx"
        steps.append(quantize_dynamic(exported.file, file, reduced_range=self._reduced_range))
        return file, tuple(steps)

    def _static_graph(self, width: int) -> tuple[Path, tuple[dict[str, object], ...]]:
        deepest = self._encoders[max(self._encoders)]
        (around,) = self._text_encoder.encode([""])
        half = (len(around) + 1) // 2
        vectors = token_vectors(deepest.file, prefix=around[:half], suffix=around[half:], vocab=self._vocab)
        file = self._scratch / f"static-{width}.onnx"
        table, scale = token_table(vectors, width=width)
        return file, (write_static(table, scale, file),)

    def _check_head(self, head: Head, val: Floats) -> None:
        reached = 100 * float((head.logits(val).argmax(axis=1) == self._val.labels).mean())
        majority = 100 * float(np.bincount(self._val.labels).max()) / len(self._val.labels)
        if reached < majority + LEAST_GAIN_POINTS:
            raise InvalidRequest(
                f"the baseline reaches {reached:.1f} % on the validation rows, always answering the largest class "
                f"{majority:.1f} %; at least {LEAST_GAIN_POINTS:g} points more are needed. Check that the labels fit "
                "the texts, or give more rows"
            )


def _head_step(head: Head) -> dict[str, object]:
    return {"op": "fit_head", "method": "ridge", "lambda": head.penalty, "temperature": round(head.temperature, 6)}


def _cosines(baseline: Floats | None, given: Floats) -> Floats | None:
    if baseline is None or baseline.shape != given.shape:
        return None
    norms = np.linalg.norm(baseline, axis=1) * np.linalg.norm(given, axis=1)
    cosines: Floats = (baseline * given).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines
