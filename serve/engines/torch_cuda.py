"""torch on CUDA: an exported program in the precision of its file. torch is imported only when such a variant loads.

The file is what `torch.export.save` wrote: its arguments are the model's inputs in their order, its result a dictionary
of tensors by output name. Reading it unpickles, so it is read only after its digest was compared with the manifest's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.records import Batch, Span
from greenserve.serve.engines.signature import TOKEN_INPUTS, Signature, feeds_of

MOST_GRAPHS = 128
"""Shapes that are recorded; others run without a recording, which is slower and gives the same."""
WARM_UPS = 3


class TorchEngine:
    """Runs one exported program on `device` (`cuda:0`; `cpu` for a look without a GPU), its host work on one thread.

    Scaled-dot-product attention is whatever kernel torch picks for the file's precision. With `graphs` each shape is
    recorded once as a CUDA graph and replayed, which saves the launches of small batches.

    State: the program, the recordings by shape, and what spans call the device: the board's UUID once it is known.
    """

    def __init__(
        self, *, model_file: Path, variant: str, device: str = "cuda:0", graphs: bool = False, signature: Signature
    ) -> None:
        self._model_file = model_file
        self._variant = variant
        self._device = device
        self._graphs = graphs
        self._signature = signature
        self._names = TOKEN_INPUTS[:2] if signature.inputs is None else tuple(one.name for one in signature.inputs)
        self._board = device
        self._program: Callable[..., Mapping[str, Any]] | None = None
        self._recorded: dict[tuple[tuple[int, ...], ...], Recording] = {}

    def load(self) -> None:
        """Read the program and move it to the device.

        Raises DependencyMissing without torch or without the GPU, ManifestInvalid for a file that is no program or for
        tensors of text, which torch has not.
        """
        if find_spec("torch") is None:
            raise DependencyMissing(f"{self._variant} runs on torch, which is not installed; `pip install torch`")
        import torch
        from torch.export.passes import move_to_device_pass

        device = torch.device(self._device)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise DependencyMissing(
                f"{self._variant} runs on {self._device}; torch {torch.__version__} sees "
                f"{torch.cuda.device_count()} GPUs here. A GPU, its driver and a CUDA build of torch are needed"
            )
        if any(spec.datatype == "BYTES" for spec in self._signature.inputs or ()):
            raise ManifestInvalid(f"{self._variant} takes BYTES, which torch has no tensor for; use onnxruntime")
        torch.set_num_threads(1)
        try:
            program = move_to_device_pass(torch.export.load(self._model_file), device).module()
        except Exception as error:  # torch raises many unrelated classes for a bad file
            raise ManifestInvalid(
                f"{self._model_file.name} of {self._variant} does not load; build it again with `greenserve optimize`: "
                f"{error}"
            ) from None
        self._recorded.clear()
        self._board = _board_of(device)
        self._program = program

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """All outputs of the program in host memory, [rows, ...] each; the span ends when the device is done."""
        import torch

        if self._program is None:
            raise ManifestInvalid(f"{self._variant} is not loaded")
        start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        feeds = feeds_of(batch)
        with torch.inference_mode():
            given = self._answer([torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self._names])
            outputs = {name: _on_host(value) for name, value in given.items()}
        span = Span(
            batch_id=batch.batch_id,
            variant=batch.variant,
            device=self._board,
            start_ns=start_ns,
            end_ns=max(time.monotonic_ns(), start_ns + 1),
            cpu_ns=time.thread_time_ns() - start_cpu_ns,
            lengths=tuple(map(len, batch.rows)),
            padded_length=batch.padded_length,
        )
        return outputs, span

    def describe(self) -> Mapping[str, object]:
        """Kind, provider, threads and device."""
        import torch

        return MappingProxyType(
            {
                "kind": "torch",
                "provider": "torch",
                "version": torch.__version__,
                "intra_op_threads": 1,
                "graphs": self._graphs,
                "device": self._device,
            }
        )

    def _answer(self, tensors: Sequence[Any]) -> Mapping[str, Any]:
        """The program's outputs on the device; what it gives must be what the manifest declares."""
        assert self._program is not None
        if self._device == "cpu":
            given = self._program(*tensors)
        else:
            given = self._on_gpu([tensor.pin_memory() for tensor in tensors])
        if not isinstance(given, Mapping) or not set(self._signature.outputs) <= set(given):
            found = ", ".join(given) if isinstance(given, Mapping) else type(given).__name__
            raise ManifestInvalid(
                f"{self._variant} gives {found}; its manifest says {', '.join(self._signature.outputs)} by name"
            )
        return given

    def _on_gpu(self, pinned: Sequence[Any]) -> Mapping[str, Any]:
        assert self._program is not None
        shapes = tuple(tuple(tensor.shape) for tensor in pinned)
        recording = self._recorded.get(shapes)
        if recording is not None:
            return recording.replay(pinned)
        moved = [tensor.to(self._device, non_blocking=True) for tensor in pinned]
        if self._graphs and len(self._recorded) < MOST_GRAPHS:
            recording = self._recorded[shapes] = Recording(self._program, moved)
            return recording.replay(moved)
        return self._program(*moved)


class Recording:
    """One shape's run as a CUDA graph. State: its input and output buffers, overwritten by each replay."""

    def __init__(self, program: Callable[..., Mapping[str, Any]], tensors: Sequence[Any]) -> None:
        import torch

        self._inputs = [tensor.clone() for tensor in tensors]
        side = torch.cuda.Stream(device=self._inputs[0].device)
        side.wait_stream(torch.cuda.current_stream(self._inputs[0].device))
        with torch.cuda.stream(side):  # libraries set themselves up in the first runs, which no graph may hold
            for _ in range(WARM_UPS):
                program(*self._inputs)
        torch.cuda.current_stream(self._inputs[0].device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = program(*self._inputs)

    def replay(self, tensors: Sequence[Any]) -> Mapping[str, Any]:
        """The outputs for `tensors`, valid until the next replay."""
        for kept, given in zip(self._inputs, tensors, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._outputs


def _on_host(tensor: Any) -> npt.NDArray[np.generic]:
    """A copy in host memory, made after all work on the device; BF16, which numpy has not, as FP32."""
    import torch

    plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    array: npt.NDArray[np.generic] = plain.detach().cpu().numpy()
    return array


def _board_of(device: Any) -> str:
    """The UUID by which meters know a GPU; torch's own name of the device where it has none."""
    import torch

    if device.type != "cuda":
        return str(device)
    found = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return str(device) if found is None else f"GPU-{found}"
