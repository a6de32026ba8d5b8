"""The data of JSON tensors: nested or flat lists to arrays and texts, checked before anything is allocated."""

from collections.abc import Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from greenserve.errors import InvalidRequest
from greenserve.serve.tensors import DTYPES, LONGEST_ELEMENT_BYTES, Array, Strings

BYTES_PER_CHARACTER = 4
EXACT_IN_DOUBLE = 2**53
NEEDED = MappingProxyType({"b": "true or false", "i": "an integer", "u": "an integer", "f": "a number"})
ALLOWED = MappingProxyType(
    {"b": frozenset({bool}), "i": frozenset({int}), "u": frozenset({int}), "f": frozenset({int, float})}
)


def data_of_json(data: object, datatype: str, shape: tuple[int, ...], count: int, *, place: str) -> Array | Strings:
    """The `count` elements of a tensor, nested as `shape` says or flat in row-major order.

    Raises InvalidRequest naming `place`, for wrong lengths and types, integers out of range and floats that overflow.
    """
    if type(data) is not list:
        raise InvalidRequest(f"{place}: a list is needed, nested as the shape says or flat; got {kind(data)}")
    flat = _flat(data, shape, count, place)
    if datatype == "BYTES":
        return _texts(flat, place)
    if datatype == "BF16":
        raise InvalidRequest(f"{place}: BF16 has no form in JSON; send it as binary data")
    dtype = DTYPES[datatype]
    if dtype.kind in "iu" and float in set(map(type, flat)):
        flat = [whole(element) for element in flat]
    if wrong := set(map(type, flat)) - ALLOWED[dtype.kind]:
        index = next(index for index, element in enumerate(flat) if type(element) in wrong)
        raise InvalidRequest(f"{place}[{index}]: {NEEDED[dtype.kind]} is needed, got {shown(flat[index])}")
    if dtype.kind == "f":
        return _floats(flat, datatype, dtype, place).reshape(shape)
    if dtype.kind != "b" and flat:
        _check_range(flat, datatype, dtype, place)
    return np.array(flat, dtype=dtype).reshape(shape)


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    names = {type(None): "nothing", dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def shown(value: object) -> str:
    """A value for a message: itself where it is short, else what it is."""
    return kind(value) if isinstance(value, dict | list | None) else f"{value!r:.80}"


def whole(element: Any) -> Any:
    """JSON has one kind of number: 2.0 is 2, as far as a double is exact."""
    if type(element) is float and element.is_integer() and abs(element) <= EXACT_IN_DOUBLE:
        return int(element)
    return element


def _flat(data: list[Any], shape: tuple[int, ...], count: int, place: str) -> list[Any]:
    if len(shape) == 1 or not data or type(data[0]) is not list:
        if len(data) != count:
            raise InvalidRequest(f"{place}: shape {list(shape)} needs {count:,} elements, got {len(data):,}")
        return data
    level: list[Any] = [data]
    for axis, size in enumerate(shape):
        if set(map(type, level)) - {list}:
            raise InvalidRequest(f"{place}: shape {list(shape)} needs lists in {axis + 1} levels, or all of it flat")
        if lengths := set(map(len, level)) - {size}:
            raise InvalidRequest(
                f"{place}: shape {list(shape)} needs {size:,} elements in level {axis + 1}, got {min(lengths):,}"
            )
        level = list(chain.from_iterable(level))
    return level


def _texts(flat: list[Any], place: str) -> tuple[str, ...]:
    for index, text in enumerate(flat):
        if type(text) is not str:
            raise InvalidRequest(f"{place}[{index}]: a string is needed, got {shown(text)}")
        if len(text) * BYTES_PER_CHARACTER > LONGEST_ELEMENT_BYTES and len(text.encode()) > LONGEST_ELEMENT_BYTES:
            raise InvalidRequest(
                f"{place}[{index}]: up to {LONGEST_ELEMENT_BYTES:,} bytes per element, got {len(text.encode()):,}"
            )
    return tuple(flat)


def _check_range(flat: Sequence[int], datatype: str, dtype: np.dtype[Any], place: str) -> None:
    limits = np.iinfo(dtype)
    least, most = int(limits.min), int(limits.max)
    if min(flat) < least or max(flat) > most:
        index = next(index for index, element in enumerate(flat) if not least <= element <= most)
        raise InvalidRequest(f"{place}[{index}]: {datatype} holds {least}..{most}, got {flat[index]}")


def _floats(flat: list[Any], datatype: str, dtype: np.dtype[Any], place: str) -> Array:
    exact = np.array(flat, dtype=np.float64)
    if dtype == exact.dtype:
        array = exact
    else:
        with np.errstate(over="ignore"):
            array = exact.astype(dtype)
    finite = np.isfinite(array)
    if not finite.all():
        index = int(finite.argmin())
        raise InvalidRequest(f"{place}[{index}]: {flat[index]!r} is beyond the largest {datatype}")
    return array
