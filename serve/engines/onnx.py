"""ONNX Runtime on CPU or CUDA: one session, a fixed number of threads, no spinning."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from greenserve.carbon.meters.thread_cpu import begun_by, cpu_ns_by_thread
from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.records import Batch, Span
from greenserve.serve.engines.signature import TOKEN_INPUTS, Feeds, Signature, feeds_of
from greenserve.serve.niceness import threads_give_way

log = logging.getLogger("greenserve.engines")
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
DEVICES: Mapping[str, str] = MappingProxyType({CPU: "cpu", CUDA: "cuda:0"})
ARENAS: Mapping[str, str] = MappingProxyType({CPU: "cpu:0", CUDA: "gpu:0"})
CUDA_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "device_id": "0",
        # Doubling would take memory that the other variants of this GPU need.
        "arena_extend_strategy": "kSameAsRequested",
        # The exhaustive default tries every algorithm again for each new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
)
DATATYPES: Mapping[str, str] = MappingProxyType(
    {
        "tensor(float)": "FP32",
        "tensor(double)": "FP64",
        "tensor(float16)": "FP16",
        "tensor(bool)": "BOOL",
        "tensor(string)": "BYTES",
        **{f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    }
)
TOKEN_TYPES: Mapping[str, type[np.signedinteger[Any]]] = MappingProxyType(
    {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
)
OUTSIZED = 4
"""A batch of so many times the usual elements gives its memory back at once."""

Outputs = Sequence[npt.NDArray[np.generic]]


class OnnxEngine:
    """Runs one ONNX file: on the calling thread, on `threads` - 1 of ONNX Runtime's own, or on the first GPU.

    State: the session, its own threads (those that its creation began and that live), and the usual size of a batch.
    """

    def __init__(
        self,
        *,
        model_file: Path,
        variant: str,
        threads: int = 1,
        provider: str = CPU,
        signature: Signature | None = None,
    ) -> None:
        self._model_file = model_file
        self._variant = variant
        self._threads = threads
        self._provider = provider
        self._signature = signature
        self._runner: Callable[[Feeds, ort.RunOptions | None], Outputs] | None = None
        self._own_threads: frozenset[int] = frozenset()
        self._outputs: tuple[str, ...] = ()
        self._token_inputs: Mapping[str, type[np.signedinteger[Any]]] = {}
        self._usual_elements = 0.0
        self._shrink: ort.RunOptions | None = None

    def load(self) -> None:
        """Create the session.

        Raises DependencyMissing where this machine lacks the provider, ManifestInvalid for a file that ONNX Runtime
        refuses or whose inputs and outputs are not the manifest's.
        """
        if self._provider not in ort.get_available_providers():
            raise DependencyMissing(
                f"{self._variant} needs ONNX Runtime's {self._provider}, the installed one has "
                f"{', '.join(ort.get_available_providers())}; install onnxruntime-gpu instead of onnxruntime"
            )
        if self._threads > 1:
            session, self._own_threads = begun_by(self._session)
            threads_give_way(self._own_threads)
        else:
            session = self._session()
        if session.get_providers()[0] != self._provider:
            raise DependencyMissing(
                f"{self._variant} needs ONNX Runtime's {self._provider}, which did not start here: no GPU, driver or "
                "CUDA library was found; `nvidia-smi` shows whether a GPU is visible"
            )
        self._check(session)
        self._outputs = tuple(each.name for each in session.get_outputs() if each.type in DATATYPES)
        if self._provider == CUDA and not _has_text(session):
            self._runner = BoundSession(session, self._outputs, device="cuda").run
        else:
            self._runner = lambda feeds, options: session.run(self._outputs, feeds, options)
        self._shrink = ort.RunOptions()
        self._shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", ARENAS[self._provider])

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """All outputs of the graph, [rows, ...] each, and the span with the CPU time of all threads that ran it."""
        if self._runner is None:
            raise ManifestInvalid(f"{self._variant} is not loaded")
        start_ns, own_ns, start_cpu_ns = time.monotonic_ns(), cpu_ns_by_thread(self._own_threads), time.thread_time_ns()
        feeds = feeds_of(batch)
        if self._token_inputs:
            feeds = _tokens_for(self._token_inputs, feeds)
        given = self._runner(feeds, self._run_options(feeds))
        cpu_ns = time.thread_time_ns() - start_cpu_ns + self._own_cpu_ns(own_ns)
        end_ns = time.monotonic_ns()
        span = Span(
            batch_id=batch.batch_id,
            variant=batch.variant,
            device=DEVICES[self._provider],
            start_ns=start_ns,
            end_ns=max(end_ns, start_ns + 1),
            cpu_ns=cpu_ns,
            lengths=tuple(map(len, batch.rows)),
            padded_length=batch.padded_length,
        )
        return dict(zip(self._outputs, given, strict=True)), span

    def describe(self) -> Mapping[str, object]:
        """Kind, provider, threads and device."""
        return MappingProxyType(
            {
                "kind": "onnxruntime",
                "provider": self._provider,
                "version": ort.__version__,
                "intra_op_threads": self._threads,
                "spinning": False,
                "arena": True,
                "level": "all",
                "device": DEVICES[self._provider],
            }
        )

    def _session(self) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(
                str(self._model_file), _options(self._threads), providers=_providers(self._provider), enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime raises many unrelated classes for a bad file
            raise ManifestInvalid(
                f"{self._model_file.name} of {self._variant} does not load; build it again with `greenserve optimize`: "
                f"{error}"
            ) from None

    def _own_cpu_ns(self, start_ns: Mapping[int, int]) -> int:
        """What the session's threads have used since [ns]; one that has ended is forgotten, and fails no run."""
        end_ns = cpu_ns_by_thread(start_ns)
        if len(end_ns) < len(self._own_threads):
            log.warning("%s: %d of its threads have ended", self._variant, len(self._own_threads) - len(end_ns))
            self._own_threads = frozenset(end_ns)
        return sum([ns - start_ns[each] for each, ns in end_ns.items()])

    def _run_options(self, feeds: Feeds) -> ort.RunOptions | None:
        elements = sum(array.size for array in feeds.values())
        outsized = 0 < OUTSIZED * self._usual_elements < elements
        self._usual_elements += 0.1 * (elements - self._usual_elements) if self._usual_elements else elements
        return self._shrink if outsized else None

    def _check(self, session: ort.InferenceSession) -> None:
        given = {each.name: each.type for each in session.get_inputs()}
        signature = self._signature
        if signature is None or signature.inputs is None:
            self._check_tokens(given)
        else:
            wanted = {spec.name: spec.datatype for spec in signature.inputs}
            self._same("takes inputs", {name: DATATYPES.get(kind, kind) for name, kind in given.items()}, wanted)
        if signature is None:
            return
        found = {each.name: DATATYPES.get(each.type, each.type) for each in session.get_outputs()}
        declared = {name: signature.datatypes.get(name, "FP32") for name in signature.outputs}
        if signature.inputs is None:
            declared = {name: found.get(name, "FP32") for name in signature.outputs}
        self._same("gives outputs", {name: kind for name, kind in found.items() if name in declared}, declared)

    def _check_tokens(self, given: Mapping[str, str]) -> None:
        if "input_ids" not in given or not set(given) <= set(TOKEN_INPUTS):
            raise ManifestInvalid(
                f"{self._variant} takes inputs {', '.join(given)}; a text model takes input_ids, with or without "
                "attention_mask and token_type_ids"
            )
        if unfit := [f"{name} {kind}" for name, kind in given.items() if kind not in TOKEN_TYPES]:
            raise ManifestInvalid(f"{self._variant} takes {unfit[0]}; token ids are tensor(int64) or tensor(int32)")
        plain = {"input_ids": np.int64, "attention_mask": np.int64}
        types = {name: TOKEN_TYPES[kind] for name, kind in given.items()}
        self._token_inputs = {} if types == plain else types

    def _same(self, what: str, given: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        if given != wanted:
            shown = [", ".join(f"{name} {kind}" for name, kind in each.items()) or "none" for each in (given, wanted)]
            raise ManifestInvalid(f"{self._variant} {what} {shown[0]}; its manifest says {shown[1]}")


class BoundSession:
    """A session whose inputs and outputs stay on its `device` (`cuda`, or `cpu`), copied once each way.

    State: one buffer per input, used again while the shape stays. Pinned host memory is left out: token ids are a few
    kilobytes, and the copy of what comes back waits for the batch anyway.
    """

    def __init__(self, session: ort.InferenceSession, outputs: Sequence[str], *, device: str) -> None:
        self._session = session
        self._outputs = tuple(outputs)
        self._device = device
        self._binding = session.io_binding()
        self._buffers: dict[str, tuple[tuple[int, ...], ort.OrtValue]] = {}

    def run(self, feeds: Feeds, options: ort.RunOptions | None) -> Outputs:
        """The outputs, in host memory, after the device is done."""
        for name, array in feeds.items():
            shape, buffer = self._buffers.get(name, ((), None))
            if buffer is not None and shape == array.shape:
                buffer.update_inplace(np.ascontiguousarray(array))
                continue
            buffer = ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), self._device, 0)
            self._buffers[name] = array.shape, buffer
            self._binding.bind_ortvalue_input(name, buffer)
        for name in self._outputs:
            self._binding.bind_output(name, self._device, 0)
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding, options)
        self._binding.synchronize_outputs()
        copied: Outputs = self._binding.copy_outputs_to_cpu()
        return copied


def engine_for_file(model_file: Path, variant: str) -> OnnxEngine:
    """The engine of a text model's file with one thread, as the optimizer measures it and the gateway serves it."""
    return OnnxEngine(model_file=model_file, variant=variant)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _providers(provider: str) -> list[Any]:
    """CUDA leaves operators that it does not know to the CPU."""
    return [CPU] if provider == CPU else [(CUDA, dict(CUDA_OPTIONS)), CPU]


def _has_text(session: ort.InferenceSession) -> bool:
    return any(each.type == "tensor(string)" for each in (*session.get_inputs(), *session.get_outputs()))


def _tokens_for(types: Mapping[str, type[np.signedinteger[Any]]], feeds: Feeds) -> dict[str, npt.NDArray[np.generic]]:
    """Exactly the token inputs that the graph takes: segments are all 0, the mask is left out where it takes none."""
    zeros = np.zeros_like(feeds["input_ids"])
    return {name: feeds.get(name, zeros).astype(kind, copy=False) for name, kind in types.items()}
