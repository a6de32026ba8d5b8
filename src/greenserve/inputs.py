"""Text to padded token arrays: one code for evaluation and for serving, so that both see the same numbers."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from greenserve.errors import InvalidRequest, ManifestInvalid

Int64s = npt.NDArray[np.int64]


class TextEncoder:
    """A tokenizer with a length limit. `truncate` is `end` (cut) or `error` (refuse longer text)."""

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
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Token ids of each text; raises InvalidRequest for none, and for too many where cutting is not allowed."""
        rows = tuple(tuple(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts)))
        for index, row in enumerate(rows):
            if not row:
                raise InvalidRequest(f"text[{index}] holds no token, only spaces or signs that the model does not read")
            if len(row) > self._max_length:
                raise InvalidRequest(f"text[{index}] has {len(row)} tokens; at most {self._max_length} are allowed")
        return rows

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
