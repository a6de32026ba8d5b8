"""Answers that a variant must repeat on every host: 64 rows of token ids with their outputs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from greenserve.canonical import sha256_hex
from greenserve.inputs import bucket_of
from greenserve.optimize.evaluate import run_rows
from greenserve.optimize.split import Rows
from greenserve.ports import Engine

COUNT = 64
LONGEST = 64
ATOL = 0.001


def make_probes(
    engine: Engine, *, variant: str, output: str, vocab: int, buckets: Sequence[int], seed: int
) -> dict[str, Any]:
    """64 rows of seeded random ids, each alone in its batch, with the `output` that `engine` gives here."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(COUNT):
        length = int(random.integers(1, min(LONGEST, buckets[-1]) + 1))
        ids = random.integers(0, vocab, length).tolist()
        padded = bucket_of(length, buckets)
        found, _span = run_rows(engine, variant=variant, tokens=[ids], padded_length=padded)
        values = np.asarray(found[output])[0]
        rows.append({"ids": ids, "padded_length": padded, output: [round(float(x), 6) for x in values]})
    return {"schema": "greenserve.probes/1", "atol": ATOL, "output": output, "rows": rows}


def repeated(engine: Engine, *, variant: str, document: Mapping[str, Any]) -> int:
    """How many probes `engine` answers alike, within the document's tolerance."""
    output = document.get("output", "logits")
    same = 0
    for row in document["rows"]:
        found, _span = run_rows(engine, variant=variant, tokens=[row["ids"]], padded_length=row["padded_length"])
        same += bool(np.abs(np.asarray(found[output])[0] - np.asarray(row[output])).max() <= document["atol"])
    return same


def make_predictions(rows: Rows, labels: Sequence[int]) -> dict[str, Any]:
    """Digest of each test text -> the label index that the variant gave; the texts themselves stay out."""
    given = {sha256_hex(text.encode()): int(label) for text, label in zip(rows.texts, labels, strict=True)}
    return {"schema": "greenserve.predictions/1", "labels": given}


def read_document(file: Path) -> dict[str, Any]:
    """A probes or predictions file."""
    document: dict[str, Any] = json.loads(file.read_bytes())
    return document
