"""The engine seam: one suite on every implementation."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.manifest import TensorSpec
from greenserve.ports import Engine
from greenserve.records import Batch, TensorItem
from greenserve.serve.engines.echo import EchoEngine
from greenserve.serve.engines.onnx import CPU, CUDA, OnnxEngine
from greenserve.serve.engines.signature import Signature
from greenserve.serve.engines.torch_cuda import TorchEngine
from tests.tiny_graphs import write_arithmetic
from tests.tiny_program import write_tensor_program, write_text_program

NAMES = ("left", "right")
TEXT = Signature(inputs=None, outputs=("logits",), datatypes={})
TENSORS = Signature(
    inputs=tuple(TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in NAMES),
    outputs=("sum", "difference"),
    datatypes={"sum": "FP32", "difference": "FP32"},
)
NO_GPU = shutil.which("nvidia-smi") is None
NEEDS = {
    "onnx-cuda": [
        pytest.mark.gpu,
        pytest.mark.skipif(
            NO_GPU or CUDA not in ort.get_available_providers(), reason="needs an NVIDIA GPU and onnxruntime-gpu"
        ),
    ],
    "torch-cuda": [
        pytest.mark.gpu,
        pytest.mark.skipif(NO_GPU, reason="needs an NVIDIA GPU and a CUDA build of torch"),
    ],
}

rows = st.lists(st.lists(st.integers(0, 127), min_size=1, max_size=9), min_size=1, max_size=6)
Maker = Callable[[Path, Path], tuple[Engine, Engine]]
"""(folder of the tiny model, an empty folder) -> an engine for texts and one for tensors, of one implementation."""


def _echo(_model: Path, _folder: Path) -> tuple[Engine, Engine]:
    return EchoEngine(variant="fp32"), EchoEngine(variant="fp32", returns=("sum", "difference"))


def _onnx(*, threads: int = 1, provider: str = CPU) -> Maker:
    def make(model: Path, folder: Path) -> tuple[Engine, Engine]:
        files = (model / "fp32" / "model.onnx", TEXT), (write_arithmetic(folder / "model.onnx"), TENSORS)
        text, tensors = (
            OnnxEngine(model_file=file, variant="fp32", threads=threads, provider=provider, signature=signature)
            for file, signature in files
        )
        return text, tensors

    return make


def _torch(*, device: str, graphs: bool = False, half: bool = False) -> Maker:
    def make(_model: Path, folder: Path) -> tuple[Engine, Engine]:
        files = (
            (write_text_program(folder / "text.pt2", half=half), TEXT),
            (write_tensor_program(folder / "tensors.pt2"), TENSORS),
        )
        text, tensors = (
            TorchEngine(model_file=file, variant="fp32", device=device, graphs=graphs, signature=signature)
            for file, signature in files
        )
        return text, tensors

    return make


MAKERS: dict[str, Maker] = {
    "echo": _echo,
    "onnx": _onnx(),
    "onnx-2-threads": _onnx(threads=2),
    "onnx-cuda": _onnx(provider=CUDA),
    "torch-on-cpu": _torch(device="cpu"),
    "torch-bf16-on-cpu": _torch(device="cpu", half=True),
    "torch-cuda": _torch(device="cuda:0"),
    "torch-cuda-graphs": _torch(device="cuda:0", graphs=True),
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=NEEDS.get(name.removesuffix("-graphs"), ())) for name in MAKERS]
)
def engines(
    request: pytest.FixtureRequest, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Engine, Engine]:
    made = MAKERS[request.param](tiny_manifest.parent, tmp_path_factory.mktemp("engine"))
    for each in made:
        each.load()
    return made


@pytest.fixture
def engine(engines: tuple[Engine, Engine]) -> Engine:
    """The one for texts."""
    return engines[0]


def a_batch(token_rows: list[list[int]]) -> Batch:
    """Rows padded to the longest."""
    return Batch(
        batch_id="batch-1",
        variant="fp32",
        rows=tuple(map(tuple, token_rows)),
        padded_length=max(map(len, token_rows)),
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_each_row_gets_its_own_answer_in_its_place(engine: Engine, token_rows: list[list[int]]) -> None:
    """A row answers alike alone and among others: padding and neighbours change nothing."""
    outputs, _ = engine.run(a_batch(token_rows))

    assert len(token_rows) == len(outputs["logits"])
    for index, row in enumerate(token_rows):
        alone, _ = engine.run(a_batch([row]))
        assert np.allclose(alone["logits"][0], outputs["logits"][index], atol=1e-5)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_the_span_says_what_ran_and_when(engine: Engine, token_rows: list[list[int]]) -> None:
    """Within the call on the monotonic clock, with the lengths before padding and CPU time that was used in it."""
    batch = a_batch(token_rows)
    before_ns = time.monotonic_ns()

    _, span = engine.run(batch)

    assert before_ns <= span.start_ns < span.end_ns <= time.monotonic_ns() + 1
    assert ("batch-1", "fp32", batch.padded_length) == (span.batch_id, span.variant, span.padded_length)
    assert tuple(map(len, token_rows)) == span.lengths
    assert span.cpu_ns >= 0
    assert engine.describe()["device"] == span.device


def test_logits_are_32_bit_floats_by_class(engine: Engine) -> None:
    """[rows, classes], whatever the precision of the weights."""
    outputs, _ = engine.run(a_batch([[1], [2, 3]]))

    assert ((2, 3), np.dtype(np.float32)) == (outputs["logits"].shape, outputs["logits"].dtype)


def test_what_one_batch_gave_outlives_the_next(engine: Engine) -> None:
    """Buffers that are used again are not handed out."""
    first, _ = engine.run(a_batch([[1], [2]]))
    kept = first["logits"].copy()

    engine.run(a_batch([[4], [3]]))

    assert np.array_equal(kept, first["logits"])


@pytest.mark.parametrize("count", [2, 1, 3])
def test_tensors_are_stacked_in_the_declared_order(engines: tuple[Engine, Engine], count: int) -> None:
    """All outputs by name, a row per item; a batch of another size before or after changes nothing."""
    _, engine = engines
    random = np.random.default_rng(count)
    pairs = [random.normal(size=(2, 2)).astype(np.float32) for _ in range(count)]
    items = tuple(TensorItem((pair[0], pair[1])) for pair in pairs)

    outputs, span = engine.run(Batch(batch_id="b", variant="fp32", rows=items, padded_length=4, input_names=NAMES))

    echoed = isinstance(engine, EchoEngine)
    wanted = {
        "sum": [pair[0] if echoed else pair[0] + pair[1] for pair in pairs],
        "difference": [pair[1] if echoed else pair[0] - pair[1] for pair in pairs],
    }
    assert {"sum", "difference"} == set(outputs)
    assert all(np.allclose(wanted[name], outputs[name], atol=1e-6) for name in wanted)
    assert (4,) * count == span.lengths


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    """At least its kind and its device."""
    assert {"kind", "device"} <= set(engine.describe())
