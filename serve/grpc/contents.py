"""Tensor data in protobuf: typed contents field by field, or raw bytes. Pure."""

from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.tensors import DTYPES, LONGEST_ELEMENT_BYTES, Array, Strings, Tensor, checked_finite

FIELDS = MappingProxyType(
    {
        "BOOL": "bool_contents",
        "INT8": "int_contents",
        "INT16": "int_contents",
        "INT32": "int_contents",
        "INT64": "int64_contents",
        "UINT8": "uint_contents",
        "UINT16": "uint_contents",
        "UINT32": "uint_contents",
        "UINT64": "uint64_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
        "BYTES": "bytes_contents",
    }
)
RAW_ONLY = frozenset(DTYPES) - FIELDS.keys()
NARROW = MappingProxyType({"INT8": (-128, 127), "INT16": (-32_768, 32_767), "UINT8": (0, 255), "UINT16": (0, 65_535)})
"""Ranges of the types that travel in a wider field."""


def typed_data(
    contents: pb.InferTensorContents, datatype: str, shape: tuple[int, ...], count: int, *, place: str
) -> Array | Strings:
    """The data in the one field that belongs to the datatype; raises InvalidRequest naming the field."""
    field = FIELDS.get(datatype)
    if field is None:
        raise InvalidRequest(f"{place}.contents: {datatype} has no typed contents; send it in raw_input_contents")
    for set_field, _ in contents.ListFields():
        if set_field.name != field:
            raise InvalidRequest(f"{place}.contents.{set_field.name}: {datatype} belongs into {field}")
    values = getattr(contents, field)
    if len(values) != count:
        raise InvalidRequest(
            f"{place}.contents.{field}: shape {list(shape)} needs {count:,} elements, got {len(values):,}"
        )
    if datatype == "BYTES":
        return _checked_strings(tuple(values), f"{place}.contents.{field}")
    if datatype in NARROW:
        return _narrowed(np.array(values, dtype=np.int64), datatype, f"{place}.contents.{field}").reshape(shape)
    array = np.array(values, dtype=DTYPES[datatype]).reshape(shape)
    checked_finite(array, datatype, place=f"{place}.contents.{field}")
    return array


def fill(contents: pb.InferTensorContents, tensor: Tensor) -> None:
    """Put a tensor's data into its typed field."""
    if isinstance(tensor.data, tuple):
        contents.bytes_contents.extend(each.encode() if isinstance(each, str) else each for each in tensor.data)
    else:
        getattr(contents, FIELDS[tensor.datatype]).extend(tensor.data.ravel().tolist())


def _checked_strings(strings: tuple[bytes, ...], place: str) -> tuple[bytes, ...]:
    for index, string in enumerate(strings):
        if len(string) > LONGEST_ELEMENT_BYTES:
            raise InvalidRequest(
                f"{place}[{index}]: up to {LONGEST_ELEMENT_BYTES:,} bytes per element are allowed, got {len(string):,}"
            )
    return strings


def _narrowed(values: npt.NDArray[np.int64], datatype: str, place: str) -> Array:
    least, most = NARROW[datatype]
    smallest, largest = int(values.min()), int(values.max())
    if smallest < least or largest > most:
        raise InvalidRequest(f"{place}: {datatype} is {least}..{most}, got {smallest}..{largest}")
    return values.astype(DTYPES[datatype])
