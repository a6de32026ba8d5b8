"""The binary tensor extension: a JSON head, then the bytes of the tensors that it announces, in their order."""

import math
from collections.abc import Mapping, Sequence

from greenserve.errors import InvalidRequest
from greenserve.manifest import TensorSpec
from greenserve.record import record
from greenserve.serve.http.json_tensors import kind, shown
from greenserve.serve.tensors import DTYPES, LONGEST_ELEMENT_BYTES, Tensor, data_of_raw

HEAD_LENGTH = "inference-header-content-length"
OCTETS = b"application/octet-stream"
SIZE = "binary_data_size"


@record(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which outputs leave as bytes: `named` by their own parameter, all others by `by_default`."""

    by_default: bool = False
    named: Mapping[str, bool]

    def binary(self, output: str) -> bool:
        """Whether an output leaves as bytes."""
        return self.named.get(output, self.by_default)


class Tail:
    """The bytes behind the JSON head, taken piece by piece.

    State: how far they are taken; moved by `take` alone.
    """

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._here = 0

    def take(self, size: object, *, place: str) -> memoryview:
        """The next `size` bytes; raises InvalidRequest naming `place`."""
        if type(size) is not int or size < 0:
            raise InvalidRequest(f"{place}: a number of bytes is needed, got {shown(size)}")
        left = len(self._content) - self._here
        if size > left:
            raise InvalidRequest(f"{place}: {size:,} bytes announced, {left:,} left in the body")
        piece = self._content[self._here : self._here + size]
        self._here += size
        return piece

    def end(self) -> None:
        """Nothing may be left."""
        left = len(self._content) - self._here
        if left:
            raise InvalidRequest(f"the body: {left:,} bytes follow the last tensor; announce them by {SIZE}")


def head_length(given: str | None, body: bytes) -> int | None:
    """Bytes of the JSON head by its header, None without one; raises InvalidRequest for a length beyond the body."""
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise InvalidRequest(f"Inference-Header-Content-Length: a number of bytes is needed, got {given!r:.80}")
    length = int(given)
    if length > len(body):
        raise InvalidRequest(f"Inference-Header-Content-Length: {length:,} is beyond the body of {len(body):,} bytes")
    return length


def raw_input(body: bytes, specs: Sequence[TensorSpec], *, most_elements: int) -> Tensor:
    """The one input of a model from a body of nothing but its bytes; raises InvalidRequest where that is ambiguous.

    A text model's body is one text. Of the axes without a size the last one follows from the length, others are 1.
    """
    place = "the raw body"
    if len(specs) != 1:
        raise InvalidRequest(
            f"{place}: the model has {len(specs)} inputs, {', '.join(spec.name for spec in specs)}; send a JSON head"
        )
    spec = specs[0]
    if spec.datatype == "BYTES":
        if math.prod(max(size, 1) for size in spec.shape) != 1:
            raise InvalidRequest(f"{place}: {spec.name} of shape {list(spec.shape)} takes several texts; send a head")
        if not 0 < len(body) <= LONGEST_ELEMENT_BYTES:
            raise InvalidRequest(f"{place}: 1..{LONGEST_ELEMENT_BYTES:,} bytes are allowed, got {len(body):,}")
        return Tensor(name=spec.name, datatype="BYTES", shape=(1,) * len(spec.shape), data=(body,))
    shape = _shape_of(body, spec, place)
    count = math.prod(shape)
    if count > most_elements:
        raise InvalidRequest(f"{place}: up to {most_elements:,} elements are allowed, got {count:,}")
    data = data_of_raw(body, spec.datatype, shape, count, place=place)
    return Tensor(name=spec.name, datatype=spec.datatype, shape=shape, data=data)


def _shape_of(body: bytes, spec: TensorSpec, place: str) -> tuple[int, ...]:
    open_axes = [axis for axis, size in enumerate(spec.shape) if size < 0]
    shape = [max(size, 1) for size in spec.shape]
    step = math.prod(shape) * DTYPES[spec.datatype].itemsize
    if not body or len(body) % step:
        raise InvalidRequest(
            f"{place}: {spec.name} is {spec.datatype} of shape {list(spec.shape)}: a multiple of {step} bytes is "
            f"needed, got {len(body):,}"
        )
    if open_axes:
        shape[open_axes[-1]] = len(body) // step
    return tuple(shape)


def wants_binary(parameters: Mapping[str, object], member: str, *, place: str) -> bool | None:
    """A true or false parameter, None where it is absent; raises InvalidRequest naming it."""
    wanted = parameters.get(member)
    if wanted is not None and type(wanted) is not bool:
        raise InvalidRequest(f"{place}.{member}: true or false is needed, got {kind(wanted)}")
    return wanted
