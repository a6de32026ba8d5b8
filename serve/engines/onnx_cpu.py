"""ONNX Runtime on CPU: one session, a fixed number of threads, no spinning."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from greenserve.carbon.meters.thread_cpu import thread_ids, threads_cpu_ns
from greenserve.errors import ManifestInvalid
from greenserve.inputs import pad
from greenserve.records import Batch, Span

INPUTS = frozenset({"input_ids", "attention_mask"})


class OnnxCpuEngine:
    """Runs one ONNX file: on the calling thread, and on `threads` - 1 of ONNX Runtime's own.

    State: the session and its own threads, known by the difference that loading makes; load one engine at a time.
    """

    def __init__(self, *, model_file: Path, variant: str, threads: int = 1, device: str = "cpu") -> None:
        self._model_file = model_file
        self._variant = variant
        self._threads = threads
        self._device = device
        self._session: ort.InferenceSession | None = None
        self._own_threads: frozenset[int] = frozenset()

    def load(self) -> None:
        """Create the session; raises ManifestInvalid for a file that ONNX Runtime refuses or with other inputs."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        before = thread_ids()
        try:
            session = ort.InferenceSession(str(self._model_file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many unrelated classes for a bad file
            raise ManifestInvalid(f"{self._model_file.name} of {self._variant} does not load: {error}") from None
        given = {entry.name for entry in session.get_inputs()}
        if given != INPUTS:
            raise ManifestInvalid(f"{self._variant} takes inputs {sorted(given)}; this engine feeds {sorted(INPUTS)}")
        self._session = session
        self._own_threads = thread_ids() - before if self._threads > 1 else frozenset()

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """`logits` FP32 [rows, classes] and the span with the CPU time of all threads that ran it."""
        if self._session is None:
            raise ManifestInvalid(f"{self._variant} is not loaded")
        start_ns, start_cpu_ns = time.monotonic_ns(), self._cpu_clock_ns()
        lengths = tuple(len(row.token_ids) for row in batch.rows)
        feeds = pad([row.token_ids for row in batch.rows], batch.padded_length)
        (logits,) = self._session.run(["logits"], feeds)
        cpu_ns, end_ns = self._cpu_clock_ns() - start_cpu_ns, time.monotonic_ns()
        span = Span(
            batch_id=batch.batch_id,
            variant=batch.variant,
            device=self._device,
            start_ns=start_ns,
            end_ns=max(end_ns, start_ns + 1),
            cpu_ns=cpu_ns,
            lengths=lengths,
            padded_length=batch.padded_length,
        )
        return {"logits": logits}, span

    def _cpu_clock_ns(self) -> int:
        return time.thread_time_ns() + threads_cpu_ns(self._own_threads)

    def describe(self) -> Mapping[str, object]:
        """Kind, provider, threads and device."""
        return MappingProxyType(
            {
                "kind": "onnxruntime",
                "provider": "CPUExecutionProvider",
                "version": ort.__version__,
                "intra_op_threads": self._threads,
                "spinning": False,
                "arena": True,
                "level": "all",
                "device": self._device,
            }
        )


def engine_for(model_file: Path, variant: str) -> OnnxCpuEngine:
    """The engine with one thread, as the optimizer measures it and the gateway serves it."""
    return OnnxCpuEngine(model_file=model_file, variant=variant)
