"""Named tensors as the protocols carry them, checked before anything is allocated for them."""

import struct
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from greenserve.errors import InvalidRequest
from greenserve.record import record

Array = npt.NDArray[np.generic]
Strings = tuple[str | bytes, ...]

DTYPES = MappingProxyType(
    {
        "BOOL": np.dtype("?"),
        "UINT8": np.dtype("<u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("<i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
        "BF16": np.dtype("<u2"),  # its bits; NumPy has no such type
    }
)
DATATYPES = (*DTYPES, "BYTES")
NAMES = MappingProxyType({dtype: name for name, dtype in DTYPES.items() if name != "BF16"})
MOST_DIMENSIONS = 16
MOST_INPUTS = 64
LONGEST_ELEMENT_BYTES = 1_048_576
LENGTH = struct.Struct("<I")
BF16_EXPONENT = np.uint16(0x7F80)


@record(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A named tensor. `data` is an array of `shape` for numbers, a flat tuple of texts for BYTES (row-major)."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | Strings

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.data) if isinstance(self.data, tuple) else self.data.size


def tensor_of(name: str, array: Array) -> Tensor:
    """The tensor of an array that an engine gave; strings become BYTES."""
    if array.dtype.kind in "OUS":
        flat = array.ravel().tolist()
        texts = tuple(element if isinstance(element, str | bytes) else str(element) for element in flat)
        return Tensor(name=name, datatype="BYTES", shape=array.shape, data=texts)
    return Tensor(name=name, datatype=NAMES[array.dtype.newbyteorder("<")], shape=array.shape, data=array)


def checked_shape(shape: object, *, place: str, most_elements: int) -> tuple[tuple[int, ...], int]:
    """(shape, number of elements) of a declared shape; raises InvalidRequest naming `place`."""
    if not isinstance(shape, Sequence) or isinstance(shape, str | bytes):
        raise InvalidRequest(f"{place}: a list of integers is needed, got {shape!r:.80}")
    if set(map(type, shape)) - {int} or (shape and min(shape) < 0):
        raise InvalidRequest(f"{place}: integers of at least 0 are needed, got {list(shape)!r:.80}")
    if not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise InvalidRequest(f"{place}: 1..{MOST_DIMENSIONS} dimensions are allowed, got {len(shape)}")
    count = 1
    for size in shape:
        count *= size
    if count > most_elements:
        raise InvalidRequest(f"{place}: up to {most_elements:,} elements are allowed, {list(shape)} has {count:,}")
    return tuple(shape), count


def checked_datatype(datatype: object, *, place: str) -> str:
    """A datatype of the protocol; raises InvalidRequest naming `place` and the allowed ones."""
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(f"{place}: one of {', '.join(DATATYPES)} is needed, got {datatype!r:.80}")
    return datatype


def checked_finite(array: Array, datatype: str, *, place: str) -> None:
    """Floats are numbers: raises InvalidRequest for NaN and infinities."""
    if datatype == "BF16":
        finite = bool((np.bitwise_and(array.view(np.uint16), BF16_EXPONENT) != BF16_EXPONENT).all())
    else:
        finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
    if not finite:
        raise InvalidRequest(f"{place}: finite numbers are needed, got NaN or infinity among them")


def data_of_raw(
    raw: bytes | memoryview, datatype: str, shape: tuple[int, ...], count: int, *, place: str
) -> Array | Strings:
    """The `count` elements of a tensor from little-endian row-major bytes; raises InvalidRequest naming `place`.

    Numbers are not copied. BYTES elements carry a length of four bytes each.
    """
    if datatype == "BYTES":
        return _strings_of_raw(raw, shape, count, place)
    dtype = DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise InvalidRequest(
            f"{place}: {datatype} of shape {list(shape)} needs {count * dtype.itemsize:,} bytes, got {len(raw):,}"
        )
    if datatype == "BOOL" and count and np.frombuffer(raw, np.uint8).max() > 1:
        raise InvalidRequest(f"{place}: the bytes of BOOL are 0 or 1, got {np.frombuffer(raw, np.uint8).max()}")
    array = np.frombuffer(raw, dtype).reshape(shape)
    checked_finite(array, datatype, place=place)
    return array


def raw_of(tensor: Tensor) -> bytes:
    """The little-endian row-major bytes of a tensor, as both protocols' binary forms carry them."""
    data = tensor.data
    if isinstance(data, tuple):
        elements = [element.encode() if isinstance(element, str) else element for element in data]
        return b"".join(LENGTH.pack(len(element)) + element for element in elements)
    return data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()


def _strings_of_raw(raw: bytes | memoryview, shape: tuple[int, ...], count: int, place: str) -> tuple[bytes, ...]:
    elements: list[bytes] = []
    here, end = 0, len(raw)
    while here < end:
        if here + LENGTH.size > end:
            raise InvalidRequest(f"{place}: a length of 4 bytes is cut off at byte {here}")
        (length,) = LENGTH.unpack_from(raw, here)
        here += LENGTH.size
        if length > LONGEST_ELEMENT_BYTES:
            raise InvalidRequest(f"{place}: up to {LONGEST_ELEMENT_BYTES:,} bytes per element, {length:,} announced")
        if length > end - here:
            raise InvalidRequest(f"{place}: {length:,} bytes announced at byte {here - LENGTH.size}, {end - here} left")
        if len(elements) == count:
            raise InvalidRequest(f"{place}: shape {list(shape)} needs {count:,} elements, more are sent")
        elements.append(bytes(raw[here : here + length]))
        here += length
    if len(elements) != count:
        raise InvalidRequest(f"{place}: shape {list(shape)} needs {count:,} elements, got {len(elements):,}")
    return tuple(elements)
