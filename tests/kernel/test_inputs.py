"""Text to tokens to padded arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest, ManifestInvalid
from greenserve.inputs import TextEncoder, bucket_of, pad, softmax

edges = st.lists(st.integers(1, 600), min_size=1, max_size=8, unique=True).map(sorted)
row_lists = st.lists(st.lists(st.integers(1, 30_000), min_size=1, max_size=9), min_size=1, max_size=5)


def an_encoder(manifest: Path, truncate: str = "error", max_length: int = 4) -> TextEncoder:
    return TextEncoder(tokenizer_file=manifest.parent / "tokenizer.json", max_length=max_length, truncate=truncate)


def test_texts_become_tokens_in_their_order(tiny_manifest: Path) -> None:
    """One row each, unpadded, however different their lengths."""
    encoder = an_encoder(tiny_manifest)

    assert ((3,), (1, 0, 4), (0,)) == encoder.encode(["good", "Bad and GREAT", "?"])
    assert 128 == encoder.vocabulary_size


def test_long_text_is_cut_or_refused_as_the_manifest_says(tiny_manifest: Path) -> None:
    """The refusal counts tokens and names the text."""
    cut = an_encoder(tiny_manifest, truncate="end").encode(["good " * 9])

    assert ((3,) * 4,) == cut
    with pytest.raises(InvalidRequest, match=r"text\[1\] has 9 tokens; at most 4"):
        an_encoder(tiny_manifest).encode(["good", "good " * 9])


def test_text_without_tokens_is_refused(tiny_manifest: Path) -> None:
    """There is nothing to run and nothing to pay for."""
    with pytest.raises(InvalidRequest, match=r"text\[2\] holds no token"):
        an_encoder(tiny_manifest).encode(["good", "bad", " \t\n"])


def test_another_way_to_cut_is_a_fault_of_the_manifest(tiny_manifest: Path) -> None:
    """Named with those that are known."""
    with pytest.raises(ManifestInvalid, match="'start'; allowed are 'end' and 'error'"):
        an_encoder(tiny_manifest, truncate="start")


@given(edges, st.integers(0, 700))
def test_a_bucket_is_the_least_edge_that_holds(buckets: list[int], length: int) -> None:
    """Or the last one."""
    expected = min((edge for edge in buckets if edge >= length), default=buckets[-1])

    assert expected == bucket_of(length, buckets)


@given(row_lists, st.integers(0, 5))
def test_padding_can_be_taken_off_again(rows: list[list[int]], extra: int) -> None:
    """The mask says what is a token; padding has id 0."""
    length = max(map(len, rows)) + extra

    arrays = pad(rows, length)

    ids, mask = arrays["input_ids"], arrays["attention_mask"]
    assert {(len(rows), length)} == {ids.shape, mask.shape}
    assert rows == [list(line[kept == 1]) for line, kept in zip(ids, mask, strict=True)]
    assert 0 == ids[mask == 0].sum()
    assert {np.dtype(np.int64)} == {ids.dtype, mask.dtype}


@given(st.lists(st.lists(st.floats(-80, 80, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_probabilities_sum_to_one_and_keep_the_order(logits: list[list[float]]) -> None:
    """Finite for large logits; the largest logit has the largest probability."""
    values = np.array(logits, dtype=np.float32)

    found = softmax(values)

    assert np.allclose(1.0, found.sum(axis=1), atol=1e-5)
    assert all(line[index] == line.max() for line, index in zip(found, values.argmax(axis=1), strict=True))
    assert np.float32 == found.dtype


def test_infinite_differences_are_no_nan() -> None:
    """Shifted by the largest, nothing overflows."""
    assert [[1.0, 0.0, 0.0]] == softmax(np.array([[1e38, 0.0, -1e38]], dtype=np.float32)).tolist()
