"""One way to ask through all four of tritonclient's classes, so that a call is written once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.utils import np_to_triton_dtype

from tests.conformance.calls import Target, settled

Array = np.ndarray[Any, Any]
Inputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A connected client, the module that its tensors come from, and whom it asks."""

    client: Any
    library: Any
    target: Target
    is_grpc: bool

    async def document(self, method: str, *arguments: object) -> dict[str, Any]:
        """What a method that reads state returns, as a dictionary."""
        options: dict[str, object] = {"as_json": True} if self.is_grpc else {}
        found: dict[str, Any] = await settled(getattr(self.client, method)(*arguments, **options))
        return found

    def tensor(self, name: str, array: Array, *, binary: bool = True) -> Any:
        """An input tensor; `binary` counts over HTTP only."""
        made = self.library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        options = {} if self.is_grpc else {"binary_data": binary}
        made.set_data_from_numpy(array, **options)
        return made

    def tensors(self, inputs: Inputs, *, binary: bool = True) -> list[Any]:
        """All input tensors of a call."""
        return [self.tensor(name, array, binary=binary) for name, array in inputs.items()]

    def wanted(self, names: Sequence[str], *, binary: bool = True) -> list[Any]:
        """The outputs to ask for."""
        options = {} if self.is_grpc else {"binary_data": binary}
        return [self.library.InferRequestedOutput(name, **options) for name in names]

    async def infer(self, model: str, inputs: Inputs, **options: Any) -> Any:
        """An inference with acme's key; `options` go to the client as they are."""
        options.setdefault("headers", self.target.bearer())
        return await settled(self.client.infer(model, self.tensors(inputs), **options))

    def status(self, http: str, grpc: str) -> str:
        """How an error's status reads here."""
        return f"StatusCode.{grpc}" if self.is_grpc else http


def integers() -> dict[str, Array]:
    """The two inputs of `simple`."""
    return {"INPUT0": np.arange(16, dtype=np.int32)[None, :], "INPUT1": np.full((1, 16), 3, dtype=np.int32)}


def written_integers() -> dict[str, Array]:
    """The two inputs of `simple_string`."""
    return {name: array.astype(str).astype(np.object_) for name, array in integers().items()}


def texts(*words: str) -> dict[str, Array]:
    """The input of a text model."""
    return {"text": np.array([word.encode() for word in words], dtype=np.object_)}


def check_array(expected: Array | Sequence[Any], actual: Array) -> None:
    """Raise unless both hold the same values in the same shape."""
    wanted = np.asarray(expected)
    if actual is None:
        raise AssertionError("the output is not in the answer")
    if wanted.shape != actual.shape or not np.array_equal(wanted, actual):
        raise AssertionError(f"expected {wanted.shape} {wanted!r:.200}, got {actual.shape} {actual!r:.200}")


def check_simple(result: Any) -> None:
    """Raise unless an answer of `simple` to `integers()` is right."""
    given = integers()
    check_array(given["INPUT0"] + given["INPUT1"], result.as_numpy("OUTPUT0"))
    check_array(given["INPUT0"] - given["INPUT1"], result.as_numpy("OUTPUT1"))
