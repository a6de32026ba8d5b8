"""A model small enough for tests, with everything that a real one has: graphs, tokenizer, manifest, three variants."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from greenserve.host import describe_host
from greenserve.manifest import file_ref, variant_digest

LABELS = ("negative", "neutral", "positive")
WORDS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {"bad": (2.0, 0.0, 0.0), "awful": (4.0, 0.0, 0.0), "good": (0.0, 0.0, 2.0), "great": (0.0, 0.0, 4.0)}
)
VOCABULARY = 128  # over 101, the token that engines warm up with
WIDTH = 256
LONGEST = 64
BUCKETS = (4, 8, 16, 32, 64)
ENGINE = MappingProxyType({"kind": "onnxruntime", "provider": "CPUExecutionProvider", "intra_op_threads": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant to make: proven quality, seconds and joules per batch and row, and how many products it computes."""

    name: str
    quality: float
    seconds: float
    joules: float
    products: int


VARIANTS = (
    Made(name="fp32", quality=0.90, seconds=2e-3, joules=8e-3, products=200),
    Made(name="int8-dyn", quality=0.85, seconds=1e-3, joules=3e-3, products=20),
    Made(name="static-8-int8", quality=0.70, seconds=2e-5, joules=6e-5, products=0),
)


def write_tiny_model(folder: Path) -> Path:
    """Make graphs, tokenizer and manifest in `folder`; the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(_tokenizer())
    preprocessing = {
        "kind": "text",
        "max_length": LONGEST,
        "truncate": "error",
        "buckets": list(BUCKETS),
        "files": [_reference(folder, folder / "tokenizer.json")],
    }
    fingerprint = str(describe_host()["fingerprint"])
    document = {
        "schema": "greenserve.manifest/1",
        "name": "tiny",
        "version": 1,
        "task": "text-classification",
        "labels": list(LABELS),
        "preprocessing": preprocessing,
        "baseline": "fp32",
        "recommended": "int8-dyn",
        "front": [made.name for made in VARIANTS],
        "variants": [_variant(folder, made, preprocessing, fingerprint) for made in VARIANTS],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(document, indent=1))
    return path


def _variant(folder: Path, made: Made, preprocessing: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    path = folder / made.name / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_graph(made.products))
    return {
        "name": made.name,
        "digest": variant_digest((file_ref(folder, path),), preprocessing, ENGINE),
        "family": made.name,
        "precision": "fp32",
        "files": [_reference(folder, path)],
        "engine": dict(ENGINE),
        "quality": {"metric": "accuracy", "value": made.quality + 0.01, "value_low": made.quality, "verdict": "pass"},
        "properties": {"max_batch": 16, "batch_invariant": True},
        "profiles": [
            {
                "fingerprint": fingerprint,
                "tier": "class_average",
                "t_s": [made.seconds, made.seconds / 10, made.seconds / 100, 0.0],
                "e_dynamic_j": [made.joules, made.joules / 10, made.joules / 100, 0.0],
                "q99": 2.0,
                "idle_w": None,
                "held_w": None,
            }
        ],
    }


def _reference(folder: Path, path: Path) -> dict[str, Any]:
    reference = file_ref(folder, path)
    return {"path": reference.path, "bytes": reference.bytes, "sha256": reference.sha256}


def _tokenizer() -> str:
    """One token per word; text of spaces alone has none, as with any tokenizer without special tokens."""
    vocabulary = {"[UNK]": 0} | {word: index for index, word in enumerate(WORDS, 1)}
    vocabulary |= {f"word{index}": index for index in range(len(vocabulary), VOCABULARY)}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
    )


def _graph(products: int) -> bytes:
    """Logits = bias + sum of the words' rows; each of `products` multiplies all of them by one, to take its time."""
    from onnx import TensorProto, checker, helper, numpy_helper

    table = np.zeros((VOCABULARY, WIDTH), dtype=np.float32)
    for index, row in enumerate(WORDS.values(), 1):
        table[index, : len(LABELS)] = row
    constants = {
        "table": table,
        "one": np.eye(WIDTH, dtype=np.float32),
        "head": np.eye(WIDTH, len(LABELS), dtype=np.float32),
        "bias": np.array([0.0, 1.0, 0.0], dtype=np.float32),
        "tokens_axis": np.array([1], dtype=np.int64),
        "last_axis": np.array([2], dtype=np.int64),
    }
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["hidden0"])]
    nodes += [helper.make_node("MatMul", [f"hidden{n}", "one"], [f"hidden{n + 1}"]) for n in range(products)]
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask3"]),
        helper.make_node("Mul", [f"hidden{products}", "mask3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens_axis"], ["summed"], keepdims=0),
        helper.make_node("MatMul", ["summed", "head"], ["scores"]),
        helper.make_node("Add", ["scores", "bias"], ["logits"]),
    ]
    tokens = ["b", "s"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())
