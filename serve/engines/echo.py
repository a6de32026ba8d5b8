"""The echo engine: no model, a declared time; for tests and for measuring the gateway itself."""

import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from greenserve.records import Batch, Span


class EchoEngine:
    """Logits that depend on the row's own tokens only. `fail_on` is a token id at which it raises.

    `busy_s` is burnt as CPU time per batch, so that metering sees work.
    """

    def __init__(self, *, variant: str, classes: int = 3, busy_s: float = 0.0, fail_on: int | None = None) -> None:
        self._variant = variant
        self._classes = classes
        self._busy_s = busy_s
        self._fail_on = fail_on

    def load(self) -> None:
        """Nothing to read."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """`logits` FP32 [rows, classes]: a one at (sum of the row's tokens) modulo classes."""
        start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        logits = np.zeros((len(batch.rows), self._classes), dtype=np.float32)
        for index, row in enumerate(batch.rows):
            if self._fail_on in row.token_ids:
                raise RuntimeError(f"told to fail on token {self._fail_on}")
            logits[index, sum(row.token_ids) % self._classes] = 1.0
        while time.thread_time_ns() - start_cpu_ns < self._busy_s * 1e9:
            pass
        span = Span(
            batch_id=batch.batch_id,
            variant=self._variant,
            device="cpu",
            start_ns=start_ns,
            end_ns=max(time.monotonic_ns(), start_ns + 1),
            cpu_ns=time.thread_time_ns() - start_cpu_ns,
            lengths=tuple(len(row.token_ids) for row in batch.rows),
            padded_length=batch.padded_length,
        )
        return {"logits": logits}, span

    def describe(self) -> Mapping[str, object]:
        """Kind and device."""
        return {"kind": "echo", "device": "cpu"}
