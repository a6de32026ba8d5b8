"""Graphs of a few nodes, on tensors of any kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = ("left", "right")


def write_arithmetic(file: Path, *, kind: str = "FLOAT") -> Path:
    """`sum` and `difference` of `left` and `right`, [rows, 2] of `kind`."""
    from onnx import helper

    nodes = [helper.make_node("Add", NAMES, ["sum"]), helper.make_node("Sub", NAMES, ["difference"])]
    return write_graph(file, nodes, inputs=dict.fromkeys(NAMES, kind), outputs={"sum": kind, "difference": kind})


def write_identity(file: Path, *, kind: str, shape: Sequence[int | str] = ("b", 2)) -> Path:
    """`out` is `given`, of `kind`."""
    from onnx import helper

    nodes = [helper.make_node("Identity", ["given"], ["out"])]
    return write_graph(file, nodes, inputs={"given": kind}, outputs={"out": kind}, shape=shape)


def write_graph(
    file: Path,
    nodes: Sequence[Any],
    *,
    inputs: dict[str, str],
    outputs: dict[str, str],
    shape: Sequence[int | str] = ("b", 2),
) -> Path:
    """A file with one graph; tensors by name with their ONNX element type, all of one shape."""
    import onnx
    from onnx import TensorProto, helper

    given, found = (
        [helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), shape) for name, kind in each.items()]
        for each in (inputs, outputs)
    )
    graph = helper.make_graph(list(nodes), "main", given, found)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file
