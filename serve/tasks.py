"""What a model does, seen from the wire: which tensors it takes, what its answers look like. Pure."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from greenserve.errors import InvalidRequest, ManifestInvalid
from greenserve.inputs import TextEncoder, softmax
from greenserve.manifest import Manifest, TensorSpec
from greenserve.ports import Arrays
from greenserve.records import Item, TensorItem
from greenserve.serve.call import Call
from greenserve.serve.tensors import DTYPES, Array, Tensor, tensor_of

TEXT = TensorSpec(name="text", datatype="BYTES", shape=(-1,))
TOKENS = (
    TensorSpec(name="input_ids", datatype="INT64", shape=(-1, -1)),
    TensorSpec(name="attention_mask", datatype="INT64", shape=(-1, -1)),
)
LONGEST_TEXT = 1_048_576
INTEGERS = frozenset({"INT32", "INT64", "UINT32", "UINT64"})


class Task(Protocol):
    """A model's inputs and outputs; `outputs` are answered where a call names none, `offered` are all it may name."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    offered: frozenset[str]

    def rows(self, call: Call) -> tuple[Item, ...]:
        """The call's items; raises InvalidRequest naming the field, what was given and what is allowed."""

    def finish(self, arrays: Arrays) -> Arrays:
        """What a batch's graph gave, [rows, ...] by name, with what the answers are made of."""

    def encode(self, arrays: Arrays, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The outputs `names` of an answer, in that order."""


def task_of(manifest: Manifest, encoder: TextEncoder | None, *, max_items: int) -> Task:
    """The task of a model; `max_items` is the most that one request may hold."""
    if manifest.task == "tensor":
        return Tensors(manifest.inputs, manifest.outputs, max_items=max_items)
    if encoder is None:
        raise ManifestInvalid(f"{manifest.name} is a {manifest.task} model and names no tokenizer")
    if manifest.embedding is not None:
        return TextEmbedding(encoder, manifest.embedding.dimensions, max_items=max_items)
    return TextClassification(encoder, manifest.labels, max_items=max_items)


class TextClassification:
    """Texts, or their token ids, to the likeliest label and the probabilities of all."""

    def __init__(self, encoder: TextEncoder, labels: Sequence[str], *, max_items: int) -> None:
        self._texts = _Texts(encoder, max_items=max_items)
        self._labels = tuple(labels)
        self.inputs: tuple[TensorSpec, ...] = (TEXT,)
        self.outputs: tuple[TensorSpec, ...] = (
            TensorSpec(name="label", datatype="BYTES", shape=(-1,)),
            TensorSpec(name="probabilities", datatype="FP32", shape=(-1, len(labels))),
        )
        self.offered = frozenset({"label", "probabilities", "logits"})

    def rows(self, call: Call) -> tuple[Item, ...]:
        """Token ids of each text."""
        return self._texts.rows(call)

    def finish(self, arrays: Arrays) -> Arrays:
        """`logits` and their `probabilities`, FP32 [rows, classes]."""
        logits = arrays["logits"].astype("<f4", copy=False)
        return {"logits": logits, "probabilities": softmax(logits)}

    def encode(self, arrays: Arrays, names: Sequence[str]) -> tuple[Tensor, ...]:
        """`label` BYTES [n], `probabilities` and `logits` FP32 [n, classes]."""
        return tuple(self._label(arrays) if name == "label" else tensor_of(name, arrays[name]) for name in names)

    def _label(self, arrays: Arrays) -> Tensor:
        best = arrays["probabilities"].argmax(axis=1).tolist()
        labels = tuple(map(self._labels.__getitem__, best))
        return Tensor(name="label", datatype="BYTES", shape=(len(labels),), data=labels)


class TextEmbedding:
    """Texts, or their token ids, to vectors of length 1."""

    def __init__(self, encoder: TextEncoder, dimensions: int, *, max_items: int) -> None:
        self._texts = _Texts(encoder, max_items=max_items)
        self.inputs: tuple[TensorSpec, ...] = (TEXT,)
        self.outputs: tuple[TensorSpec, ...] = (
            TensorSpec(name="sentence_embedding", datatype="FP32", shape=(-1, dimensions)),
        )
        self.offered = frozenset({"sentence_embedding"})

    def rows(self, call: Call) -> tuple[Item, ...]:
        """Token ids of each text."""
        return self._texts.rows(call)

    def finish(self, arrays: Arrays) -> Arrays:
        """`sentence_embedding` FP32 [rows, dimensions]: pooled and normalised in the graph."""
        return {"sentence_embedding": arrays["sentence_embedding"].astype("<f4", copy=False)}

    def encode(self, arrays: Arrays, names: Sequence[str]) -> tuple[Tensor, ...]:
        """`sentence_embedding` FP32 [n, dimensions]."""
        return tuple(tensor_of(name, arrays[name]) for name in names)


class Tensors:
    """The model's own tensors in and out, slice by slice along the batch axis."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, max_items: int) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.offered = frozenset(spec.name for spec in outputs)
        self._max_items = max_items

    def rows(self, call: Call) -> tuple[Item, ...]:
        """One item per index of the batch axis."""
        if call.token_rows is not None:
            raise InvalidRequest(f"model {call.model} takes {_names(self.inputs)}, no token ids")
        given = _by_name(call.inputs, {spec.name for spec in self.inputs})
        if missing := [spec.name for spec in self.inputs if spec.name not in given]:
            raise InvalidRequest(
                f"inputs: {', '.join(missing)} missing; model {call.model} takes {_names(self.inputs)}"
            )
        arrays = [_array_for(spec, given[spec.name]) for spec in self.inputs]
        counts = {len(array) for array in arrays}
        if len(counts) != 1:
            raise InvalidRequest(f"inputs: the first axes differ, got {sorted(counts)}; it is the batch, one for all")
        _check_count(counts.pop(), self._max_items, call.inputs[0].name)
        return tuple(map(TensorItem, zip(*arrays, strict=True)))

    def finish(self, arrays: Arrays) -> Arrays:
        """What the graph gave."""
        return arrays

    def encode(self, arrays: Arrays, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The graph's outputs."""
        return tuple(tensor_of(name, arrays[name]) for name in names)


class _Texts:
    """Reads `text`, or `input_ids` with an optional `attention_mask`."""

    def __init__(self, encoder: TextEncoder, *, max_items: int) -> None:
        self._encoder = encoder
        self._max_items = max_items

    def rows(self, call: Call) -> tuple[Item, ...]:
        if call.token_rows is not None:
            return self._checked(call.token_rows)
        if len(call.inputs) == 1 and call.inputs[0].name == "text":
            return self._encoder.encode(self._texts(call.inputs[0]))
        given = _by_name(call.inputs, {"text", "input_ids", "attention_mask"})
        if "text" in given or "input_ids" not in given:
            raise InvalidRequest("inputs: `text`, or `input_ids` with or without `attention_mask`, is needed")
        return self._checked(self._unpadded(given["input_ids"], given.get("attention_mask")))

    def _texts(self, tensor: Tensor) -> list[str]:
        if tensor.datatype != "BYTES" or not isinstance(tensor.data, tuple):
            raise InvalidRequest(f"inputs.text: datatype BYTES is needed, got {tensor.datatype}")
        if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise InvalidRequest(f"inputs.text: shape [n] or [n, 1] is needed, got {list(tensor.shape)}")
        _check_count(tensor.shape[0], self._max_items, "text")
        texts = []
        for index, element in enumerate(tensor.data):
            text = element if isinstance(element, str) else _decoded(element, "text", index)
            if not 0 < len(text) <= LONGEST_TEXT:
                raise InvalidRequest(f"text[{index}]: 1..{LONGEST_TEXT:,} characters are allowed, got {len(text):,}")
            texts.append(text)
        return texts

    def _unpadded(self, ids: Tensor, mask: Tensor | None) -> Sequence[tuple[int, ...]]:
        for tensor in (ids, mask) if mask is not None else (ids,):
            if tensor.datatype not in INTEGERS or isinstance(tensor.data, tuple):
                raise InvalidRequest(
                    f"inputs.{tensor.name}: one of {', '.join(sorted(INTEGERS))} is needed, got {tensor.datatype}"
                )
            if len(tensor.shape) != 2:
                raise InvalidRequest(f"inputs.{tensor.name}: shape [n, tokens] is needed, got {list(tensor.shape)}")
        assert not isinstance(ids.data, tuple)
        if mask is None:
            return [tuple(row) for row in ids.data.tolist()]
        assert not isinstance(mask.data, tuple)
        if mask.shape != ids.shape:
            raise InvalidRequest(
                f"inputs.attention_mask: the shape of input_ids, {list(ids.shape)}, is needed, got {list(mask.shape)}"
            )
        kept = mask.data != 0
        lengths = kept.sum(axis=1)
        if (kept != (np.arange(ids.shape[1]) < lengths[:, None])).any():
            raise InvalidRequest("inputs.attention_mask: ones come first in each row, then zeros")
        return [tuple(row[:length]) for row, length in zip(ids.data.tolist(), lengths.tolist(), strict=True)]

    def _checked(self, rows: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        _check_count(len(rows), self._max_items, "input_ids")
        return self._encoder.checked(rows)


def _by_name(tensors: Sequence[Tensor], allowed: set[str]) -> Mapping[str, Tensor]:
    given = {tensor.name: tensor for tensor in tensors}
    if len(given) < len(tensors):
        raise InvalidRequest(
            f"inputs: each name may stand once, got {', '.join(tensor.name for tensor in tensors):.80}"
        )
    if unknown := sorted(set(given) - allowed):
        raise InvalidRequest(f"inputs: no input {unknown[0]!r:.80}; there are {', '.join(sorted(allowed))}")
    if not given:
        raise InvalidRequest(f"inputs: at least one tensor is needed; there are {', '.join(sorted(allowed))}")
    return given


def _array_for(spec: TensorSpec, tensor: Tensor) -> Array:
    if tensor.datatype != spec.datatype:
        raise InvalidRequest(f"inputs.{spec.name}: datatype {spec.datatype} is needed, got {tensor.datatype}")
    fits = len(tensor.shape) == len(spec.shape) and all(
        wanted in {-1, size} for wanted, size in zip(spec.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise InvalidRequest(f"inputs.{spec.name}: shape {list(spec.shape)} is needed, got {list(tensor.shape)}")
    if isinstance(tensor.data, tuple):
        texts = [
            _decoded(each, tensor.name, index) if isinstance(each, bytes) else each
            for index, each in enumerate(tensor.data)
        ]
        return np.array(texts, dtype=object).reshape(tensor.shape)
    return tensor.data.astype(DTYPES[spec.datatype], copy=False)


def _check_count(count: int, most: int, name: str) -> None:
    if not 1 <= count <= most:
        raise InvalidRequest(f"inputs.{name}: 1..{most} items are allowed in one request, got {count}")


def _decoded(element: bytes, name: str, index: int) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name}[{index}]: not UTF-8 at byte {error.start}") from None


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
