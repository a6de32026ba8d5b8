"""Small surgery on ONNX files: strip what is not the model, put a linear head on the features."""

from pathlib import Path
from typing import Any

import numpy as np

from greenserve.optimize.align import LEAST_NORM, Alignment
from greenserve.optimize.heads import Head
from greenserve.optimize.kinds import EMBEDDING, KINDS

IR_VERSION = 8
EMBEDDING_OUTPUT = KINDS[EMBEDDING].output


def strip(file: Path) -> None:
    """Remove documentation, metadata and producer from `file`: they hold local paths and change from run to run."""
    import onnx

    model = onnx.load(file)
    model.doc_string = model.domain = ""
    model.producer_name, model.producer_version = "greenserve", ""
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    model.graph.doc_string = ""
    model.graph.name = "main"
    for node in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        node.doc_string = ""
        if hasattr(node, "metadata_props"):
            del node.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, file)


def attach_head(features_file: Path, head: Head, file: Path) -> None:
    """Write `features_file` with `head` on its `features`; the one output is `logits`, FP32 [b, classes]."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(features_file)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(head.weights.astype(np.float32), "head.weights"),
            numpy_helper.from_array(head.bias.astype(np.float32), "head.bias"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["features", "head.weights"], ["head.product"], name="head.MatMul"),
            helper.make_node("Add", ["head.product", "head.bias"], ["logits"], name="head.Add"),
        ]
    )
    del model.graph.output[:]
    classes = len(head.bias)
    model.graph.output.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["b", classes]))
    onnx.save(model, file)
    strip(file)


def attach_embedding(features_file: Path, alignment: Alignment | None, file: Path) -> None:
    """Write `features_file` with the one output `sentence_embedding`, FP32 [b, dimensions], rows of length 1.

    Without an alignment the features are the embedding; with one, its map and the division by the norm are appended.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(features_file)
    if alignment is None:
        width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        _rename(model.graph, "features", EMBEDDING_OUTPUT)
    else:
        width = len(alignment.bias)
        constants = {
            "align.weights": alignment.weights.astype(np.float32),
            "align.bias": alignment.bias.astype(np.float32),
            "align.least": np.array(LEAST_NORM, dtype=np.float32),
        }
        model.graph.initializer.extend([numpy_helper.from_array(value, name) for name, value in constants.items()])
        nodes: tuple[tuple[str, list[str], str, dict[str, object]], ...] = (
            ("MatMul", ["features", "align.weights"], "align.product", {}),
            ("Add", ["align.product", "align.bias"], "align.sum", {}),
            ("ReduceL2", ["align.sum"], "align.norm", {"axes": [1], "keepdims": 1}),
            ("Max", ["align.norm", "align.least"], "align.divisor", {}),
            ("Div", ["align.sum", "align.divisor"], EMBEDDING_OUTPUT, {}),
        )
        model.graph.node.extend(
            [
                helper.make_node(kind, inputs, [output], name=f"align.{kind}", **options)
                for kind, inputs, output, options in nodes
            ]
        )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(EMBEDDING_OUTPUT, TensorProto.FLOAT, ["b", width]))
    onnx.save(model, file)
    strip(file)


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
