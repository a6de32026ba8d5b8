"""Text to padded token arrays: one code for evaluation and for serving, so that both see the same numbers."""

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from greenserve.errors import InvalidRequest, ManifestInvalid

Int64s = npt.NDArray[np.int64]
LONG = 2_000
"""Characters of one request's texts: with more, each text is read only as far as tokens of it are kept."""
SPACES = " \\t\\n\\r"
IDEOGRAPHS = "\\u4e00-\\u9fff"
LOCAL_MODELS = frozenset({"WordPiece", "WordLevel"})
LOCAL_NORMALISERS = frozenset({None, "BertNormalizer", "Lowercase"})
LOCAL_SPLITTERS = frozenset({"BertPreTokenizer", "Whitespace", "WhitespaceSplit"})


class TextEncoder:
    """A tokenizer with a length limit. `truncate` is `end` (cut) or `error` (refuse longer text).

    It may be called from several threads at once.
    """

    def __init__(self, *, tokenizer_file: Path, max_length: int, truncate: str) -> None:
        if truncate not in {"end", "error"}:
            raise ManifestInvalid(f"preprocessing.truncate is {truncate!r}; allowed are 'end' and 'error'")
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if truncate == "end":
            self._tokenizer.enable_truncation(max_length)
        self._max_length = max_length
        self._truncates = truncate == "end"
        self._border = _border_of(json.loads(self._tokenizer.to_str()))
        self._enough = max_length if self._truncates else max_length + 1
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Token ids of each text; raises InvalidRequest for none, and for too many where cutting is not allowed."""
        if self._border is not None and sum(map(len, texts)) > LONG:
            return tuple(self._row(index, text) for index, text in enumerate(texts))
        rows = tuple(tuple(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts)))
        for index, row in enumerate(rows):
            self._check(index, row)
        return rows

    def _row(self, index: int, text: str) -> tuple[int, ...]:
        """The ids of a text, read from its start until there are enough: what comes after changes none of them."""
        assert self._border is not None
        size = self._enough
        while 2 * size < len(text):
            border = self._border.search(text, size, 2 * size)
            if border is None:
                size *= 4
                continue
            ids = self._ids(text[: border.end()])
            if len(ids) >= self._enough:
                self._check(index, ids, more=True)
                return ids
            wanted = border.end() * self._enough * 5 // (4 * max(1, len(ids)))
            size = min(max(wanted, 2 * border.end()), 16 * border.end())
        row = self._ids(text)
        self._check(index, row)
        return row

    def _ids(self, text: str) -> tuple[int, ...]:
        """Of one text; other than `encode`, a batch of one leaves the interpreter to other threads meanwhile."""
        (encoding,) = self._tokenizer.encode_batch_fast([text])
        return tuple(encoding.ids)

    def _check(self, index: int, row: Sequence[int], *, more: bool = False) -> None:
        """`more`: the row is only the start of the text's."""
        if not row:
            raise InvalidRequest(f"text[{index}] holds no token, only spaces or signs that the model does not read")
        if len(row) > self._max_length:
            count = f"{len(row)} or more" if more else f"{len(row)}"
            raise InvalidRequest(f"text[{index}] has {count} tokens; at most {self._max_length} are allowed")

    def checked(self, rows: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        """Token ids that a caller made, cut where that is allowed; InvalidRequest for none, too many, unknown ones."""
        kept = []
        for index, row in enumerate(rows):
            if not row:
                raise InvalidRequest(f"input_ids[{index}] holds no token")
            if len(row) > self._max_length:
                if not self._truncates:
                    raise InvalidRequest(
                        f"input_ids[{index}] has {len(row)} tokens; at most {self._max_length} are allowed"
                    )
                row = row[: self._max_length]
            if not 0 <= min(row) <= max(row) < self.vocabulary_size:
                raise InvalidRequest(
                    f"input_ids[{index}]: ids of 0..{self.vocabulary_size - 1} are allowed, got {min(row)}..{max(row)}"
                )
            kept.append(row)
        return tuple(kept)


def _border_of(tokenizer: Mapping[str, Any]) -> re.Pattern[str] | None:
    """Characters after which a text may be cut: the tokens of the first part are the first ones of the whole.

    That holds where normalising looks at single characters, splitting at the neighbours of a border, and the model at
    one word at a time; where the border is always the end of a word, and no added token reaches across it. BERT's
    normaliser puts spaces around each ideograph. None where it is not known to hold: then all of a text is read.
    """
    normaliser, splitter = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {}
    is_local = (
        tokenizer["model"].get("type") in LOCAL_MODELS
        and normaliser.get("type") in LOCAL_NORMALISERS
        and splitter.get("type") in LOCAL_SPLITTERS
    )
    border = SPACES + (IDEOGRAPHS if normaliser.get("handle_chinese_chars") else "")
    pattern = re.compile(f"[{border}]")
    if not is_local or any(pattern.search(added["content"]) for added in tokenizer.get("added_tokens") or ()):
        return None
    return pattern


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """The least bucket edge that holds `length` tokens, or the last edge."""
    return buckets[min(bisect_left(buckets, length), len(buckets) - 1)]


def pad(rows: Sequence[Sequence[int]], padded_length: int) -> dict[str, Int64s]:
    """`input_ids` and `attention_mask`, int64 [len(rows), padded_length]; padding has id 0 and mask 0."""
    ids = np.zeros((len(rows), padded_length), dtype=np.int64)
    mask = np.zeros((len(rows), padded_length), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities along the last axis, FP32 [n, classes]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: npt.NDArray[np.float32] = shifted / shifted.sum(axis=-1, keepdims=True)
    return normalised
