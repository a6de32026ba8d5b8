"""ONNX Runtime: what its files must hold, and what it is fed."""

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.inputs import bucket_of
from greenserve.manifest import TensorSpec
from greenserve.records import Batch, TensorItem
from greenserve.serve.engines.onnx import CUDA, BoundSession, OnnxEngine, engine_for_file
from greenserve.serve.engines.signature import Signature
from tests.tiny_graphs import write_arithmetic, write_graph, write_identity


def declared(*specs: tuple[str, str], outputs: dict[str, str]) -> Signature:
    """A tensor model that takes [b, 2] of each."""
    inputs = tuple(TensorSpec(name=name, datatype=datatype, shape=(-1, 2)) for name, datatype in specs)
    return Signature(inputs=inputs, outputs=tuple(outputs), datatypes=outputs)


def loaded(file: Path, signature: Signature | None = None) -> OnnxEngine:
    """Ready to run."""
    engine = OnnxEngine(model_file=file, variant="fp32", signature=signature)
    engine.load()
    return engine


def a_batch(*rows: tuple[int, ...]) -> Batch:
    """Rows padded to eight tokens."""
    return Batch(batch_id="batch", variant="fp32", rows=rows, padded_length=8)


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path: Path) -> None:
    """ONNX Runtime's many errors become one of ours."""
    (tmp_path / "model.onnx").write_bytes(b"nothing")

    with pytest.raises(ManifestInvalid, match=r"model\.onnx of fp32 does not load"):
        loaded(tmp_path / "model.onnx")


def test_engines_are_loaded_before_they_run(tmp_path: Path) -> None:
    """An engine that was not loaded says so."""
    with pytest.raises(ManifestInvalid, match="is not loaded"):
        engine_for_file(tmp_path / "model.onnx", "fp32").run(a_batch((1,)))


def test_threads_of_others_that_begin_during_a_load_are_not_the_engines(tiny_manifest: Path) -> None:
    """They may end: no run fails for it, and what they used is nobody's."""
    leave, loaded_now = threading.Event(), threading.Event()
    others: list[threading.Thread] = []

    def begin_others() -> None:
        while not loaded_now.is_set() and len(others) < 500:
            others.append(threading.Thread(target=leave.wait))
            others[-1].start()

    beginning = threading.Thread(target=begin_others)
    engine = OnnxEngine(model_file=tiny_manifest.parent / "fp32" / "model.onnx", variant="fp32", threads=2)
    beginning.start()
    engine.load()
    loaded_now.set()
    beginning.join()
    leave.set()
    for each in others:
        each.join()

    outputs, span = engine.run(a_batch((1, 2)))

    assert others
    assert 1 == len(outputs["logits"])
    assert span.cpu_ns > 0


def test_a_span_holds_the_cpu_time_of_the_sessions_own_threads(tmp_path: Path) -> None:
    """A graph whose work is shared by two threads: together they use more than the one that calls."""
    file = a_heavy_graph(tmp_path / "model.onnx")
    engine = OnnxEngine(
        model_file=file, variant="v", threads=2, signature=declared(("x", "FP32"), outputs={"y": "FP32"})
    )
    engine.load()
    item = TensorItem((np.ones((WIDTH,), np.float32),))
    batch = Batch(batch_id="b", variant="v", rows=(item,) * 64, padded_length=1, input_names=("x",))
    own_ns, all_ns = 0, 0

    for _ in range(5):
        before_ns = time.thread_time_ns()
        _, span = engine.run(batch)
        own_ns += time.thread_time_ns() - before_ns
        all_ns += span.cpu_ns

    assert own_ns < all_ns < 20 * own_ns


WIDTH = 512


