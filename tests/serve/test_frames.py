"""The frames between gateways and the replicas that run their batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from greenserve.records import Item, Span, TensorItem
from greenserve.serve.frames import Done, Outcome, Work, decode_done, decode_work, encode_done, encode_work

tokens = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8).map(tuple)
words = st.text(max_size=5) | st.binary(max_size=5)
dtypes = st.sampled_from(["<f4", "<f2", "<i8", "|b1", "<u2"])


def a_span() -> Span:
    """Five milliseconds for two rows."""
    return Span(
        batch_id="b",
        variant="fp32",
        device="cpu",
        start_ns=10,
        end_ns=5_000_010,
        cpu_ns=4_000_000,
        lengths=(2, 1),
        padded_length=2,
    )


@given(st.lists(tokens, min_size=1, max_size=5))
def test_token_rows_come_back_as_they_were(rows: list[tuple[int, ...]]) -> None:
    """Every length and every id survives the frame."""
    work = Work(variant="fp32", digest="d", rows=tuple(rows))

    assert work == decode_work(encode_work(work))


@given(dtypes.flatmap(lambda dtype: arrays.arrays(dtype, st.tuples(st.integers(1, 3), st.integers(0, 3)))))
def test_tensor_rows_come_back_as_they_were(whole: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    """Type, shape and every bit of each row."""
    rows: tuple[Item, ...] = tuple(TensorItem((row, row[:1])) for row in whole)

    decoded = decode_work(encode_work(Work(variant="v", digest="d", rows=rows))).rows

    assert [_bits(row) for row in rows] == [_bits(row) for row in decoded]


@given(st.lists(words, min_size=1, max_size=4))
def test_texts_and_bytes_stay_what_they_were(elements: list[str | bytes]) -> None:
    """A str comes back as str, bytes as bytes, also where they look alike or are empty."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements

    decoded = decode_work(encode_work(Work(variant="v", digest="d", rows=(TensorItem((array,)),)))).rows[0]

    assert isinstance(decoded, TensorItem)
    assert elements == decoded.arrays[0].tolist()


def test_an_answer_comes_back_whole() -> None:
    """Outputs by name, the span, places that failed, and runs that failed as a whole."""
    outputs = {"p": np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32), "l": np.array([[3], [4]])}
    good = Outcome(places=(0, 2), outputs=outputs, span=a_span(), bad=frozenset({1}))
    poor = Outcome(places=(1,), outputs=None, span=None, error="ValueError", retry=True)

    done = decode_done(encode_done(Done(node="n", outcomes=(good, poor))))

    assert ("n", False, poor) == (done.node, done.unknown, done.outcomes[1])
    first = done.outcomes[0]
    assert (good.places, good.span, good.bad) == (first.places, first.span, first.bad)
    assert first.outputs is not None
    assert {name: _raw(array) for name, array in outputs.items()} == {n: _raw(a) for n, a in first.outputs.items()}


@pytest.mark.parametrize("cut", [1, 3])
def test_a_frame_that_was_cut_is_refused(cut: int) -> None:
    """Half a batch is never run."""
    frame = encode_work(Work(variant="v", digest="d", rows=((1, 2), (3,))))

    with pytest.raises(ValueError, match="bytes is announced"):
        decode_work(frame[:-cut])


def _raw(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _bits(row: Item) -> list[tuple[str, tuple[int, ...], bytes]]:
    assert isinstance(row, TensorItem)
    return [_raw(np.ascontiguousarray(array).reshape(array.shape)) for array in row.arrays]
