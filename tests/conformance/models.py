"""The models that the unmodified clients ask: small graphs with every datatype, and manifests like the optimizer's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from greenserve.host import describe_host
from greenserve.manifest import file_ref, variant_digest
from tests.tiny_model import write_tiny_model

ENGINE = MappingProxyType({"kind": "onnxruntime", "provider": "CPUExecutionProvider", "intra_op_threads": 1})
ELEMENT_TYPES = MappingProxyType(
    {
        "BOOL": TensorProto.BOOL,
        "UINT8": TensorProto.UINT8,
        "UINT16": TensorProto.UINT16,
        "UINT32": TensorProto.UINT32,
        "UINT64": TensorProto.UINT64,
        "INT8": TensorProto.INT8,
        "INT16": TensorProto.INT16,
        "INT32": TensorProto.INT32,
        "INT64": TensorProto.INT64,
        "FP16": TensorProto.FLOAT16,
        "FP32": TensorProto.FLOAT,
        "FP64": TensorProto.DOUBLE,
        "BYTES": TensorProto.STRING,
    }
)
WIDTH = 16
DIMENSIONS = 8
SLOW_WIDTH = 256
SLOW_ROUNDS = 60_000
MODEL_NAMES = ("tiny", "tiny-embed", "simple", "simple_string", "simple_identity", "every_type", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A tensor of a graph: name, datatype of the protocol, shape with -1 for the batch axis."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def value_info(self) -> Any:
        """The tensor as a graph declares it."""
        rest = ["s" if size == -1 else size for size in self.shape[1:]]
        return helper.make_tensor_value_info(self.name, ELEMENT_TYPES[self.datatype], ["b", *rest])

    @property
    def document(self) -> dict[str, object]:
        """The tensor as a manifest declares it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A model to write: its tensors, nodes and constants, and about how long a batch takes [s]."""

    name: str
    inputs: Sequence[Spec]
    outputs: Sequence[Spec]
    nodes: Sequence[NodeProto]
    constants: Mapping[str, np.ndarray[Any, Any]]
    seconds: float = 1e-4

    def serialized(self) -> bytes:
        """The model file's bytes."""
        graph = helper.make_graph(
            list(self.nodes),
            self.name,
            [spec.value_info for spec in self.inputs],
            [spec.value_info for spec in self.outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        checker.check_model(model)
        return bytes(model.SerializeToString())


def write_models(folder: Path) -> dict[str, Path]:
    """Write all models below `folder`; {name: path of its manifest}."""
    tiny = write_tiny_model(folder / "tiny")
    tokenizer = (tiny.parent / "tokenizer.json").read_text()
    made = {"tiny": tiny, "tiny-embed": _write_embedding(folder / "tiny-embed", tokenizer)}
    for graph in (_simple(), _simple_string(), _simple_identity(), _every_type(), _slow()):
        made[graph.name] = _write_tensor_model(folder / graph.name, graph)
    return made


def _simple() -> Graph:
    """Sum and difference of two rows of integers."""
    shape = (-1, WIDTH)
    return Graph(
        name="simple",
        inputs=[Spec(name=name, datatype="INT32", shape=shape) for name in ("INPUT0", "INPUT1")],
        outputs=[Spec(name=name, datatype="INT32", shape=shape) for name in ("OUTPUT0", "OUTPUT1")],
        nodes=[
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        constants={},
    )


def _simple_string() -> Graph:
    """Sum and difference of integers that are written as text."""
    shape = (-1, WIDTH)
    read = [helper.make_node("Cast", [f"INPUT{n}"], [f"in{n}"], to=TensorProto.INT32) for n in (0, 1)]
    written = [helper.make_node("Cast", [f"out{n}"], [f"OUTPUT{n}"], to=TensorProto.STRING) for n in (0, 1)]
    return Graph(
        name="simple_string",
        inputs=[Spec(name=name, datatype="BYTES", shape=shape) for name in ("INPUT0", "INPUT1")],
        outputs=[Spec(name=name, datatype="BYTES", shape=shape) for name in ("OUTPUT0", "OUTPUT1")],
        nodes=[
            *read,
            helper.make_node("Add", ["in0", "in1"], ["out0"]),
            helper.make_node("Sub", ["in0", "in1"], ["out1"]),
            *written,
        ],
        constants={},
    )


def _simple_identity() -> Graph:
    """One tensor in, the same out: what a raw body can carry."""
    shape = (-1, WIDTH)
    return Graph(
        name="simple_identity",
        inputs=[Spec(name="INPUT0", datatype="FP32", shape=shape)],
        outputs=[Spec(name="OUTPUT0", datatype="FP32", shape=shape)],
        nodes=[helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        constants={},
    )


def _every_type() -> Graph:
    """A tensor of every datatype in, the same out."""
    return Graph(
        name="every_type",
        inputs=[Spec(name=f"IN_{name}", datatype=name, shape=(-1, 2)) for name in ELEMENT_TYPES],
        outputs=[Spec(name=f"OUT_{name}", datatype=name, shape=(-1, 2)) for name in ELEMENT_TYPES],
        nodes=[helper.make_node("Identity", [f"IN_{name}"], [f"OUT_{name}"]) for name in ELEMENT_TYPES],
        constants={},
    )


def _slow() -> Graph:
    """Long enough (some hundred milliseconds) to be cancelled on the way; the answer is its input."""
    state = ["b", SLOW_WIDTH]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "one"], ["next"]),
            helper.make_node("Identity", ["going"], ["going_on"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, state),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, state),
        ],
    )
    return Graph(
        name="slow",
        inputs=[Spec(name="INPUT0", datatype="FP32", shape=(-1, WIDTH))],
        outputs=[Spec(name="OUTPUT0", datatype="FP32", shape=(-1, WIDTH))],
        nodes=[
            helper.make_node("MatMul", ["INPUT0", "widen"], ["start"]),
            helper.make_node("Loop", ["rounds", "", "start"], ["end"], body=body),
            helper.make_node("MatMul", ["end", "narrow"], ["OUTPUT0"]),
        ],
        constants={
            "widen": np.eye(WIDTH, SLOW_WIDTH, dtype=np.float32),
            "one": np.eye(SLOW_WIDTH, dtype=np.float32),
            "narrow": np.eye(SLOW_WIDTH, WIDTH, dtype=np.float32),
            "rounds": np.array(SLOW_ROUNDS, dtype=np.int64),
        },
        seconds=0.2,
    )


