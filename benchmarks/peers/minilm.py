"""The model as every peer runs it: its tokenizer, ONNX Runtime with one thread, softmax. Knows nothing of GreenServe.

It runs inside each peer's own virtual environment, from the root of the source tree.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

MODEL = Path("variants/sentiment/int8-dyn/model.onnx")
TOKENIZER = Path("variants/sentiment/shared/tokenizer.json")
LABELS = ("negative", "neutral", "positive")
MAX_TOKENS = 256
MAX_BATCH = 32

Floats = npt.NDArray[np.float32]


class MiniLm:
    """One session with one thread, and one tokenizer: as many engines as cores are fastest."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(TOKENIZER))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Class probabilities of each text, FP32 [n, 3]."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        feeds = {
            "input_ids": np.array([one.ids for one in encodings], dtype=np.int64),
            "attention_mask": np.array([one.attention_mask for one in encodings], dtype=np.int64),
        }
        (logits,) = self._session.run(["logits"], feeds)
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
        return shares

    def classify(self, texts: Sequence[str]) -> list[dict[str, object]]:
        """`label` and `probabilities` of each text."""
        shares = self.probabilities(texts)
        return [
            {"label": LABELS[best], "probabilities": row}
            for best, row in zip(shares.argmax(axis=-1).tolist(), shares.tolist(), strict=True)
        ]
