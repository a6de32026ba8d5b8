"""Reading the test rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import GreenServeError
from greenserve.optimize.evaluate import answer_rows, plan_batches, run_rows
from greenserve.ports import Arrays
from greenserve.records import Batch, Span


class SumEngine:
    """Logits [sum of the ids, number of ids]; so many CPU nanoseconds per row. Remembers the batches."""

    def __init__(self, *, cpu_ns_per_row: int = 1_000, value: float = 0.0) -> None:
        self._cpu_ns_per_row = cpu_ns_per_row
        self._value = value
        self.batches: list[Batch] = []

    def load(self) -> None:
        """Nothing to read."""

    def run(self, batch: Batch) -> tuple[Arrays, Span]:
        """A span as long as its CPU time."""
        self.batches.append(batch)
        lengths = tuple(len(row) for row in batch.rows)
        cpu_ns = self._cpu_ns_per_row * len(lengths)
        logits = np.array([[sum(row) + self._value, len(row)] for row in batch.rows if isinstance(row, tuple)])
        span = Span(
            batch_id=batch.batch_id,
            variant=batch.variant,
            device="cpu",
            start_ns=0,
            end_ns=cpu_ns,
            cpu_ns=cpu_ns,
            lengths=lengths,
            padded_length=batch.padded_length,
        )
        return {"logits": logits.astype(np.float32)}, span

    def describe(self) -> dict[str, object]:
        """Its kind."""
        return {"kind": "sum"}


@given(st.lists(st.integers(1, 80), min_size=1, max_size=60), st.integers(1, 9))
def test_every_row_is_in_one_batch_that_holds_it(lengths: list[int], batch: int) -> None:
    """Batches are never larger than asked for, and never shorter than a row."""
    planned = plan_batches(lengths, buckets=(8, 16, 32, 80), batch=batch)

    assert list(range(len(lengths))) == sorted(index for _, indices in planned for index in indices)
    assert all(1 <= len(indices) <= batch for _, indices in planned)
    assert all(lengths[index] <= edge for edge, indices in planned for index in indices)


def test_answers_come_back_in_the_order_of_the_rows() -> None:
    """Whatever batches they ran in."""
    tokens = [[index] * (1 + 7 * index % 13) for index in range(50)]

    answers = answer_rows({"a": SumEngine()}, output="logits", tokens=tokens, buckets=(8, 16), batch=4, seed=0)["a"]

    assert [[sum(row), len(row)] for row in tokens] == answers.values.tolist()
    assert sum(answers.group_cpu_ns) == 50 * 1_000
    assert sum(answers.group_rows) == 50


def test_variants_read_the_same_rows_once_each_and_take_turns() -> None:
    """Groups have the same rows for all, so their costs can be paired."""
    engines = {"a": SumEngine(cpu_ns_per_row=3_000), "b": SumEngine()}
    tokens = [[1] * (1 + index % 16) for index in range(200)]

    answers = answer_rows(engines, output="logits", tokens=tokens, buckets=(8, 16), batch=4, seed=0)

    assert sum(len(batch.rows) for batch in engines["a"].batches) == 200
    assert answers["a"].group_rows == answers["b"].group_rows
    assert [3 * ns for ns in answers["b"].group_cpu_ns] == list(answers["a"].group_cpu_ns)
    assert len(answers["a"].group_rows) == 10


def test_an_answer_that_is_not_finite_stops_the_run() -> None:
    """With the variant's name and the way out."""
    with pytest.raises(GreenServeError, match=r"odd gives logits .*--families"):
        run_rows(SumEngine(value=float("inf")), variant="odd", tokens=[[1]], padded_length=8)
