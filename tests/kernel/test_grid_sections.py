"""The section on grid intensity: what may be written, and where keys may not stand."""

from pathlib import Path
from typing import Any

import pytest

from greenserve.config import load_config, read_secret
from greenserve.errors import ConfigInvalid

BASE = """
version: 1
models: [{name: tiny, manifest: manifest.json}]
regions: [{name: here, zone: DE, pue: {value: 1.0, source: a test}}]
intensity:
  sources:
    - %s
"""


def faults(folder: Path, source: str, more: str = "") -> str:
    """What is said of a source; empty where it is good."""
    file = folder / "greenserve.yaml"
    file.write_text(BASE % source + more)
    try:
        load_config(file)
    except ConfigInvalid as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "source",
    [
        "{kind: electricity-maps, api_key: 'env:EM_TOKEN'}",
        "{kind: electricity-maps, api_key: 'file:em.key', zones: [DE, FR], codes: {MINE: XX}}",
        "{kind: watttime, username: ada, password: 'file:wt.key', places: {DE: [52.5, 13.4]}}",
        "{kind: neso}",
        "{kind: eia, api_key: 'env:EIA'}",
        "{kind: entso-e, api_key: 'env:ENTSOE', url: 'http://127.0.0.1:8000'}",
        "{kind: openelectricity, api_key: 'env:OE'}",
        "{kind: annual, file: annual.csv, source: Ember}",
        "{kind: recorded, file: series.parquet}",
    ],
)
def test_every_kind_of_source_can_be_written(tmp_path: Path, source: str) -> None:
    """As the page on intensity shows them."""
    assert "" == faults(tmp_path, source)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("{kind: electricity-maps}", "sources[0].api_key: is missing"),
        ("{kind: eia, api_key: abc123secret}", "a key is not written here; write env:NAME or file:PATH"),
        ("{kind: eia, api_key: 'env:1X'}", "env:NAME"),
        ("{kind: eia, api_key: 'env:X', zone: DE}", "unknown key; did you mean `zones`?"),
        ("{kind: eia, api_key: 'env:X', url: 'http://api.eia.gov'}", "an https address without query is needed"),
        ("{kind: eia, api_key: 'env:X', url: 'https://u:p@api.eia.gov'}", "an https address"),
        ("{kind: watttime, username: ada, password: 'env:X', places: {DE: [95, 0]}}", "less than or equal to 90"),
        ("{kind: elexon}", "'electricity-maps'"),
        ("{kind: annual, year: 2024}", "give values or a file"),
        ("{kind: annual, values: {DE: 342gCO2e/kWh}}", "values need the year"),
        ("{kind: annual, file: a.csv}", "a file needs the source"),
        ("{kind: annual, file: a.csv, source: x, values: {DE: 1gCO2e/kWh}}", "one of them"),
    ],
)
def test_a_fault_names_the_key_and_what_is_allowed(tmp_path: Path, source: str, word: str) -> None:
    """And never repeats what may be a secret."""
    told = faults(tmp_path, source)

    assert word in told
    assert "abc123secret" not in told


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("  routing_signal: marginal\n", "needs a source of kind watttime"),
        ("  refresh: 10s\n", "greater than or equal to 60"),
        ("  basis: net\n", "'direct' or 'lifecycle'"),
    ],
)
def test_the_sections_own_keys_are_checked(tmp_path: Path, more: str, word: str) -> None:
    """A signal that nobody tells cannot steer; providers are not asked more often than once a minute."""
    assert word in faults(tmp_path, "{kind: neso}", more)


def test_a_key_is_read_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anew each time, without the white space around it."""
    monkeypatch.setenv("GRID_KEY", " k3y ")
    (tmp_path / "grid.key").write_text("f1le\n")

    assert ("k3y", "f1le") == (read_secret("env:GRID_KEY"), read_secret(f"file:{tmp_path / 'grid.key'}"))


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "No such file"), (b"", "it is empty"), (b"\xff\xfe", "not UTF-8"), (b"one\ntwo", "more than one line")],
)
def test_a_key_that_is_not_there_is_told_by_its_place(tmp_path: Path, content: Any, word: str) -> None:
    """Never by what stands in it."""
    file = tmp_path / "grid.key"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigInvalid, match=word) as told:
        read_secret(f"file:{file}")

    assert "two" not in str(told.value)


def test_a_variable_that_is_not_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one is as good as none."""
    monkeypatch.setenv("GRID_KEY", "")

    with pytest.raises(ConfigInvalid, match="the environment variable GRID_KEY is not set or empty"):
        read_secret("env:GRID_KEY")
