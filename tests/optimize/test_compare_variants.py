"""`greenserve compare` of two optimisations: variant by variant, and only what was measured alike."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenserve.cli.run_files import read_run
from greenserve.errors import InvalidRequest, ManifestInvalid
from greenserve.optimize.order import Order
from greenserve.optimize.run import Outcome

MAIN = "from greenserve.cli.main import main; main()"


def compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", MAIN, "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def runs(tiny_outcome: Outcome, tiny_order: Order, tmp_path: Path) -> tuple[Path, Path]:
    """The tiny variants as A; as B with int8-dyn at a third of its joules and four fifths of its quality."""
    assert tiny_outcome.document["variants"]
    folders = (tmp_path / "a", tmp_path / "b")
    for folder in folders:
        folder.mkdir()
        shutil.copy(tiny_order.out / "manifest.json", folder)
    changed(folders[1], tweak)
    return folders


def tweak(document: dict[str, Any]) -> None:
    """Fewer joules, worse answers, one variant less."""
    document["variants"] = document["variants"][:-1]
    document["front"] = [name for name in document["front"] if name != "static-32-int8"]
    document["recommended"] = "int8-dyn"
    (dynamic,) = [one for one in document["variants"] if one["name"] == "int8-dyn"]
    headline, quality = dynamic["profiles"][0]["headline"], dynamic["quality"]
    value = headline["j_per_request"] / 3
    headline |= {"j_per_request": value, "ci95_j": [0.99 * value, 1.01 * value]}
    quality |= {"value": 0.5, "value_low": 0.48}


def changed(folder: Path, change: Any) -> None:
    """Rewrite a manifest."""
    file = folder / "manifest.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_variants_are_compared_by_name(runs: tuple[Path, Path]) -> None:
    """Joules by the spread of their groups, quality by its bound, sizes exactly; the one that is gone is named."""
    done = compare(*runs, "--json", "--allow-mixed")
    shown = compare(*runs)

    assert 0 == done.returncode
    found = {(one["group"], one["metric"]): one["difference"]["verdict"] for one in json.loads(done.stdout)["metrics"]}
    assert "better" == found["int8-dyn", "mJ/request"]
    assert "worse" == found["int8-dyn", "accuracy %"]
    assert "no evidence" == found["int8-dyn", "MB"] == found["fp32", "accuracy %"]
    assert not [group for group, _ in found if group == "static-32-int8"]
    assert 0 == shown.returncode
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "tier of energy: class_average" in shown.stdout


def test_another_host_or_other_test_rows_are_not_alike(runs: tuple[Path, Path]) -> None:
    """Joules of two machines say nothing about a variant."""
    changed(runs[1], lambda document: document["host"].update(fingerprint="another"))

    done = compare(*runs)

    assert 2 == done.returncode
    assert "host is" in done.stderr


def test_a_manifest_without_measurements_is_refused(runs: tuple[Path, Path], tiny_manifest: Path) -> None:
    """One that was written by hand may serve and still has nothing to compare; a damaged one is told as such."""
    with pytest.raises(InvalidRequest, match="is no whole run: headline is missing"):
        read_run(tiny_manifest.parent)
    (runs[0] / "manifest.json").write_text("{}")
    with pytest.raises(ManifestInvalid, match="has schema None"):
        read_run(runs[0])
