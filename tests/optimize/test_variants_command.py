"""`greenserve variants` as a user meets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.optimize.order import Order
from greenserve.optimize.run import Outcome

Finished = subprocess.CompletedProcess[str]
MAIN = "from greenserve.cli.main import main; main()"


@pytest.fixture
def copied(tiny_outcome: Outcome, tiny_order: Order, tmp_path: Path) -> Path:
    """The tiny variants, to be damaged."""
    assert tiny_outcome.document["variants"]
    return Path(shutil.copytree(tiny_order.out, tmp_path / "words"))


def run(*arguments: str, code: str = "from greenserve.cli.variants import app; app()") -> Finished:
    """The command in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_ls_prints_the_table_and_where_it_comes_from(copied: Path) -> None:
    """Every variant and the tier are in it, within 80 columns."""
    result = run("ls", str(copied))

    assert result.returncode == 0
    for said in ("fp32", "int8-dyn", "drop1-int8-dyn", "static-32-int8", "tier class_average", "words version 1"):
        assert said in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_ls_as_json_is_one_document_with_its_schema(copied: Path) -> None:
    """Scripts read what people read."""
    document = json.loads(run("ls", str(copied), "--json").stdout)

    assert document["schema"] == "greenserve.variants/1"
    assert len(document["variants"]) == 4


def test_show_prints_every_member_and_says_unknown(copied: Path) -> None:
    """Null reads `unknown`, never 0 and never nothing."""
    result = run("show", str(copied), "int8-dyn")

    assert "family = int8-dyn" in result.stdout
    assert "requires.memory_bytes = unknown" in result.stdout
    assert "recipe.steps[1].op = quantize_dynamic" in result.stdout


def test_an_unknown_variant_is_refused_with_those_there(copied: Path) -> None:
    """Usage, exit code 2."""
    result = run("variants", "show", str(copied), "int4", code=MAIN)

    assert result.returncode == 2
    assert "fp32, int8-dyn" in result.stderr


def test_a_folder_without_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    """Instead of a missing-file traceback."""
    result = run("variants", "ls", str(tmp_path), code=MAIN)

    assert result.returncode == 5
    assert "greenserve optimize" in result.stderr
    assert "Traceback" not in result.stderr


def test_verify_passes_where_it_was_built(copied: Path) -> None:
    """One line a check, exit 0."""
    result = run("verify", str(copied), "fp32")

    assert result.returncode == 0
    assert "ok  fp32 probes: 64 of 64" in result.stdout
    assert "int8-dyn" not in result.stdout


def test_verify_exits_5_where_a_byte_changed(copied: Path) -> None:
    """And names the file."""
    with (copied / "fp32" / "model.onnx").open("r+b") as file:
        file.seek(1_000)
        file.write(b"x")

    result = run("verify", str(copied), "--json")

    assert result.returncode == 5
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert "fp32/model.onnx" in document["checks"][0]["said"]


def test_verify_exits_3_where_answers_differ(copied: Path) -> None:
    """Probes from another variant, with their digests put right: the files are as said, the answers are not."""
    probes = copied / "int8-dyn" / "probes.json"
    shutil.copyfile(copied / "static-32-int8" / "probes.json", probes)
    manifest = json.loads((copied / "manifest.json").read_text())
    entries = {one["name"]: one for one in manifest["variants"]}
    entries["int8-dyn"]["probes"]["sha256"] = entries["static-32-int8"]["probes"]["sha256"]
    (copied / "manifest.json").write_text(json.dumps(manifest))

    result = run("verify", str(copied), "int8-dyn")

    assert result.returncode == 3
    assert "BAD int8-dyn probes" in result.stdout
