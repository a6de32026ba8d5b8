"""Every planned variant as a file: encoder, optional INT8, and what its task puts on the features."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from greenserve.errors import GreenServeError
from greenserve.optimize.align import cosines
from greenserve.optimize.export import OPSET, Exported, export_encoder
from greenserve.optimize.features import Floats
from greenserve.optimize.finish import Finisher
from greenserve.optimize.plan import BASELINE, Planned
from greenserve.optimize.quantize import needs_reduced_range, quantize_dynamic, required_isa
from greenserve.optimize.setting import Setting
from greenserve.optimize.sources import Source
from greenserve.optimize.static import token_table, token_vectors, write_static


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A variant on disk: its file, recipe, host needs, and how near its vectors are to the baseline's (None: other
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


def export_encoders(source: Source, planned: Sequence[Planned], folder: Path) -> dict[int, Exported]:
    """One plain graph per number of layers that the plan asks for."""
    wanted = sorted({variant.layers for variant in planned if variant.layers is not None}, reverse=True)
    return {layers: export_encoder(source, layers=layers, file=folder / f"{layers}.onnx") for layers in wanted}


class Builder:
    """Builds variants of one source into `folder`, which holds one sub-folder per variant.

    State: `_baseline`, the baseline's validation vectors, set by the first call of `build`.
    """

    def __init__(
        self,
        *,
        setting: Setting,
        finisher: Finisher,
        encoders: dict[int, Exported],
        folder: Path,
        scratch: Path,
        isa: tuple[str, ...],
    ) -> None:
        self._finisher = finisher
        self._folder = folder
        self._scratch = scratch
        self._encoders = encoders
        self._text_encoder = setting.encoder
        self._vocab = setting.vocab
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
            file = self._folder / planned.name / "model.onnx"
            file.parent.mkdir(parents=True)
            finished = self._finisher.finish(planned, features_file, file)
            if planned.name == BASELINE:
                self._baseline = finished.val
        except GreenServeError as error:
            if planned.name == BASELINE:
                raise
            shutil.rmtree(self._folder / planned.name, ignore_errors=True)
            return Broken(planned=planned, reason=str(error))
        near = _cosines(self._baseline, finished.val)
        dynamic = planned.family in {"int8-dyn", "drop"}
        return Built(
            planned=planned,
            file=file,
            steps=(*steps, *finished.steps),
            isa=required_isa(reduced_range=self._reduced_range) if dynamic else (),
            batch_invariant=not dynamic,
            mean_cosine=None if near is None else float(near.mean()),
            min_cosine=None if near is None else float(near.min()),
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


def _cosines(baseline: Floats | None, given: Floats) -> npt.NDArray[np.float64] | None:
    return None if baseline is None or baseline.shape != given.shape else cosines(baseline, given)