def a_heavy_graph(file: Path) -> Path:
    """Eight products with a square matrix."""
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32))
    names = ["x", *(f"h{number}" for number in range(7)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    return write_graph(file, nodes, inputs={"x": "FLOAT"}, outputs={"y": "FLOAT"}, shape=("b", WIDTH))


def test_padding_changes_no_answer(tiny_manifest: Path) -> None:
    """Alone or beside a longer row, on the real engine: the same logits; the span counts both lengths."""
    engine = loaded(tiny_manifest.parent / "fp32" / "model.onnx")
    short, long = (3, 3, 1), (2,) * 7

    alone, _ = engine.run(a_batch(short))
    together, span = engine.run(a_batch(short, long))

    assert np.allclose(alone["logits"][0], together["logits"][0], atol=1e-6)
    assert ((3, 7), 8) == (span.lengths, span.padded_length)
    assert span.cpu_ns > 0
    assert 8 == bucket_of(7, (4, 8, 16))


@pytest.mark.parametrize(
    ("kind", "datatype", "values"),
    [
        ("STRING", "BYTES", np.array([["a", "ß"], ["", "long" * 50]], dtype=object)),
        ("BOOL", "BOOL", np.array([[True, False], [False, False]])),
        ("FLOAT16", "FP16", np.array([[0.5, -2], [65504, 0]], dtype=np.float16)),
        ("DOUBLE", "FP64", np.array([[1e300, -0.0], [0.1, 3]])),
        ("UINT64", "UINT64", np.array([[2**64 - 1, 0], [1, 2]], dtype=np.uint64)),
        ("INT8", "INT8", np.array([[-128, 127], [0, 1]], dtype=np.int8)),
    ],
)
def test_every_kind_of_tensor_passes_unchanged(tmp_path: Path, kind: str, datatype: str, values: np.ndarray) -> None:
    """Strings as object arrays, numbers in their own type."""
    file = write_identity(tmp_path / "model.onnx", kind=kind)
    engine = loaded(file, declared(("given", datatype), outputs={"out": datatype}))
    items = tuple(TensorItem((row,)) for row in values)

    outputs, _ = engine.run(Batch(batch_id="b", variant="v", rows=items, padded_length=1, input_names=("given",)))

    assert values.tolist() == outputs["out"].tolist()
    assert datatype == "BYTES" or values.dtype == outputs["out"].dtype


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (declared(("left", "FP32"), outputs={"sum": "FP32"}), "takes inputs left FP32, right FP32; .* says left FP32$"),
        (
            declared(("left", "FP32"), ("right", "INT8"), outputs={"sum": "FP32"}),
            "takes inputs left FP32, right FP32; its manifest says left FP32, right INT8",
        ),
        (
            declared(("left", "FP32"), ("right", "FP32"), outputs={"product": "FP32"}),
            "gives outputs none; its manifest says product FP32",
        ),
        (
            declared(("left", "FP32"), ("right", "FP32"), outputs={"sum": "FP64"}),
            "gives outputs sum FP32; its manifest says sum FP64",
        ),
        (Signature(inputs=None, outputs=("logits",), datatypes={}), "takes inputs left, right; a text model takes"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path, signature: Signature, said: str) -> None:
    """When it loads, not when a client asks; with both sides."""
    file = write_arithmetic(tmp_path / "model.onnx")

    with pytest.raises(ManifestInvalid, match=said):
        loaded(file, signature)


def test_an_embedding_graph_must_give_embeddings(tiny_manifest: Path) -> None:
    """The tiny classifier does not."""
    signature = Signature(inputs=None, outputs=("sentence_embedding",), datatypes={})

    with pytest.raises(ManifestInvalid, match="gives outputs none; its manifest says sentence_embedding FP32"):
        loaded(tiny_manifest.parent / "fp32" / "model.onnx", signature)


def a_token_graph(file: Path, *, inputs: Sequence[str], kind: str) -> Path:
    """Gives back the last of its token inputs as FP32 `logits`."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Cast", [inputs[-1]], ["logits"], to=TensorProto.FLOAT)]
    shape = ("b", "s")
    return write_graph(file, nodes, inputs=dict.fromkeys(inputs, kind), outputs={"logits": "FLOAT"}, shape=shape)


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        (("input_ids",), [[5, 6, 0, 0, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0, 0]]),
        (("input_ids", "attention_mask"), [[1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]),
        (("input_ids", "attention_mask", "token_type_ids"), [[0] * 8] * 2),
    ],
)
@pytest.mark.parametrize("kind", ["INT64", "INT32"])
def test_a_text_graph_gets_the_token_inputs_that_it_takes(
    tmp_path: Path, inputs: tuple[str, ...], kind: str, wanted: list[list[int]]
) -> None:
    """No mask where it has none, segments of zeros where it wants them, in its own integer type."""
    engine = loaded(a_token_graph(tmp_path / "model.onnx", inputs=inputs, kind=kind))

    outputs, _ = engine.run(a_batch((5, 6), (7,)))

    assert wanted == outputs["logits"].tolist()


def test_token_ids_are_integers(tmp_path: Path) -> None:
    """A graph that wants floats is named with its type."""
    file = a_token_graph(tmp_path / "model.onnx", inputs=("input_ids",), kind="FLOAT")

    with pytest.raises(ManifestInvalid, match=r"takes input_ids tensor\(float\); token ids are"):
        loaded(file)


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this machine has what the test misses")
def test_cuda_without_a_gpu_is_left_out_with_the_way_to_get_it(tiny_manifest: Path) -> None:
    """Never run on the CPU in silence."""
    file = tiny_manifest.parent / "fp32" / "model.onnx"
    engine = OnnxEngine(model_file=file, variant="fp32", provider=CUDA)

    with pytest.raises(DependencyMissing, match=r"CUDAExecutionProvider, .*install onnxruntime-gpu"):
        engine.load()


def test_a_batch_far_larger_than_usual_answers_like_any_other(tiny_manifest: Path) -> None:
    """It gives its memory back, and nothing else changes."""
    engine = loaded(tiny_manifest.parent / "fp32" / "model.onnx")
    usual, _ = engine.run(a_batch((1, 2)))

    large, _ = engine.run(a_batch(*[(1, 2)] * 64))
    after, _ = engine.run(a_batch((1, 2)))

    assert np.allclose(usual["logits"][0], large["logits"], atol=1e-6)
    assert np.array_equal(usual["logits"], after["logits"])


def test_bound_buffers_follow_the_shape_and_keep_no_old_values(tmp_path: Path) -> None:
    """The code that CUDA uses, on the CPU's own memory: grow, shrink, repeat."""
    session = ort.InferenceSession(write_arithmetic(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    bound = BoundSession(session, ("sum", "difference"), device="cpu")
    kept = []

    for value, count in ((1.0, 1), (2.0, 1), (3.0, 4), (4.0, 4), (5.0, 2)):
        feeds = {"left": np.full((count, 2), value, np.float32), "right": np.ones((count, 2), np.float32)}
        kept.append((value, count, bound.run(feeds, None)))

    for value, count, (added, subtracted) in kept:
        assert [[value + 1] * 2] * count == added.tolist()
        assert [[value - 1] * 2] * count == subtracted.tolist()


def test_bound_inputs_are_copied_not_kept(tmp_path: Path) -> None:
    """What the caller does to its array afterwards changes nothing."""
    session = ort.InferenceSession(write_arithmetic(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    bound = BoundSession(session, ("sum",), device="cpu")
    left, right = np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)
    bound.run({"left": left, "right": right}, None)
    left[:] = 100

    assert [[3.0, 3.0]] == bound.run({"left": 2 * right, "right": right}, None)[0].tolist()
    assert [[100.0, 100.0]] == left.tolist()
