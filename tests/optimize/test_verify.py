"""Checking a folder of variants on a host."""

import json
import shutil
from pathlib import Path

import pytest

from greenserve.manifest import Manifest, load_manifest
from greenserve.optimize.order import Order
from greenserve.optimize.packages import host_isa
from greenserve.optimize.run import Outcome
from greenserve.optimize.verify import Check, check_isa, verify_folder
from greenserve.serve.engines.echo import EchoEngine
from greenserve.serve.engines.onnx import engine_for_file


@pytest.fixture
def copied(tiny_outcome: Outcome, tiny_order: Order, tmp_path: Path) -> Path:
    """The tiny variants, to be damaged."""
    assert tiny_outcome.document["variants"]
    return Path(shutil.copytree(tiny_order.out, tmp_path / "words"))


def verified(manifest: Manifest) -> list[Check]:
    """All variants with the engine that serves."""
    names = [one.name for one in manifest.variants]
    return verify_folder(manifest, variants=names, host_isa=host_isa(), engine_for=engine_for_file)


def test_what_was_built_here_verifies_here(copied: Path) -> None:
    """Digests once, then instruction sets and 64 probes of each variant."""
    checks = verified(load_manifest(copied / "manifest.json"))

    assert [check for check in checks if not check.ok] == []
    assert ["digests", *["isa", "probes"] * 4] == [check.kind for check in checks]
    assert {"64 of 64"} == {check.said for check in checks if check.kind == "probes"}


@pytest.mark.parametrize(
    "name", ["fp32/model.onnx", "shared/tokenizer.json", "int8-dyn/probes.json", "fp32/predictions.json"]
)
def test_a_changed_byte_is_found_and_nothing_is_run(copied: Path, name: str) -> None:
    """In models, tokenizer, probes and predictions alike."""
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))

    (check,) = verified(load_manifest(copied / "manifest.json"))

    assert not check.ok
    assert name in check.said


def test_a_missing_file_is_named(copied: Path) -> None:
    """Instead of a traceback."""
    (copied / "int8-dyn" / "predictions.json").unlink()

    (check,) = verified(load_manifest(copied / "manifest.json"))

    assert "int8-dyn/predictions.json: missing" in check.said


def test_other_answers_are_counted(copied: Path) -> None:
    """An engine that answers something else repeats few probes."""
    manifest = load_manifest(copied / "manifest.json")

    *_, probes = verify_folder(
        manifest, variants=["fp32"], host_isa=(), engine_for=lambda _file, variant: EchoEngine(variant=variant)
    )

    assert (probes.kind, probes.ok) == ("probes", False)
    assert "of 64" in probes.said


def test_a_host_without_the_needed_instructions_is_told_which(copied: Path) -> None:
    """A variant without needs runs anywhere."""
    manifest = load_manifest(copied / "manifest.json")

    assert check_isa(manifest, "fp32", ()).ok
    assert not check_isa(manifest, "int8-dyn", ("sse2",)).ok
    assert "avx512_vnni" in check_isa(manifest, "int8-dyn", ("sse2",)).said


def test_verifying_leaves_the_folder_as_it_was(copied: Path) -> None:
    """Not a byte of the manifest changes."""
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}

    verified(load_manifest(copied / "manifest.json"))

    assert before == {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert json.loads((copied / "manifest.json").read_text())["version"] == 1
