"""Models that verify but do not load are found before anything is started."""

import json
import shutil
from pathlib import Path

import pytest

from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.manifest import Manifest, Variant, file_ref, variant_digest
from greenserve.ports import Engine
from greenserve.serve.precheck import check_loads, load_all
from tests.serve.building import HeldEngines, a_config


def a_broken_copy(manifest: Path, folder: Path) -> Path:
    """The tiny model whose files are no graphs, with digests that are right."""
    shutil.copytree(manifest.parent, folder / "broken")
    path = folder / "broken" / manifest.name
    document = json.loads(path.read_text())
    for variant in document["variants"]:
        file = path.parent / variant["files"][0]["path"]
        file.write_bytes(b"not a graph")
        reference = file_ref(path.parent, file)
        variant["files"] = [{"path": reference.path, "bytes": reference.bytes, "sha256": reference.sha256}]
        variant["digest"] = variant_digest((reference,), document["preprocessing"], variant["engine"])
    path.write_text(json.dumps(document))
    return path


def test_models_that_load_are_let_through(tiny_manifest: Path, tmp_path: Path) -> None:
    """In a process of its own, which ends."""
    check_loads(a_config(tiny_manifest, tmp_path))


def test_a_file_that_is_no_graph_is_named(tiny_manifest: Path, tmp_path: Path) -> None:
    """In the words of the engine, as the error that it is."""
    broken = a_broken_copy(tiny_manifest, tmp_path)

    with pytest.raises(ManifestInvalid, match=r"model\.onnx of fp32 does not load"):
        check_loads(a_config(broken, tmp_path))


def test_a_model_of_which_nothing_runs_here_is_refused_with_every_reason(tiny_manifest: Path, tmp_path: Path) -> None:
    """One variant that runs is enough, none is not."""
    models = list(a_config(tiny_manifest, tmp_path).models)

    def none(manifest: Manifest, variant: Variant) -> Engine:
        raise DependencyMissing(f"{variant.name} needs a GPU")

    def one(manifest: Manifest, variant: Variant) -> Engine:
        return HeldEngines()(manifest, variant) if variant.name == "fp32" else none(manifest, variant)

    load_all(models, one)
    with pytest.raises(DependencyMissing, match="fp32 needs a GPU; int8-dyn: int8-dyn needs a GPU"):
        load_all(models, none)