def _embedding() -> Graph:
    """Each known word turns the vector towards one axis; its length is always one."""
    table = np.full((128, DIMENSIONS), 0.1, dtype=np.float32)
    table[1:5, :4] += np.eye(4, dtype=np.float32)
    tokens = Spec(name="input_ids", datatype="INT64", shape=(-1, -1))
    mask = Spec(name="attention_mask", datatype="INT64", shape=(-1, -1))
    return Graph(
        name="tiny-embed",
        inputs=[tokens, mask],
        outputs=[Spec(name="sentence_embedding", datatype="FP32", shape=(-1, DIMENSIONS))],
        nodes=[
            helper.make_node("Gather", ["table", "input_ids"], ["hidden"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask3"]),
            helper.make_node("Mul", ["hidden", "mask3"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "tokens_axis"], ["summed"], keepdims=0),
            helper.make_node("ReduceL2", ["summed"], ["length"], axes=[1], keepdims=1),
            helper.make_node("Div", ["summed", "length"], ["sentence_embedding"]),
        ],
        constants={"table": table, "last_axis": np.array([2]), "tokens_axis": np.array([1])},
    )


def _write_embedding(folder: Path, tokenizer: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer)
    preprocessing = {
        "kind": "text",
        "max_length": 64,
        "truncate": "error",
        "buckets": [8, 16, 64],
        "files": [_reference(folder, folder / "tokenizer.json")],
    }
    graph = _embedding()
    members = {
        "task": "text-embedding",
        "preprocessing": preprocessing,
        "embedding": {"dimensions": DIMENSIONS, "matryoshka": False},
    }
    return _write(folder, graph, members)


def _write_tensor_model(folder: Path, graph: Graph) -> Path:
    folder.mkdir(parents=True)
    members = {
        "task": "tensor",
        "preprocessing": None,
        "inputs": [spec.document for spec in graph.inputs],
        "outputs": [spec.document for spec in graph.outputs],
    }
    return _write(folder, graph, members)


def _write(folder: Path, graph: Graph, members: Mapping[str, Any]) -> Path:
    """The graph's file and a manifest of one variant, `fp32`."""
    model = folder / "fp32" / "model.onnx"
    model.parent.mkdir()
    model.write_bytes(graph.serialized())
    document = {
        "schema": "greenserve.manifest/1",
        "name": graph.name,
        "version": 1,
        "labels": [],
        "baseline": "fp32",
        "recommended": "fp32",
        "front": ["fp32"],
        "variants": [_variant(folder, model, graph, members["preprocessing"] or {})],
        **members,
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(document, indent=1))
    return path


def _variant(folder: Path, model: Path, graph: Graph, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    per_item_s = graph.seconds / 10
    return {
        "name": "fp32",
        "digest": variant_digest((file_ref(folder, model),), preprocessing, ENGINE),
        "family": "fp32",
        "precision": "fp32",
        "files": [_reference(folder, model)],
        "engine": dict(ENGINE),
        "quality": {"metric": "agreement", "value": 1.0, "value_low": 1.0, "verdict": "pass"},
        "properties": {"max_batch": 8, "batch_invariant": True},
        "profiles": [
            {
                "fingerprint": str(describe_host()["fingerprint"]),
                "tier": "class_average",
                "t_s": [graph.seconds, per_item_s, 0.0, 0.0],
                "e_dynamic_j": [4 * graph.seconds, 4 * per_item_s, 0.0, 0.0],
                "q99": 2.0,
                "idle_w": None,
                "held_w": None,
            }
        ],
    }


def _reference(folder: Path, path: Path) -> dict[str, Any]:
    reference = file_ref(folder, path)
    return {"path": reference.path, "bytes": reference.bytes, "sha256": reference.sha256}
