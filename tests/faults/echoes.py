"""Models without a model: echo engines that take a declared time and fail on declared inputs, for faults."""

import json
from pathlib import Path
from typing import Any

from greenserve.host import describe_host
from greenserve.manifest import file_ref, variant_digest
from tests.tiny_model import LABELS, write_tiny_model

POISON = 99
OBJECTIVE_S = 0.5
BATCH = 4
STEADY_S = 0.1
"""A batch of the model `steady` takes so long, whatever it holds."""
HANG_S = 60.0
WATTS = 4.0


def write_echo(folder: Path, name: str, *, max_batch: int = BATCH, **behaviour: Any) -> Path:
    """A tensor model `x` -> `y`, INT64 [-1, 2], that answers its input; the manifest's path.

    `behaviour` is the echo engine's; the profile predicts it exactly.
    """
    shape = [-1, 2]
    members = {
        "task": "tensor",
        "labels": [],
        "preprocessing": None,
        "inputs": [{"name": "x", "datatype": "INT64", "shape": shape}],
        "outputs": [{"name": "y", "datatype": "INT64", "shape": shape}],
    }
    return _write(folder, name, members, max_batch, behaviour)


def write_text_echo(folder: Path, name: str, *, max_batch: int = BATCH, **behaviour: Any) -> Path:
    """A text classifier that answers the label at (sum of the text's token ids) modulo the number of labels."""
    tokenizer = write_tiny_model(folder / "tiny").with_name("tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer)
    reference = file_ref(folder, folder / "tokenizer.json")
    preprocessing = {
        "kind": "text",
        "max_length": 64,
        "truncate": "error",
        "buckets": [8, 64],
        "files": [{"path": reference.path, "bytes": reference.bytes, "sha256": reference.sha256}],
    }
    members = {"task": "text-classification", "labels": list(LABELS), "preprocessing": preprocessing}
    return _write(folder, name, members, max_batch, behaviour)


def _write(folder: Path, name: str, members: dict[str, Any], max_batch: int, behaviour: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    engine = {"kind": "echo", **behaviour}
    batch_s, row_s = max(1e-4, behaviour.get("batch_s", 0.0)), max(1e-5, behaviour.get("row_s", 0.0))
    document = {
        "schema": "greenserve.manifest/1",
        "name": name,
        "version": 1,
        "baseline": "echo",
        "recommended": "echo",
        "front": ["echo"],
        "variants": [
            {
                "name": "echo",
                "digest": variant_digest((), members["preprocessing"] or {}, engine),
                "family": "echo",
                "precision": "fp32",
                "files": [],
                "engine": engine,
                "quality": {"metric": "agreement", "value": 1.0, "value_low": 1.0, "verdict": "pass"},
                "properties": {"max_batch": max_batch, "batch_invariant": True},
                "profiles": [
                    {
                        "fingerprint": str(describe_host()["fingerprint"]),
                        "tier": "simulated",
                        "t_s": [batch_s, row_s, 0.0, 0.0],
                        "e_dynamic_j": [WATTS * batch_s, WATTS * row_s, 0.0, 0.0],
                        "q99": 1.1,
                        "idle_w": None,
                        "held_w": None,
                    }
                ],
            }
        ],
        **members,
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(document, indent=1))
    return path
