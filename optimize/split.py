"""Which rows train, choose and test: fixed by the texts and a seed, whatever the order of the file."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.carbon.apportion import apportion
from greenserve.errors import InvalidRequest

LEAST_PER_CLASS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Texts with the index of their class."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over texts and labels in their order."""
        return sha256_hex(canonical_json([list(pair) for pair in zip(self.texts, self.labels, strict=True)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Three disjoint sets of rows: fit on `train`, choose on `val`, judge on `test`."""

    train: Rows
    val: Rows
    test: Rows


def normalised(text: str) -> str:
    """What makes two texts the same: NFKC, case folded, stripped."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def without_duplicates(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(text, label) once per normalised text, the first spelling kept; all copies go where their labels conflict."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text, label in rows:
        groups[normalised(text)].append((text, label))
    return [copies[0] for key, copies in groups.items() if key and len({label for _, label in copies}) == 1]


def split(rows: Sequence[tuple[str, str]], *, labels: Sequence[str], sizes: tuple[int, int, int], seed: int) -> Splits:
    """Cut (text, label) rows into train, val and test of `sizes`, each class in its share of all rows.

    Each class is sorted by SHA-256 of (seed, text) and cut test, val, train, so the order of `rows` does not matter.
    Fewer rows than asked for: all three shrink in proportion. Raises InvalidRequest for a class with too few rows.
    """
    by_class: dict[str, list[str]] = {label: [] for label in labels}
    for text, label in rows:
        by_class[label].append(text)
    poor = {label: len(texts) for label, texts in by_class.items() if len(texts) < LEAST_PER_CLASS}
    if poor or len(labels) < 2:
        counted = ", ".join(f"{label!r}: {len(texts)}" for label, texts in by_class.items())
        raise InvalidRequest(
            f"at least 2 classes with {LEAST_PER_CLASS} unique rows each are needed, got {{{counted}}}; "
            "add rows or leave that class out"
        )
    train, val, test = _scaled(sizes, len(rows))
    counts = {label: len(texts) for label, texts in by_class.items()}
    in_test, in_val, in_train = _shares(test, counts), _shares(val, counts), _shares(train, counts)
    cuts: dict[str, list[tuple[str, int]]] = {"train": [], "val": [], "test": []}
    for index, label in enumerate(labels):
        ordered = sorted(by_class[label], key=lambda text: (_order(seed, text), text))
        for name, amount, left in (("test", in_test, 2), ("val", in_val, 1), ("train", in_train, 0)):
            cut = min(amount[label], len(ordered) - left)
            cuts[name].extend((text, index) for text in ordered[:cut])
            del ordered[:cut]
    return Splits(**{name: _rows(pairs, seed) for name, pairs in cuts.items()})


def _order(seed: int, text: str) -> str:
    return sha256_hex(canonical_json([seed, text]))


def _rows(pairs: list[tuple[str, int]], seed: int) -> Rows:
    ordered = sorted(pairs, key=lambda pair: (_order(seed, pair[0]), pair[0]))
    return Rows(texts=tuple(text for text, _ in ordered), labels=tuple(label for _, label in ordered))


def _scaled(sizes: tuple[int, int, int], rows: int) -> tuple[int, int, int]:
    wanted = sum(sizes)
    if rows >= wanted:
        return sizes
    val, test = (max(1, size * rows // wanted) for size in sizes[1:])
    return rows - val - test, val, test


def _shares(total: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers in proportion to `counts` that sum to `total`, but at least 1 per class."""
    shares = apportion(total, {label.encode(): count for label, count in counts.items()})
    return {label: max(1, shares[label.encode()]) for label in counts}
