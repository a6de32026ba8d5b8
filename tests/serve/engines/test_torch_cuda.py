"""torch programs, as far as a machine without a GPU shows."""

from pathlib import Path

import numpy as np
import pytest

from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.manifest import TensorSpec
from greenserve.records import Batch
from greenserve.serve.engines.signature import Signature
from greenserve.serve.engines.torch_cuda import TorchEngine
from tests.tiny_program import write_text_program

TEXT = Signature(inputs=None, outputs=("logits",), datatypes={})


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's logits."""
    return write_text_program(tmp_path_factory.mktemp("program") / "model.pt2")


def a_batch(*rows: tuple[int, ...]) -> Batch:
    """Rows padded to four tokens."""
    return Batch(batch_id="b", variant="v", rows=rows, padded_length=4)


def test_a_program_gives_the_models_own_logits(program: Path) -> None:
    """Word 2 is awful, word 4 is great; a word that says nothing is neutral."""
    engine = TorchEngine(model_file=program, variant="v", device="cpu", signature=TEXT)
    engine.load()

    outputs, _ = engine.run(a_batch((2,), (4, 3), (9,)))

    assert [[4.0, 1.0, 0.0], [0.0, 1.0, 6.0], [0.0, 1.0, 0.0]] == outputs["logits"].tolist()
    assert np.float32 == outputs["logits"].dtype


def test_a_file_that_is_no_program_is_refused_by_name(tmp_path: Path) -> None:
    """torch's many errors become one of ours."""
    (tmp_path / "model.pt2").write_bytes(b"nothing")

    with pytest.raises(ManifestInvalid, match=r"model\.pt2 of v does not load"):
        TorchEngine(model_file=tmp_path / "model.pt2", variant="v", device="cpu", signature=TEXT).load()


def test_a_gpu_that_is_not_there_is_said(program: Path) -> None:
    """No machine has a hundred of them."""
    engine = TorchEngine(model_file=program, variant="v", device="cuda:99", signature=TEXT)

    with pytest.raises(DependencyMissing, match=r"runs on cuda:99; torch .* sees \d+ GPUs here"):
        engine.load()


def test_text_tensors_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    """torch has none."""
    spec = TensorSpec(name="words", datatype="BYTES", shape=(-1,))
    signature = Signature(inputs=(spec,), outputs=("out",), datatypes={})

    with pytest.raises(ManifestInvalid, match="takes BYTES, which torch has no tensor for"):
        TorchEngine(model_file=tmp_path / "none.pt2", variant="v", device="cpu", signature=signature).load()


def test_outputs_that_the_manifest_does_not_know_are_an_error(program: Path) -> None:
    """With both sides."""
    signature = Signature(inputs=None, outputs=("sentence_embedding",), datatypes={})
    engine = TorchEngine(model_file=program, variant="v", device="cpu", signature=signature)
    engine.load()

    with pytest.raises(ManifestInvalid, match="gives logits; its manifest says sentence_embedding by name"):
        engine.run(a_batch((1,)))


def test_programs_are_loaded_before_they_run(program: Path) -> None:
    """An engine that was not loaded says so."""
    with pytest.raises(ManifestInvalid, match="is not loaded"):
        TorchEngine(model_file=program, variant="v", device="cpu", signature=TEXT).run(a_batch((1,)))
