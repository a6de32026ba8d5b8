"""Text to padded arrays: what evaluation and serving share."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from greenserve.errors import InvalidRequest, ManifestInvalid
from greenserve.inputs import TextEncoder, bucket_of, pad, softmax

BUCKETS = (4, 8, 16)
ROWS = st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=12), min_size=1, max_size=6)


@pytest.fixture
def tokenizer(tiny_manifest: Path) -> Path:
    """The tiny model's tokenizer: one token per word."""
    return tiny_manifest.parent / "tokenizer.json"


def test_texts_become_token_ids_in_their_order(tokenizer: Path) -> None:
    """One row each, as long as it is."""
    encoder = TextEncoder(tokenizer_file=tokenizer, max_length=8, truncate="error")

    assert ((3,), (1, 4, 0)) == encoder.encode(["GOOD", "bad great nobody-knows"[:18]])
    assert 128 == encoder.vocabulary_size


def test_a_text_does_not_depend_on_its_neighbours(tokenizer: Path) -> None:
    """No padding slips in: alone and beside a long one the row is the same."""
    encoder = TextEncoder(tokenizer_file=tokenizer, max_length=8, truncate="error")

    assert encoder.encode(["good"])[0] == encoder.encode(["good", "bad " * 8])[0]


def test_a_long_text_is_cut_only_where_the_manifest_allows(tokenizer: Path) -> None:
    """Cut at the end, or refused with its number and both lengths."""
    cutting = TextEncoder(tokenizer_file=tokenizer, max_length=2, truncate="end")
    refusing = TextEncoder(tokenizer_file=tokenizer, max_length=2, truncate="error")

    assert ((3, 1),) == cutting.encode(["good bad great"])
    with pytest.raises(InvalidRequest, match=r"text\[1\] has 3 tokens; at most 2 are allowed"):
        refusing.encode(["good", "good bad great"])


@pytest.mark.parametrize("truncate", ["end", "error"])
def test_a_text_without_tokens_is_refused(tokenizer: Path, truncate: str) -> None:
    """There is nothing to judge in spaces."""
    encoder = TextEncoder(tokenizer_file=tokenizer, max_length=8, truncate=truncate)

    with pytest.raises(InvalidRequest, match=r"text\[1\] holds no token"):
        encoder.encode(["good", " \t"])


def test_an_unknown_way_to_cut_is_a_fault_of_the_manifest(tokenizer: Path) -> None:
    """It names what is allowed."""
    with pytest.raises(ManifestInvalid, match="'middle'; allowed are 'end' and 'error'"):
        TextEncoder(tokenizer_file=tokenizer, max_length=8, truncate="middle")


@given(st.integers(0, 40))
def test_a_length_falls_into_the_least_bucket_that_holds_it(length: int) -> None:
    """By brute force; beyond the last edge the last one."""
    assert min((edge for edge in BUCKETS if edge >= length), default=BUCKETS[-1]) == bucket_of(length, BUCKETS)


@given(ROWS, st.integers(0, 5))
def test_padding_adds_nothing_but_masked_zeros(rows: list[list[int]], more: int) -> None:
    """The mask marks exactly the tokens, and they are all there."""
    padded_length = max(map(len, rows)) + more

    arrays_ = pad(rows, padded_length)

    ids, mask = arrays_["input_ids"], arrays_["attention_mask"]
    assert [(len(rows), padded_length)] * 2 == [ids.shape, mask.shape]
    assert [np.dtype(np.int64)] * 2 == [ids.dtype, mask.dtype]
    assert rows == [line[kept == 1].tolist() for line, kept in zip(ids, mask, strict=True)]
    assert not ids[mask == 0].any()
    assert [len(row) for row in rows] == mask.sum(axis=1).tolist()


LOGITS = arrays.arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32))


@given(LOGITS)
def test_probabilities_sum_to_one_and_keep_the_order(logits: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> None:
    """Also for logits that would overflow by themselves."""
    probabilities = softmax(logits)

    assert np.dtype(np.float32) == probabilities.dtype
    assert np.allclose(1.0, probabilities.sum(axis=1), atol=1e-5)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    best = probabilities.argmax(axis=1)
    assert (logits.max(axis=1) - logits[np.arange(3), best] < 1e-3).all()
