"""What goes into a model's graph and what must come out, from its manifest; and a batch as such arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenserve.inputs import pad
from greenserve.manifest import Manifest, TensorSpec
from greenserve.records import Batch, TensorItem

Feeds = Mapping[str, npt.NDArray[np.generic]]
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TEXT_OUTPUTS: Mapping[str, str] = {"text-classification": "logits", "text-embedding": "sentence_embedding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The tensors that a graph must take (None: token ids of texts) and the outputs that it must give."""

    inputs: tuple[TensorSpec, ...] | None
    outputs: tuple[str, ...]
    datatypes: Mapping[str, str]


def signature_of(manifest: Manifest) -> Signature:
    """What the engine of every variant of this model is held to; `datatypes` are the outputs' where declared."""
    if manifest.task == "tensor":
        declared = {spec.name: spec.datatype for spec in manifest.outputs}
        return Signature(inputs=manifest.inputs, outputs=tuple(declared), datatypes=declared)
    return Signature(inputs=None, outputs=(TEXT_OUTPUTS[manifest.task],), datatypes={})


def feeds_of(batch: Batch) -> dict[str, npt.NDArray[np.generic]]:
    """Token ids padded to the batch's length with their mask, or the items' tensors stacked along the batch axis."""
    first = batch.rows[0]
    if isinstance(first, TensorItem):
        items = [row for row in batch.rows if isinstance(row, TensorItem)]
        return {name: np.stack([item.arrays[place] for item in items]) for place, name in enumerate(batch.input_names)}
    return dict(pad([row for row in batch.rows if isinstance(row, tuple)], batch.padded_length))
