"""Small surgery on ONNX files: strip what is not the model, put a linear head on the features."""

from pathlib import Path

import numpy as np

from greenserve.optimize.heads import Head

IR_VERSION = 8


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
