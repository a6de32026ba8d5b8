"""Read the test rows once per variant: its answers, and what they cost, variants taking turns."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenserve.errors import GreenServeError
from greenserve.inputs import bucket_of
from greenserve.ports import Arrays, Engine
from greenserve.records import Batch, Span

GROUPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A variant's answers to the test rows in their order, FP32 [n, width]; CPU time [ns] and rows of each group."""

    values: npt.NDArray[np.float32]
    group_cpu_ns: tuple[int, ...]
    group_rows: tuple[int, ...]


def run_rows(
    engine: Engine, *, variant: str, tokens: Sequence[Sequence[int]], padded_length: int
) -> tuple[Arrays, Span]:
    """One batch through `engine`: its outputs by name and its span; raises GreenServeError where one is not finite."""
    rows = tuple(map(tuple, tokens))
    batch = Batch(batch_id="optimize", variant=variant, rows=rows, padded_length=padded_length)
    outputs, span = engine.run(batch)
    for name, values in outputs.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values.astype(np.float64)).all():
            raise GreenServeError(f"{variant} gives {name} that are not finite; leave that family out with --families")
    return outputs, span


def plan_batches(lengths: Sequence[int], *, buckets: Sequence[int], batch: int) -> list[tuple[int, list[int]]]:
    """(padded length, row indices) of each batch: rows of one bucket run together, in the order of their lengths."""
    by_bucket: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        by_bucket[bucket_of(lengths[index], buckets)].append(index)
    return [
        (edge, indices[start : start + batch])
        for edge, indices in sorted(by_bucket.items())
        for start in range(0, len(indices), batch)
    ]


def answer_rows(
    engines: Mapping[str, Engine],
    *,
    output: str,
    tokens: Sequence[Sequence[int]],
    buckets: Sequence[int],
    batch: int,
    seed: int,
) -> dict[str, Answers]:
    """Every variant's `output` for `tokens`. Batches are dealt into groups of the same mix of lengths; in each group
    the variants run in a seeded order, so that a disturbance of the machine meets all of them alike."""
    batches = plan_batches([len(row) for row in tokens], buckets=buckets, batch=batch)
    count = min(GROUPS, len(batches))
    random = np.random.default_rng(seed)
    values: dict[str, dict[int, npt.NDArray[np.float32]]] = {name: {} for name in engines}
    cpu_ns: dict[str, list[int]] = {name: [0] * count for name in engines}
    rows_in = [sum(len(indices) for _, indices in batches[group::count]) for group in range(count)]
    for group in range(count):
        for name in random.permutation(list(engines)).tolist():
            for edge, indices in batches[group::count]:
                found, span = run_rows(
                    engines[name], variant=name, tokens=[tokens[index] for index in indices], padded_length=edge
                )
                values[name].update(zip(indices, np.asarray(found[output], dtype=np.float32), strict=True))
                cpu_ns[name][group] += span.cpu_ns
    return {
        name: Answers(
            values=np.stack([values[name][index] for index in range(len(tokens))]),
            group_cpu_ns=tuple(cpu_ns[name]),
            group_rows=tuple(rows_in),
        )
        for name in engines
    }
