"""What the GPU check runs: encoder layers in torch, as three classes of batches and in three precisions."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenserve.cli.gpu_work import device_of

WIDTH, HEADS, LAYERS = 768, 12, 6
CLASSES = (("short", 4, 64, 0.006), ("middle", 16, 128, 0.020), ("long", 32, 256, 0.070))
"""Name, rows, tokens a row, and how long a batch of it should take [s]."""
BATCH_SIZES = (1, 8, 32, 128)
TOKENS = 128
TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A class of batches: `run` runs one and returns when its outputs are there."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model in a precision at a batch size: `run` runs one batch of `rows` requests to its end."""

    precision: str
    rows: int
    run: Callable[[], object]


def make(torch: Any, uuid: str) -> tuple[tuple[Kind, ...], tuple[Served, ...]]:
    """The three classes in fp16, repeated to last 6, 20 and 70 ms, and each precision at each batch size."""
    device = torch.device("cuda", device_of(torch, uuid))
    precisions = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    models = {name: _encoder(torch, device, kind) for name, kind in precisions.items()}
    kinds = []
    for name, rows, tokens, wanted_s in CLASSES:
        once = _forward(torch, device, models["fp16"], (rows, tokens, torch.float16))
        kinds.append(Kind(name=name, run=_repeated(torch, device, once, _times(torch, device, once, wanted_s))))
    served = []
    for precision, kind in precisions.items():
        for rows in BATCH_SIZES:
            once = _forward(torch, device, models[precision], (rows, TOKENS, kind))
            served.append(Served(precision=precision, rows=rows, run=_repeated(torch, device, once, 1)))
    return tuple(kinds), tuple(served)


def _encoder(torch: Any, device: Any, kind: Any) -> Any:
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
    return torch.nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).to(device, kind).eval()


def _forward(torch: Any, device: Any, model: Any, shape: tuple[int, int, Any]) -> Callable[[], object]:
    rows, tokens, kind = shape
    inputs = torch.randn(rows, tokens, WIDTH, device=device, dtype=kind)

    def once() -> object:
        with torch.inference_mode():
            return model(inputs)

    return once


def _repeated(torch: Any, device: Any, once: Callable[[], object], times: int) -> Callable[[], object]:
    def run() -> None:
        for _ in range(times):
            once()
        torch.cuda.synchronize(device)

    return run


def _times(torch: Any, device: Any, once: Callable[[], object], wanted_s: float) -> int:
    """How often one forward pass fits into the time that a batch of the class should take."""
    _repeated(torch, device, once, TRIES)()
    start_s = time.perf_counter()
    _repeated(torch, device, once, TRIES)()
    return max(1, round(wanted_s * TRIES / (time.perf_counter() - start_s)))
