"""The static tier: one vector per token, taken from the encoder once; a request is a gather and a mean."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from greenserve.errors import GreenServeError
from greenserve.optimize.features import Floats, features_of
from greenserve.optimize.graph import IR_VERSION, strip

OPSET = 17
SMOOTHING = 1e-4
"""The `a` of the weight a / (a + p): tokens much more frequent than this count for less."""
BATCH = 256


def token_vectors(encoder_file: Path, *, prefix: tuple[int, ...], suffix: tuple[int, ...], vocab: int) -> Floats:
    """What the encoder says about each token id alone, between `prefix` and `suffix`; FP32 [vocab, hidden]."""
    return features_of(encoder_file, [(*prefix, token, *suffix) for token in range(vocab)], batch=BATCH)


def token_table(vectors: Floats, *, width: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """INT8 rows [vocab, width] and the scale of each column [width].

    Principal components (signs fixed by their largest entry), weighted by a / (a + p) with p from Zipf's law over the
    ids, which run from frequent to rare in a trained vocabulary.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, components = np.linalg.eigh(centred.T @ centred)
    components = components[:, ::-1][:, :width]
    largest = components[np.abs(components).argmax(axis=0), np.arange(width)]
    reduced = centred @ (components * np.sign(largest))
    frequency = 1.0 / np.arange(1, len(vectors) + 1)
    weighted = reduced * (SMOOTHING / (SMOOTHING + frequency / frequency.sum()))[:, None]
    scale = np.abs(weighted).max(axis=0) / 127
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise GreenServeError(f"the token vectors span fewer than {width} dimensions; leave the family 'static' out")
    return np.rint(weighted / scale).astype(np.int8), scale.astype(np.float32)


def write_static(table: npt.NDArray[np.int8], scale: npt.NDArray[np.float32], file: Path) -> dict[str, object]:
    """Write the graph from `input_ids` and `attention_mask` to `features`, FP32 [b, width]; the recipe's step.

    INT8 rows are gathered first and scaled after the mean: the other way round ONNX Runtime would fold the whole
    table to FP32 when it loads.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width = table.shape[1]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("Cast", ["rows"], ["vectors"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "one"], ["mask_row"]),
        helper.make_node("MatMul", ["mask_row", "vectors"], ["sum_row"]),
        helper.make_node("Squeeze", ["sum_row", "one"], ["sum"]),
        helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "least"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["mean"]),
        helper.make_node("Mul", ["mean", "scale"], ["features"]),
    ]
    constants = {"table": table, "scale": scale, "one": np.array([1]), "least": np.array(1.0, dtype=np.float32)}
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["b", width])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION), file)
    strip(file)
    return {"op": "static_table", "width": width, "reduction": "pca", "smoothing": SMOOTHING, "rows": "s8"}
