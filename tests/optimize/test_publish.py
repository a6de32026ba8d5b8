"""Folders that appear whole."""

import json
import shutil
from pathlib import Path

import pytest

from greenserve.errors import InvalidRequest, ManifestInvalid
from greenserve.manifest import load_manifest
from greenserve.optimize.order import Order
from greenserve.optimize.publish import previous_version, publish, staging
from greenserve.optimize.run import Outcome


def test_a_published_folder_replaces_the_old_one_whole(
    tiny_outcome: Outcome, tiny_order: Order, tmp_path: Path
) -> None:
    """Files of the old folder are gone, the new manifest reads, nothing is left beside it."""
    out = tmp_path / "words"
    shutil.copytree(tiny_order.out, out)
    (out / "stray.txt").write_text("old")

    with staging(out) as folder:
        shutil.copytree(tiny_order.out, folder, dirs_exist_ok=True)
        publish(folder, out, dict(tiny_outcome.document) | {"version": 2})

    assert load_manifest(out / "manifest.json").version == 2
    assert not (out / "stray.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_a_folder_that_does_not_verify_is_not_published(
    tiny_outcome: Outcome, tiny_order: Order, tmp_path: Path
) -> None:
    """A changed byte between writing and publishing keeps the old folder in place."""
    out = tmp_path / "words"
    shutil.copytree(tiny_order.out, out)

    with staging(out) as folder:
        shutil.copytree(tiny_order.out, folder, dirs_exist_ok=True)
        (folder / "fp32" / "model.onnx").write_bytes(b"changed")
        with pytest.raises(ManifestInvalid, match=r"fp32/model\.onnx"):
            publish(folder, out, tiny_outcome.document)

    assert load_manifest(out / "manifest.json").version == 1
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def _interrupted(out: Path) -> None:
    with staging(out) as folder:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a stage removes what was staged, and no target appears."""
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path / "words")

    assert list(tmp_path.iterdir()) == []


def test_versions_count_the_manifests_of_a_folder(tmp_path: Path, tiny_order: Order, tiny_outcome: Outcome) -> None:
    """No folder and an empty folder start at 0."""
    assert previous_version(tmp_path / "none") == 0
    assert previous_version(tmp_path) == 0
    assert tiny_outcome.document["version"] == previous_version(tiny_order.out)


@pytest.mark.parametrize("content", ["precious", json.dumps({"schema": "other/1", "version": 3})])
def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path, content: str) -> None:
    """Also where it holds a file called manifest.json."""
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(InvalidRequest, match="something else than variants"):
        previous_version(tmp_path)
