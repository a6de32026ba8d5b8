"""`greenserve config`, and the precedence of the sources that it shows."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenserve.cli.config import dotted, yaml_lines
from greenserve.config import load_config
from greenserve.sections import Bytes, Limits, PerSecond, Section

RUN = "from greenserve.cli.main import main; main()"
CONFIG = """
version: 1
server:
  limits: {request_timeout: 5s}
models: [{name: sentiment, manifest: manifest.json, cache: {ttl_s: 10m}}]
regions:
  - {name: "NO", zone: NO, pue: {value: 1.12, source: "a test: 1"}}
intensity: {sources: [{kind: annual, values: {NO: 31.5gCO2e/kWh}, year: 2025, source: a test}]}
"""
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
DOCUMENTS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with values of all three origins."""
    path = tmp_path / "greenserve.yaml"
    path.write_text(CONFIG)
    return path


def run(file: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command as a process: the environment that it reads is its own."""
    return subprocess.run(
        [sys.executable, "-c", RUN, "config", *words],
        cwd=file.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_good_file_is_called_good(file: Path) -> None:
    """One word for people, a member for programs, exit code 0."""
    said, told = run(file, "validate"), run(file, "validate", "--json")

    assert (0, "greenserve.yaml: good\n", "") == (said.returncode, said.stdout, said.stderr)
    assert {"schema": "greenserve.config-validate/1", "file": "greenserve.yaml", "good": True, "faults": []} == (
        json.loads(told.stdout)
    )


def test_all_faults_are_told_at_once_with_their_places(file: Path) -> None:
    """Unknown key, missing unit, wrong choice in the environment: three lines on stdout, exit code 4, no trace."""
    file.write_text(CONFIG.replace("request_timeout: 5s", "request_timeout: 5, max_qeued: 3"))

    said = run(file, "validate", GREENSERVE_ROUTING__POLICY="greenest")
    told = run(file, "validate", "--json", GREENSERVE_ROUTING__POLICY="greenest")

    lines = said.stdout.splitlines()
    assert (4, 3) == (said.returncode, len(lines)), said.stderr
    assert any("greenserve.yaml:4" in line and "write 5s" in line for line in lines)
    assert any("did you mean `max_queued`?" in line for line in lines)
    assert any(line.startswith("environment  routing.policy") and "balanced" in line for line in lines)
    assert "3 faults\n" == said.stderr
    assert (4, lines) == (told.returncode, json.loads(told.stdout)["faults"])


def test_an_unreadable_environment_is_a_fault_and_no_trace(file: Path) -> None:
    """A section that is no JSON names its field and what to write."""
    said = run(file, "validate", GREENSERVE_MODELS="x")

    assert (4, True) == (said.returncode, "models" in said.stdout and "JSON" in said.stdout), said.stderr


def test_each_value_says_where_it_comes_from(file: Path) -> None:
    """Environment over file over defaults; a file's line also where the key is spelled by its field's name."""
    said = run(file, "show", "--origin", "--json", GREENSERVE_SERVER__HTTP__PORT="9090")

    document = json.loads(said.stdout)
    origins, config = document["origins"], document["config"]
    assert (9090, "environment") == (config["server"]["http"]["port"], origins["server.http.port"])
    assert ("5s", "greenserve.yaml:4") == (
        config["server"]["limits"]["request_timeout"],
        origins["server.limits.request_timeout"],
    )
    assert ("600s", "greenserve.yaml:5") == (config["models"][0]["cache"]["ttl"], origins["models[0].cache.ttl"])
    assert ("8MiB", "default") == (config["server"]["limits"]["max_body"], origins["server.limits.max_body"])
    assert "greenserve.yaml:8" == origins["intensity.sources[0].values.NO"]


def test_what_is_shown_is_a_configuration_again(file: Path) -> None:
    """Quantities keep their units, words stay words: reading the output gives the same configuration."""
    said = run(file, "show", "--origin")
    again = file.with_name("again.yaml")
    again.write_text(said.stdout)

    assert 0 == said.returncode, said.stderr
    assert "# default" in said.stdout
    assert load_config(file) == load_config(again)


def test_the_schema_asks_for_quantities_with_units(file: Path) -> None:
    """A program that writes the file learns that a time is text with a unit, and its default so."""
    schema: Any = json.loads(run(file, "schema").stdout)

    assert ("string", "30s") == tuple(
        schema["$defs"]["Limits"]["properties"]["request_timeout"][name] for name in ("type", "default")
    )
    assert {"version", "models", "regions", "intensity"} == set(schema["required"])


def test_the_command_line_stands_above_the_environment_and_that_above_the_file(file: Path) -> None:
    """The documented precedence, tried with one value from each source."""
    probe = (
        "from greenserve.config import load_config\n"
        "server = load_config(None, overrides={'server': {'http': {'port': 1}}}).server\n"
        "print(server.http.port, server.grpc.port, server.limits.request_timeout_s)"
    )
    environment = {"GREENSERVE_SERVER__HTTP__PORT": "2", "GREENSERVE_SERVER__GRPC__PORT": "3"}

    said = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=file.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "1 3 5.0\n" == said.stdout, said.stderr


class Quantities(Section):
    """One of each quantity whose text is derived from a number."""

    size: Bytes
    rate: PerSecond


@settings(max_examples=100)
@given(st.integers(0, 2**45), st.floats(1e-6, 1e9), st.floats(1e-6, 1e6))
def test_a_quantity_is_written_as_it_is_read(size: int, rate: float, timeout_s: float) -> None:
    """Text with its unit, and back to the very same number."""
    quantities = Quantities(size=f"{size}B", rate=f"{rate:.9f}/s")  # type: ignore[arg-type]
    limits = Limits(request_timeout=f"{timeout_s:.9f}s")  # type: ignore[arg-type]

    assert quantities == Quantities(**quantities.model_dump(mode="json"))
    assert limits == Limits(**limits.model_dump(mode="json", by_alias=True))


@settings(max_examples=100)
@given(DOCUMENTS)
@example({"\x85": None, "a": "x\ny"})
def test_the_yaml_lines_read_back_as_the_document(document: dict[str, Any]) -> None:
    """Whatever the words: numbers, truth values and empty parts keep their kind."""
    text = "\n".join(line for line, _ in yaml_lines(document, ()))

    assert document == (yaml.safe_load(text) or {})


def test_a_path_is_written_as_messages_write_it() -> None:
    """Keys by dots, places by brackets."""
    assert "models[0].objective.p95" == dotted(("models", 0, "objective", "p95"))
