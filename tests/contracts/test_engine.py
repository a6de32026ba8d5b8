"""The engine seam: one suite on every implementation."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.ports import Engine
from greenserve.records import Batch, Row
from greenserve.serve.engines.echo import EchoEngine
from greenserve.serve.engines.onnx_cpu import OnnxCpuEngine

rows = st.lists(st.lists(st.integers(0, 127), min_size=1, max_size=9), min_size=1, max_size=6)
MAKERS: dict[str, Callable[[Path], Engine]] = {
    "echo": lambda folder: EchoEngine(variant="fp32"),
    "onnx": lambda folder: OnnxCpuEngine(model_file=folder / "fp32" / "model.onnx", variant="fp32"),
    "onnx-2-threads": lambda folder: OnnxCpuEngine(
        model_file=folder / "fp32" / "model.onnx", variant="fp32", threads=2
    ),
}


@pytest.fixture(scope="module", params=MAKERS)
def engine(request: pytest.FixtureRequest, tiny_manifest: Path) -> Engine:
    made = MAKERS[request.param](tiny_manifest.parent)
    made.load()
    return made


def a_batch(token_rows: list[list[int]]) -> Batch:
    """Rows padded to the longest."""
    return Batch(
        batch_id="batch-1",
        variant="fp32",
        rows=tuple(Row(request_id=str(i), index=0, token_ids=tuple(row)) for i, row in enumerate(token_rows)),
        padded_length=max(map(len, token_rows)),
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_each_row_gets_its_own_answer_in_its_place(engine: Engine, token_rows: list[list[int]]) -> None:
    """A row answers alike alone and among others: padding and neighbours change nothing."""
    outputs, _ = engine.run(a_batch(token_rows))

    assert len(token_rows) == len(outputs["logits"])
    for index, row in enumerate(token_rows):
        alone, _ = engine.run(a_batch([row]))
        assert np.allclose(alone["logits"][0], outputs["logits"][index], atol=1e-5)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_the_span_says_what_ran_and_when(engine: Engine, token_rows: list[list[int]]) -> None:
    """Within the call on the monotonic clock, with the lengths before padding and CPU time that was used in it."""
    batch = a_batch(token_rows)
    before_ns = time.monotonic_ns()

    _, span = engine.run(batch)

    assert before_ns <= span.start_ns < span.end_ns <= time.monotonic_ns() + 1
    assert ("batch-1", "fp32", batch.padded_length) == (span.batch_id, span.variant, span.padded_length)
    assert tuple(map(len, token_rows)) == span.lengths
    assert span.cpu_ns >= 0


def test_logits_are_32_bit_floats_by_class(engine: Engine) -> None:
    """[rows, classes]."""
    outputs, _ = engine.run(a_batch([[1], [2, 3]]))

    assert ((2, 3), np.dtype(np.float32)) == (outputs["logits"].shape, outputs["logits"].dtype)


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    """At least its kind and its device."""
    assert {"kind", "device"} <= set(engine.describe())
