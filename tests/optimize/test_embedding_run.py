"""The whole run for embeddings on a tiny model, and what the gateway's reader and engines make of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenserve.carbon.power_model import CpuPower
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.inputs import TextEncoder
from greenserve.manifest import Embedding, load_manifest, verify_files
from greenserve.optimize.evaluate import run_rows
from greenserve.optimize.order import Order
from greenserve.optimize.packages import host_isa
from greenserve.optimize.report import table
from greenserve.optimize.run import Outcome, optimize
from greenserve.optimize.verify import verify_folder
from greenserve.serve.engines.onnx import engine_for_file
from greenserve.serve.engines.pick import engine_for


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory, tiny_order: Order) -> Order:
    """Every family, the token table too."""
    return replace(
        tiny_order,
        task="text-embedding",
        out=tmp_path_factory.mktemp("embeddings") / "words",
        families=("int8-dyn", "drop", "static"),
        max_drop_points=30.0,
    )


@pytest.fixture(scope="module")
def outcome(order: Order, power: CpuPower) -> Outcome:
    """Run once."""
    return optimize(order, engine_for=engine_for_file, power=power, clock=SystemClock(), tell=lambda _: None)


def test_the_manifest_of_embeddings_reads_and_verifies(outcome: Outcome, order: Order) -> None:
    """A task without labels, with the size of its vectors."""
    manifest = load_manifest(order.out / "manifest.json")

    assert verify_files(manifest) == []
    assert ("text-embedding", (), Embedding(dimensions=32, matryoshka=False)) == (
        manifest.task,
        manifest.labels,
        manifest.embedding,
    )
    assert ["fp32", "int8-dyn", "drop1-int8-dyn", "static-32-int8"] == [one.name for one in manifest.variants]
    assert outcome.broken == {}
    assert [{"name": "sentence_embedding", "dtype": "float32", "shape": ["b", 32], "kind": "embedding"}] == (
        outcome.document["outputs"]
    )


def test_every_variant_gives_unit_vectors_near_the_baselines(outcome: Outcome, order: Order) -> None:
    """From the file that is served, on texts that no fit has seen; nearer than chance, which is 0."""
    manifest = load_manifest(order.out / "manifest.json")
    assert manifest.preprocessing is not None
    encoder = TextEncoder(
        tokenizer_file=manifest.path_of(manifest.preprocessing.files[0]), max_length=64, truncate="end"
    )
    tokens = encoder.encode(["w9 w70 w140", "w30 w31", "w190 w120 w110 w100"])
    found = {}
    for variant in manifest.variants:
        engine = engine_for(manifest, variant)
        engine.load()
        outputs, _ = run_rows(engine, variant=variant.name, tokens=tokens, padded_length=8)
        found[variant.name] = np.asarray(outputs["sentence_embedding"], dtype=np.float32)

    assert {(3, 32)} == {vectors.shape for vectors in found.values()}
    assert all(np.allclose(1.0, np.linalg.norm(vectors, axis=1), atol=1e-5) for vectors in found.values())
    assert min(float((found["fp32"] * vectors).sum(axis=1).min()) for vectors in found.values()) > 0.3
    assert float((found["fp32"] * found["int8-dyn"]).sum(axis=1).min()) > 0.95


def test_quality_is_the_share_of_neighbours_kept_and_the_vote_stands_beside_it(outcome: Outcome) -> None:
    """The baseline keeps all; its vote has an accuracy of its own, with the paired test."""
    variants = {one["name"]: one for one in outcome.document["variants"]}
    base, other = variants["fp32"]["quality"], variants["drop1-int8-dyn"]["quality"]

    assert ("recall_at_10", 1.0, 1.0, "baseline") == (base["metric"], base["value"], base["value_low"], base["verdict"])
    assert base["probe"]["value"] > 0.7
    assert 0.0 < other["value_low"] < other["value"] < 1.0
    assert other["value"] == variants["drop1-int8-dyn"]["fidelity"]["recall_at_10"]
    assert other["mcnemar"] is None
    assert 0.0 < other["probe"]["mcnemar"]["p_holm"] <= 1.0
    assert variants["drop1-int8-dyn"]["properties"]["ece"] is None


def test_only_vectors_near_the_baselines_share_its_space(outcome: Outcome) -> None:
    """An index of one space cannot be searched with the vectors of another one."""
    variants = {one["name"]: one for one in outcome.document["variants"]}
    spaces = {name: one["properties"]["embedding_space"] for name, one in variants.items()}

    assert variants["fp32"]["files"][0]["sha256"] == spaces["fp32"]
    assert variants["static-32-int8"]["files"][0]["sha256"] == spaces["static-32-int8"]
    assert variants["static-32-int8"]["quality"]["value"] < 0.90
    assert spaces["fp32"] == spaces["int8-dyn"]
    assert variants["int8-dyn"]["quality"]["value"] >= 0.90


def test_what_was_built_answers_its_own_probes(order: Order, outcome: Outcome) -> None:
    """All variants, 64 probes of vectors each."""
    manifest = load_manifest(order.out / "manifest.json")
    names = [one.name for one in manifest.variants]
    probes = json.loads((order.out / "fp32" / "probes.json").read_bytes())

    checks = verify_folder(manifest, variants=names, host_isa=host_isa(), engine_for=engine_for_file)

    assert outcome.passed in names
    assert [check for check in checks if not check.ok] == []
    assert 32 == len(probes["rows"][0]["sentence_embedding"])


def test_the_table_says_recall_and_what_it_is(outcome: Outcome) -> None:
    """The column of a classifier says accuracy."""
    lines = table(outcome.document)

    assert "rec %" in lines[0]
    assert lines[-2].startswith("rec: share of the ten nearest texts in an index of fp32's vectors")
    assert sum("; vote " in line for line in lines) == 4
    assert max(map(len, lines)) <= 80


def test_texts_that_say_nothing_about_their_labels_stop_the_run(order: Order, tmp_path: Path, power: CpuPower) -> None:
    """The vote would measure nothing; no folder is left."""
    rows = [f"w{4 + index} w{(7 * index) % 190 + 4},{'ab'[(index * index) % 7 % 2]}" for index in range(180)]
    data = tmp_path / "noise.csv"
    data.write_text("body,mood\n" + "\n".join(rows) + "\n")

    with pytest.raises(InvalidRequest, match="search among the baseline's embeddings reaches"):
        optimize(
            replace(order, data=str(data), out=tmp_path / "out" / "words"),
            engine_for=engine_for_file,
            power=power,
            clock=SystemClock(),
            tell=lambda _: None,
        )

    assert list((tmp_path / "out").iterdir()) == []
