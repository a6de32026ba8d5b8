"""Which engine a manifest's variant gets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.manifest import Manifest, load_manifest
from greenserve.records import Batch, TensorItem
from greenserve.serve.engines.pick import engine_for
from tests.tiny_model import write_tiny_model


def changed(folder: Path, *, engine: dict[str, object] | None = None, **members: Any) -> Manifest:
    """The tiny manifest with another engine for `fp32`, and other members."""
    path = write_tiny_model(folder)
    document = json.loads(path.read_text())
    for name, value in members.items():
        if name == "requires":
            document["variants"][0]["requires"] = value
        else:
            document[name] = value
    if engine is not None:
        document["variants"][0]["engine"] = engine
    path.write_text(json.dumps(document))
    return load_manifest(path)


def described(manifest: Manifest, *, threads: int = 1) -> dict[str, object]:
    """What the engine of `fp32` says of itself."""
    return dict(engine_for(manifest, manifest.variant("fp32"), threads=threads).describe())


def test_onnx_runtime_on_cpu_is_the_default(tmp_path: Path) -> None:
    """With the gateway's number of threads, whatever the manifest was measured with."""
    said = described(changed(tmp_path, engine={}), threads=2)

    assert ("onnxruntime", "CPUExecutionProvider", 2, "cpu") == (
        said["kind"],
        said["provider"],
        said["intra_op_threads"],
        said["device"],
    )


def test_cuda_and_torch_are_made_as_the_manifest_asks(tmp_path: Path) -> None:
    """Whether this machine has them shows when they load."""
    on_cuda = described(changed(tmp_path / "a", engine={"kind": "onnxruntime", "provider": "CUDAExecutionProvider"}))
    on_torch = described(changed(tmp_path / "b", engine={"kind": "torch", "device": "cuda:1", "graphs": True}))

    assert ("CUDAExecutionProvider", "cuda:0") == (on_cuda["provider"], on_cuda["device"])
    assert ("torch", "cuda:1", True) == (on_torch["kind"], on_torch["device"], on_torch["graphs"])


def test_an_echo_answers_in_the_models_shape(tmp_path: Path) -> None:
    """As many scores as labels, as many dimensions as embeddings have, and its own tensors otherwise."""
    echo: dict[str, object] = {"kind": "echo", "nan_on": 9}
    text = changed(tmp_path / "a", engine=echo)
    vectors = changed(
        tmp_path / "b",
        engine=echo,
        task="text-embedding",
        labels=[],
        embedding={"dimensions": 7, "matryoshka": False},
    )
    spec = {"name": "given", "datatype": "FP32", "shape": [-1, 2]}
    tensors = changed(
        tmp_path / "c",
        engine=echo,
        task="tensor",
        labels=[],
        preprocessing=None,
        inputs=[spec],
        outputs=[spec | {"name": "out"}],
    )
    row = Batch(batch_id="b", variant="fp32", rows=((1, 2),), padded_length=2)
    item = Batch(
        batch_id="b",
        variant="fp32",
        rows=(TensorItem((np.array([1, 2], dtype=np.float32),)),),
        padded_length=2,
        input_names=("given",),
    )

    answers = [
        engine_for(manifest, manifest.variant("fp32")).run(batch)[0]
        for manifest, batch in ((text, row), (vectors, row), (tensors, item))
    ]

    assert [{"logits": (1, 3)}, {"sentence_embedding": (1, 7)}, {"out": (1, 2)}] == [
        {name: array.shape for name, array in outputs.items()} for outputs in answers
    ]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"kind": "tensorflow"}, "kind is 'tensorflow'; allowed are onnxruntime, torch, echo"),
        ({"provider": "TPU"}, "provider is 'TPU'; allowed are CPUExecutionProvider and CUDAExecutionProvider"),
        ({"kind": "echo", "speed": 1}, "no option 'speed'"),
    ],
)
def test_an_unknown_engine_is_named_with_those_allowed(tmp_path: Path, engine: dict[str, object], said: str) -> None:
    """And the variant that asks for it."""
    manifest = changed(tmp_path, engine=engine)

    with pytest.raises(ManifestInvalid, match=f"engine of fp32: {said}"):
        engine_for(manifest, manifest.variant("fp32"))


def test_a_variant_made_for_another_cpu_is_left_out(tmp_path: Path) -> None:
    """Its answers would differ: the message says what is there and what to do."""
    manifest = changed(tmp_path, requires={"isa_any": ["vliw9"]})

    with pytest.raises(DependencyMissing, match=r"fp32 was made for a CPU with one of vliw9; .*greenserve optimize"):
        engine_for(manifest, manifest.variant("fp32"))
    assert "onnxruntime" == engine_for(manifest, manifest.variant("int8-dyn")).describe()["kind"]


@pytest.mark.parametrize("requires", [None, {}, {"isa_any": []}, {"isa_any": None}])
def test_a_variant_that_requires_nothing_runs_anywhere(tmp_path: Path, requires: dict[str, object] | None) -> None:
    """Manifests of other tools may not say."""
    assert "onnxruntime" == described(changed(tmp_path, requires=requires))["kind"]
