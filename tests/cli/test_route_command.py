"""`greenserve route explain`, as a process of its own, from a configuration and a manifest."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Commands, Done

CONFIG = """
version: 1
models:
  - {name: sentiment, manifest: manifest.json, objective: {p95: 50ms, quality_floor: 0.75, quality_mean: 0.80}}
regions:
  - {name: north, zone: DEMO-NORTH, emulated: true, pue: {value: 1.0, source: desk}}
  - {name: south, zone: DEMO-SOUTH, emulated: true, pue: {value: 1.2, source: desk}}
intensity:
  sources:
    - {kind: annual, year: 2025, source: made up, values: {DEMO-NORTH: 40gCO2e/kWh, DEMO-SOUTH: 500gCO2e/kWh}}
routing: {policy: min-carbon}
"""


def a_variant(name: str, *, quality: float, seconds: float, joules: float) -> dict[str, Any]:
    profile = {
        "fingerprint": "f" * 64,
        "tier": "modelled",
        "t_s": [0.0, seconds, 0.0, 0.0],
        "e_dynamic_j": [0.0, joules, 0.0, 0.0],
        "q99": 1.2,
        "idle_w": None,
        "held_w": None,
    }
    return {
        "name": name,
        "digest": "0" * 64,
        "family": name,
        "precision": "fp32",
        "files": [],
        "engine": {},
        "quality": {"value": quality + 0.01, "value_low": quality, "verdict": "pass"},
        "properties": {"max_batch": 16, "batch_invariant": True},
        "profiles": [profile],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration and a manifest of three variants: one good, one cheap, one under the floor."""
    manifest = {
        "schema": "greenserve.manifest/1",
        "name": "sentiment",
        "version": 1,
        "task": "text-classification",
        "labels": ["negative", "neutral", "positive"],
        "preprocessing": {"max_length": 128, "truncate": "end", "buckets": [16, 64, 128], "files": []},
        "variants": [
            a_variant("fp32", quality=0.82, seconds=0.012, joules=0.06),
            a_variant("int8-dyn", quality=0.81, seconds=0.006, joules=0.03),
            a_variant("static", quality=0.70, seconds=0.0002, joules=0.0005),
        ],
        "baseline": "fp32",
        "recommended": "int8-dyn",
        "front": ["int8-dyn", "static"],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "greenserve.yaml").write_text(CONFIG)
    return tmp_path


def explained(greenserve: Commands, *arguments: str) -> Done:
    (made,) = greenserve(["route", "explain", *arguments])
    return made


def test_the_table_shows_every_candidate_with_its_verdict(greenserve: Commands) -> None:
    """Six arcs, the pick marked, the floor's victim named, 80 columns, emulation said."""
    made = explained(greenserve, "--at", "2026-11-22T12:00Z")

    lines = made.out.splitlines()
    assert 0 == made.code
    assert all(len(line) <= 80 for line in lines)
    assert 1 == sum(line.startswith(" > north/int8-dyn") for line in lines)
    assert "     picked: carbon" in lines
    assert "     inadmissible: quality 0.700 under the floor 0.750" in lines
    assert "grid DEMO-SOUTH: 500 gCO2e/kWh, lifecycle, annual (made up 2025)" in lines
    assert "profiles of tier: modelled" in made.out
    assert "executed on this machine: north, south" in made.err


def test_each_given_intensity_is_a_block(greenserve: Commands) -> None:
    """`--intensity 40,700`: the same request on two grids; the documents carry grams that scale with the grid."""
    made = explained(greenserve, "--intensity", "40,700", "--json")

    document = json.loads(made.out)
    clean, dirty = document["grids"]
    assert "greenserve.route-explain/1" == document["schema"]
    assert [40_000, 700_000] == [grid["intensity"]["DEMO-SOUTH"]["mg_per_kwh"] for grid in (clean, dirty)]
    assert clean["picked"] == dirty["picked"] == "north/int8-dyn"
    assert 6 == len(clean["candidates"])
    grams = [next(row["emissions_g"] for row in grid["candidates"] if row["picked"]) for grid in (clean, dirty)]
    assert 17.5 == pytest.approx(grams[1] / grams[0])


def test_wrong_usage_names_what_is_allowed(greenserve: Commands) -> None:
    """Unknown model, grid or time: exit 2 and the remedy."""
    for arguments, words in (
        (["--model", "vision"], "sentiment"),
        (["--intensity", "dirty"], "40,216,700"),
        (["--at", "noon"], "2026-11-22T12:00Z"),
    ):
        made = explained(greenserve, *arguments)

        assert 2 == made.code
        assert words in made.err


def test_an_impossible_objective_is_explained(greenserve: Commands) -> None:
    """A floor that nothing reaches: still a table, and the word `refused`."""
    made = explained(greenserve, "--min-quality", "0.99")

    assert 0 == made.code
    assert "refused" in made.out
    assert "quality 0.820 under the floor 0.990" in made.out
