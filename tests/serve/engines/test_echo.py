"""What an echo engine can be told."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ManifestInvalid
from greenserve.records import Batch, TensorItem
from greenserve.serve.engines.echo import Behaviour, EchoEngine, behaviour_of


def a_batch(*rows: tuple[int, ...] | TensorItem) -> Batch:
    """Of those rows."""
    return Batch(batch_id="b", variant="v", rows=rows, padded_length=4, input_names=("given", "more"))


def test_a_batch_takes_its_declared_time_per_batch_and_row() -> None:
    """Waited once, for both together."""
    waits: list[float] = []
    engine = EchoEngine(variant="v", behaviour=Behaviour(batch_s=0.5, row_s=0.25), wait=waits.append)

    engine.run(a_batch((1,), (2,), (3,)))

    assert [1.25] == waits


def test_an_engine_without_declared_time_never_waits() -> None:
    """Not even for nothing."""
    waits: list[float] = []

    EchoEngine(variant="v", wait=waits.append).run(a_batch((1,)))

    assert waits == []


def test_busy_time_is_cpu_time_that_the_span_counts() -> None:
    """Per batch and per row, so that metering sees work."""
    engine = EchoEngine(variant="v", behaviour=Behaviour(busy_s=0.002, busy_row_s=0.001))

    before_ns = time.thread_time_ns()
    _, span = engine.run(a_batch((1,), (2,)))
    used_ns = time.thread_time_ns() - before_ns

    assert 4_000_000 <= span.cpu_ns <= used_ns


def test_a_row_that_holds_the_token_hangs_the_batch() -> None:
    """For as long as declared, and no other batch."""
    waits: list[float] = []
    engine = EchoEngine(variant="v", behaviour=Behaviour(hang_on=9, hang_s=30.0), wait=waits.append)

    engine.run(a_batch((1,), (2, 9)))
    engine.run(a_batch((1,)))

    assert [30.0] == waits


def test_a_row_that_holds_the_token_fails_the_batch() -> None:
    """By an exception, as a kernel would."""
    engine = EchoEngine(variant="v", behaviour=Behaviour(fail_on=7))

    with pytest.raises(RuntimeError, match="told to fail on token 7"):
        engine.run(a_batch((1,), (7,)))


@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=4), min_size=1, max_size=6))
def test_only_the_rows_that_hold_the_token_are_not_numbers(rows: list[list[int]]) -> None:
    """Their neighbours keep their answers."""
    engine = EchoEngine(variant="v", behaviour=Behaviour(nan_on=5))

    outputs, _ = engine.run(a_batch(*map(tuple, rows)))

    assert [5 in row for row in rows] == np.isnan(outputs["logits"]).all(axis=1).tolist()
    assert [5 in row for row in rows] == np.isnan(outputs["logits"]).any(axis=1).tolist()


def test_tensors_come_back_under_the_outputs_names() -> None:
    """Text stays text, and faults look at numbers only."""
    engine = EchoEngine(variant="v", behaviour=Behaviour(fail_on=3), returns=("first", "second"))
    item = TensorItem((np.array(["3", "b"], dtype=object), np.array([1.5], dtype=np.float32)))

    outputs, span = engine.run(a_batch(item, item))

    assert [["3", "b"], ["3", "b"]] == outputs["first"].tolist()
    assert [[1.5], [1.5]] == outputs["second"].tolist()
    assert (3, 3) == span.lengths
    with pytest.raises(RuntimeError):
        engine.run(a_batch(TensorItem((np.array(["a", "b"], dtype=object), np.array([3.0], dtype=np.float32)))))


def test_more_outputs_than_inputs_cannot_be_echoed() -> None:
    """The message says what there is."""
    engine = EchoEngine(variant="v", returns=("one", "two", "three"))
    item = TensorItem((np.zeros(2, dtype=np.float32), np.zeros(2, dtype=np.float32)))

    with pytest.raises(ManifestInvalid, match="echoes 2 inputs; its manifest declares 3 outputs, one, two, three"):
        engine.run(a_batch(item))


def test_the_manifest_names_the_behaviour() -> None:
    """By the same words."""
    asked = {"kind": "echo", "batch_s": 0.01, "nan_on": 4}

    assert Behaviour(batch_s=0.01, nan_on=4) == behaviour_of(asked, variant="v")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"batch": 1.0}, "no option 'batch'; echo has batch_s, busy_row_s"),
        ({"batch_s": -1.0}, "batch_s is a time of 0 s or more, got -1.0"),
        ({"row_s": float("nan")}, "row_s is a time"),
        ({"row_s": "1s"}, "row_s is a time of 0 s or more, got '1s'"),
        ({"fail_on": "x"}, "fail_on is a token id or null, got 'x'"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(option: dict[str, object], said: str) -> None:
    """And the variant that has it."""
    with pytest.raises(ManifestInvalid, match=f"engine of v: .*{said}"):
        behaviour_of({"kind": "echo"} | option, variant="v")
