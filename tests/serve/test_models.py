"""Loading models: every file is checked before it is served, and what does not fit is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from greenserve.errors import ManifestInvalid, ModelUnknown
from greenserve.inputs import bucket_of
from greenserve.records import Batch, Row, Span
from greenserve.serve.engines.onnx_cpu import OnnxCpuEngine, engine_for
from greenserve.serve.models import Models, load_models, verified_manifest
from tests.serve.building import HeldEngine, a_config, models_of
from tests.tiny_model import VARIANTS, write_tiny_model


def test_all_variants_load_and_know_their_cost(tiny_manifest: Path, tmp_path: Path) -> None:
    """On the real engine, each under model/variant, batched no further than variant and configuration allow."""
    entry = {"name": "tiny", "manifest": tiny_manifest, "batching": {"max_batch": 8}}

    models = models_of(a_config(tiny_manifest, tmp_path, models=[entry]), engine_for)

    served = models.find("tiny").variants
    assert [f"tiny/{made.name}" for made in VARIANTS] == [variant.key for variant in served.values()]
    assert {8} == {variant.max_batch for variant in served.values()}
    assert all(variant.profile is not None for variant in served.values())
    assert "1" == models.find("tiny").version


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    """All of them at once, with what to do."""
    manifest = write_tiny_model(tmp_path / "tiny")
    (tmp_path / "tiny" / "fp32" / "model.onnx").write_bytes(b"x")
    (tmp_path / "tiny" / "tokenizer.json").unlink()

    with pytest.raises(ManifestInvalid) as refused:
        verified_manifest(manifest)

    assert "fp32/model.onnx: SHA-256 is" in str(refused.value)
    assert "tokenizer.json: missing" in str(refused.value)
    assert "greenserve optimize" in str(refused.value)


def test_a_variant_of_an_unmeasured_host_is_served_without_a_profile(tmp_path: Path) -> None:
    """It costs by tokens then; unknown is not zero."""
    manifest = write_tiny_model(tmp_path / "tiny")
    document: Any = json.loads(manifest.read_text())
    for variant in document["variants"]:
        variant["profiles"] = []
    manifest.write_text(json.dumps(document))

    served = models_of(a_config(manifest, tmp_path), lambda file, variant: HeldEngine(variant)).find("tiny").variants

    assert {None} == {variant.profile for variant in served.values()}


class ShortEngine(HeldEngine):
    """Answers one row fewer than it was asked."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """All but the last row."""
        outputs, span = super().run(batch)
        return {"logits": outputs["logits"][:-1]}, span


def test_an_engine_that_answers_the_wrong_number_of_rows_is_not_served(tiny_manifest: Path, tmp_path: Path) -> None:
    """Found while warming up, not by a client."""
    with pytest.raises(ManifestInvalid, match="fp32 answered 0 rows for 1"):
        models_of(a_config(tiny_manifest, tmp_path), lambda file, variant: ShortEngine(variant))


def test_models_are_found_by_name_and_version(models: Models) -> None:
    """Without a version the one that is served."""
    assert models.find("tiny") is models.find("tiny", "1")
    for name, version in (("nobody", ""), ("tiny", "2"), ("", "")):
        with pytest.raises(ModelUnknown):
            models.find(name, version)


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path: Path) -> None:
    """ONNX Runtime's many errors become one of ours."""
    (tmp_path / "model.onnx").write_bytes(b"nothing")

    with pytest.raises(ManifestInvalid, match=r"model\.onnx of fp32 does not load"):
        OnnxCpuEngine(model_file=tmp_path / "model.onnx", variant="fp32").load()


def test_padding_changes_no_answer(tiny_manifest: Path) -> None:
    """Alone or beside a longer row, on the real engine: the same logits; the span counts both lengths."""
    engine = OnnxCpuEngine(model_file=tiny_manifest.parent / "fp32" / "model.onnx", variant="fp32")
    engine.load()
    short, long = (3, 3, 1), (2,) * 7

    alone, _ = engine.run(a_batch(short))
    together, span = engine.run(a_batch(short, long))

    assert np.allclose(alone["logits"][0], together["logits"][0], atol=1e-6)
    assert ((3, 7), 8) == (span.lengths, span.padded_length)
    assert span.cpu_ns > 0
    assert 8 == bucket_of(7, (4, 8, 16))


def a_batch(*rows: tuple[int, ...]) -> Batch:
    """Rows padded to eight tokens."""
    return Batch(
        batch_id="batch",
        variant="fp32",
        rows=tuple(Row(request_id="r", index=index, token_ids=row) for index, row in enumerate(rows)),
        padded_length=8,
    )


def test_engines_are_loaded_before_they_run(tmp_path: Path) -> None:
    """An engine that was not loaded says so."""
    with pytest.raises(ManifestInvalid, match="is not loaded"):
        engine_for(tmp_path / "model.onnx", "fp32").run(a_batch((1,)))


def test_unknown_manifests_end_the_start(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(ManifestInvalid, match="greenserve optimize"):
        load_models(a_config(tmp_path / "nothing.json", tmp_path), engine_for=engine_for, fingerprint="x")
