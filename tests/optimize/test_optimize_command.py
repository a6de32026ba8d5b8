"""`greenserve optimize` as a user meets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from greenserve.cli.optimize import app
from greenserve.errors import InvalidRequest
from greenserve.manifest import load_manifest


def invoked(model: Path | str, data: Path | str, out: Path, *options: str) -> Result:
    """The command on the tests' columns."""
    columns = ["--text-column", "body", "--label-column", "mood"]
    return CliRunner().invoke(app, [str(model), "--data", str(data), "-o", str(out), *columns, *options])


def test_a_run_prints_its_table_and_writes_a_folder_that_reads(
    tiny_model: Path, labelled_file: Path, tmp_path: Path
) -> None:
    """Data on stdout, stages on stderr; carbon is unknown without an intensity."""
    columns = ["--text-column", "body", "--label-column", "mood", "--families", "static", "--max-drop", "60"]
    model = shutil.copytree(tiny_model, tmp_path / "short")
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')  # a third of the grid, of the time
    code = "from greenserve.cli.optimize import app; app()"
    command = [sys.executable, "-c", code, str(model), "--data", str(labelled_file)]

    result = subprocess.run(
        [*command, "-o", "words", *columns], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    assert result.returncode == 0, result.stderr
    assert "static-32-int8" in result.stdout
    assert "carbon of this run: unknown: no grid intensity given" in result.stdout
    assert "pass, recommended" in result.stdout
    assert "[7/7] publish" in result.stderr
    assert "[7/7]" not in result.stdout
    manifest = load_manifest(tmp_path / "words" / "manifest.json")
    assert [one.name for one in manifest.variants] == ["fp32", "static-32-int8"]
    assert str(tmp_path) not in json.dumps(dict(manifest.document))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "full"], "demo, standard"),
        (["--families", "int4"], "int8-dyn, drop, static"),
        (["--max-drop", "-1"], "--max-drop is -1.0"),
        (["--max-drop", "nan"], "--max-drop is nan"),
        (["--zone", "GB"], "give --intensity"),
        (["--name", "a/b"], "letters, digits"),
        (["--text-column", "tweet"], "no column 'tweet'"),
    ],
)
def test_bad_options_are_one_message_with_what_is_allowed(
    tiny_model: Path, labelled_file: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    """Before any work is done, and nothing is written; `main` turns it into exit code 2."""
    result = invoked(tiny_model, labelled_file, tmp_path / "words", *options)

    assert isinstance(result.exception, InvalidRequest)
    assert said in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_id_of_a_hub_is_refused(labelled_file: Path, tmp_path: Path) -> None:
    """Models are not fetched: the message says so."""
    result = invoked("prajjwal1/bert-tiny", labelled_file, tmp_path / "words", "--offline")

    assert "not fetched by this version" in str(result.exception)


def test_data_must_be_given(tiny_model: Path) -> None:
    """Usage, exit code 2."""
    result = CliRunner().invoke(app, [str(tiny_model)])

    assert result.exit_code == 2
    assert "--data" in result.output
