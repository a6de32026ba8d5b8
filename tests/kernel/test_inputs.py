"""Text to tokens to padded arrays."""

import contextlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

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


BERT = {
    "version": "1.0",
    "added_tokens": [
        {
            "id": index,
            "content": content,
            "single_word": single,
            "lstrip": single,
            "rstrip": single,
            "normalized": single,
            "special": not single,
        }
        for index, (content, single) in enumerate([("[UNK]", False), ("[CLS]", False), ("[SEP]", False), ("fin", True)])
    ],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [index], "tokens": [name]} for index, name in ((1, "[CLS]"), (2, "[SEP]"))
        },
    },
    "decoder": None,
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 20,
        "vocab": {
            name: index
            for index, name in enumerate(
                ["[UNK]", "[CLS]", "[SEP]", "fin", "a", "##a", "##b", "e", ".", "\u4e2d", "\u03c3"]
            )
        },
    },
}
WHITESPACE = {**BERT, "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []}
BYTES = {**WHITESPACE, "normalizer": {"type": "NFC"}}
PIECES = ["a", "aab", "abba ", " ", "\t\n", ".", "\u4e2d", "\u6587", "e\u0301", "\u0301", "\x07", "[SEP]", " fin ",
    "fin", "\u03a3", "\u3042", "\U0001f600", "\u00a0"]  # fmt: skip
pieces = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 2, 30, 900])), min_size=3, max_size=40)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of tokenizers that may be cut, and of one of which that is not known."""
    folder = tmp_path_factory.mktemp("tokenizers")
    kinds = {"bert": BERT, "whitespace": WHITESPACE, "bytes": BYTES}
    for name, document in kinds.items():
        (folder / name).write_text(json.dumps(document))
    return {name: folder / name for name in kinds}


@given(pieces, st.integers(3, 400), st.sampled_from(["bert", "whitespace", "bytes"]), st.sampled_from(["end", "error"]))
def test_reading_only_the_start_of_a_long_text_changes_no_token(
    tokenizers: dict[str, Path], drawn: list[tuple[str, int]], most: int, kind: str, truncate: str
) -> None:
    """The ids are those of the whole text, cut; where cutting is not allowed, the same texts are refused."""
    text = "".join(piece * times for piece, times in drawn) + " a" * 1_001
    whole = Tokenizer.from_file(str(tokenizers[kind]))
    ids = whole.encode(text).ids
    encoder = TextEncoder(tokenizer_file=tokenizers[kind], max_length=most, truncate=truncate)

    if truncate == "end":
        whole.enable_truncation(most)
        assert (tuple(whole.encode(text).ids),) == encoder.encode([text])
    elif len(ids) <= most:
        assert (tuple(ids),) == encoder.encode([text])
    else:
        with pytest.raises(InvalidRequest, match=rf"text\[0\] has \d+( or more)? tokens; at most {most} "):
            encoder.encode([text])


@pytest.mark.parametrize("truncate", ["end", "error"])
def test_a_megabyte_is_not_read_to_its_end(tokenizers: dict[str, Path], truncate: str) -> None:
    """It takes seconds where it is, and a millisecond where it is not."""
    encoder = TextEncoder(tokenizer_file=tokenizers["bert"], max_length=256, truncate=truncate)

    start_ns = time.process_time_ns()
    with contextlib.suppress(InvalidRequest):
        encoder.encode(["\u4e2d" * 1_000_000])

    assert time.process_time_ns() - start_ns < 100_000_000
