"""Loading models: every file is checked before it is served, and what does not fit is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from greenserve.errors import DependencyMissing, ManifestInvalid, ModelUnknown
from greenserve.manifest import Manifest, Variant
from greenserve.ports import Engine
from greenserve.records import Batch, Span
from greenserve.serve.engines.pick import engine_for
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

    models = models_of(a_config(manifest, tmp_path), lambda _manifest, variant: HeldEngine(variant.name))

    assert {None} == {variant.profile for variant in models.find("tiny").variants.values()}


class ShortEngine(HeldEngine):
    """Answers one row fewer than it was asked."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """All but the last row."""
        outputs, span = super().run(batch)
        return {"logits": outputs["logits"][:-1]}, span


def test_an_engine_that_answers_the_wrong_number_of_rows_is_not_served(tiny_manifest: Path, tmp_path: Path) -> None:
    """Found while warming up, not by a client."""
    with pytest.raises(ManifestInvalid, match=r"fp32 answered {'logits': 0, .* rows for 1"):
        models_of(a_config(tiny_manifest, tmp_path), lambda manifest, variant: ShortEngine(variant.name))


def test_models_are_found_by_name_and_version(models: Models) -> None:
    """Without a version the one that is served."""
    assert models.find("tiny") is models.find("tiny", "1")
    for name, version in (("nobody", ""), ("tiny", "2"), ("", "")):
        with pytest.raises(ModelUnknown):
            models.find(name, version)


def without_int8(manifest: Manifest, variant: Variant) -> Engine:
    """A machine that lacks what one variant needs."""
    if variant.name == "int8-dyn":
        raise DependencyMissing("int8-dyn needs what is not here")
    return engine_for(manifest, variant)


def test_what_this_machine_cannot_run_is_left_out_with_its_reason(tiny_manifest: Path, tmp_path: Path) -> None:
    """The others are served."""
    model = models_of(a_config(tiny_manifest, tmp_path), without_int8).find("tiny")

    assert ["fp32", "static-8-int8"] == list(model.variants)
    assert {"int8-dyn": "int8-dyn needs what is not here"} == dict(model.left_out)


def test_a_variant_for_a_gpu_is_left_out_of_a_machine_without_one(tmp_path: Path) -> None:
    """By the real engines, when it loads; its neighbours stay."""
    manifest = write_tiny_model(tmp_path / "tiny")
    document: Any = json.loads(manifest.read_text())
    document["variants"][0]["engine"] = {"kind": "torch", "device": "cuda:99"}
    manifest.write_text(json.dumps(document))

    model = models_of(a_config(manifest, tmp_path), engine_for).find("tiny")

    assert ["int8-dyn", "static-8-int8"] == list(model.variants)
    assert "fp32 runs on cuda:99" in model.left_out["fp32"]


def test_a_model_of_which_nothing_runs_here_is_not_served(tiny_manifest: Path, tmp_path: Path) -> None:
    """Every variant's reason is named."""

    def nothing(manifest: Manifest, variant: Variant) -> Engine:
        raise DependencyMissing(f"no engine for {manifest.name}")

    with pytest.raises(DependencyMissing, match="no variant runs on this machine: fp32: no engine for tiny"):
        models_of(a_config(tiny_manifest, tmp_path), nothing)


def test_unknown_manifests_end_the_start(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(ManifestInvalid, match="greenserve optimize"):
        load_models(a_config(tmp_path / "nothing.json", tmp_path), engine_for=engine_for, fingerprint="x")
