"""A torch encoder as an ONNX graph whose one output is the sentence's features; proven equal to torch."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenserve.errors import GreenServeError
from greenserve.inputs import pad
from greenserve.optimize.features import features_of
from greenserve.optimize.graph import strip
from greenserve.optimize.prune import keep_first_layers
from greenserve.optimize.sources import Source

OPSET = 17
MAX_DIFFERENCE = 1e-4
RAGGED_PROBES = ((1, 1), (1, 8), (3, 8), (7, 25))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An encoder on disk: its layers and parameters, and its largest difference to torch on ragged probes."""

    file: Path
    layers: int
    parameters: int
    max_difference: float


def load_encoder(source: Source, *, layers: int) -> Any:
    """The first `layers` layers of the source's encoder in torch FP32 with eager attention; opens no socket."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        encoder, report = AutoModel.from_pretrained(
            str(source.folder),
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            add_pooling_layer=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise GreenServeError(
            f"the weights of {source.id} cannot be read: {error}; fetch the model files again"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise GreenServeError(
            f"the weights of {source.id} lack {len(missing)} tensors that config.json asks for, "
            f"the first is {missing[0]!r}; fetch the model files again"
        )
    keep_first_layers(encoder, layers)
    return encoder.eval()


def export_encoder(source: Source, *, layers: int, file: Path) -> Exported:
    """Write `features` (mean pool, L2 norm; FP32 [b, hidden]) of the first `layers` layers to `file`.

    Raises GreenServeError where the graph differs from torch by more than 1e-4 on any ragged probe.
    """
    import torch

    model = _pooled(load_encoder(source, layers=layers))
    sample = _ragged(batch=2, length=8, vocabulary=source.architecture.vocab)
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            model,
            tuple(torch.from_numpy(array) for array in sample.values()),
            str(file),
            input_names=list(sample),
            output_names=["features"],
            dynamic_axes={"features": {0: "b"}} | {name: {0: "b", 1: "s"} for name in sample},
            opset_version=OPSET,
            dynamo=False,
        )
    strip(file)
    shapes = (*RAGGED_PROBES, (2, source.max_length))
    difference = max(_difference(model, file, shape, source.architecture.vocab) for shape in shapes)
    if not difference <= MAX_DIFFERENCE:
        raise GreenServeError(
            f"the exported graph of {source.id} differs from torch by {difference:.2g}; "
            f"at most {MAX_DIFFERENCE:g} is allowed. This architecture cannot be exported by this version"
        )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Exported(file=file, layers=layers, parameters=parameters, max_difference=difference)


def _pooled(encoder: Any) -> Any:
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)
            return mean / mean.pow(2).sum(1, keepdim=True).sqrt().clamp(min=1e-12)

    return Pooled().eval()


def _difference(model: Any, file: Path, shape: tuple[int, int], vocabulary: int) -> float:
    import torch

    batch = _ragged(batch=shape[0], length=shape[1], vocabulary=vocabulary)
    with torch.no_grad():
        wanted = model(*(torch.from_numpy(array) for array in batch.values())).numpy()
    rows = [ids[: int(mask.sum())] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    given = features_of(file, [tuple(map(int, row)) for row in rows])
    return float(np.abs(wanted - given).max()) if np.isfinite(given).all() else float("inf")


def _ragged(*, batch: int, length: int, vocabulary: int) -> dict[str, Any]:
    """Rows of random ids whose lengths fall from `length` towards 1."""
    random = np.random.default_rng(batch * 1000 + length)
    lengths: Sequence[int] = [max(1, length - 2 * index) for index in range(batch)]
    return dict(pad([random.integers(0, vocabulary, size).tolist() for size in lengths], length))


@contextmanager
def _quiet() -> Iterator[None]:
    """The legacy exporter announces its own deprecation and every traced branch; the ragged probes are the check."""
    from torch.jit import TracerWarning

    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning, TracerWarning):
            warnings.simplefilter("ignore", category)
        yield
