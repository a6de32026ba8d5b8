"""Export, quantising and pruning of the tiny encoder, and surgery on its graph."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from greenserve.errors import GreenServeError
from greenserve.inputs import pad
from greenserve.optimize.export import Exported, export_encoder, load_encoder
from greenserve.optimize.features import features_of
from greenserve.optimize.graph import attach_head, strip
from greenserve.optimize.heads import Head
from greenserve.optimize.prune import keep_first_layers
from greenserve.optimize.quantize import needs_reduced_range, quantize_dynamic, required_isa
from greenserve.optimize.sources import resolve

ROWS = [(2, 5, 9, 3), (2, 7, 3), (2, 4, 4, 4, 4, 190, 3)]


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Both layers as ONNX."""
    return export_encoder(resolve(str(tiny_model)), layers=2, file=tmp_path_factory.mktemp("onnx") / "two.onnx")


def test_the_graph_matches_torch_on_ragged_probes(exported: Exported) -> None:
    """The gate is 1e-4; a faithful graph is far below."""
    assert exported.max_difference < 1e-5
    assert exported.layers == 2


def test_padding_changes_no_answer(exported: Exported) -> None:
    """A row alone and the same row padded beside longer ones have the same features, of length one."""
    together = features_of(exported.file, ROWS, batch=3)
    alone = features_of(exported.file, ROWS, batch=1)

    assert alone == pytest.approx(together, abs=1e-5)
    assert np.ones(3) == pytest.approx(np.linalg.norm(together, axis=1), abs=1e-5)


def test_export_twice_gives_the_same_bytes_without_paths(exported: Exported, tiny_model: Path, tmp_path: Path) -> None:
    """No documentation, metadata or producer of the exporter stays."""
    again = export_encoder(resolve(str(tiny_model)), layers=2, file=tmp_path / "again.onnx")
    model = onnx.load(again.file)

    assert exported.file.read_bytes() == again.file.read_bytes()
    assert (model.doc_string, len(model.metadata_props)) == ("", 0)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_whatever_an_exporter_writes_beside_the_model_is_stripped(exported: Exported, tmp_path: Path) -> None:
    """Documentation and metadata of model, graph, nodes and tensors hold source paths; the answers stay."""
    model = onnx.load(exported.file)
    model.doc_string = model.graph.doc_string = "from here/there.py"
    model.metadata_props.add(key="trace", value="here/there.py")
    for node in model.graph.node:
        node.doc_string = "here/there.py"
        node.metadata_props.add(key="trace", value="here/there.py")
    onnx.save(model, tmp_path / "dirty.onnx")

    strip(tmp_path / "dirty.onnx")

    assert b"there.py" not in (tmp_path / "dirty.onnx").read_bytes()
    assert features_of(tmp_path / "dirty.onnx", ROWS) == pytest.approx(features_of(exported.file, ROWS))


def test_a_dropped_layer_is_gone_from_graph_and_parameters(
    exported: Exported, tiny_model: Path, tmp_path: Path
) -> None:
    """One layer of the tiny model has 8,544 parameters."""
    one = export_encoder(resolve(str(tiny_model)), layers=1, file=tmp_path / "one.onnx")

    assert exported.parameters - one.parameters == 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32
    assert np.abs(features_of(one.file, ROWS) - features_of(exported.file, ROWS)).max() > 1e-3


def test_only_layers_that_are_there_can_be_kept(tiny_model: Path) -> None:
    """Three of two is refused, and so is none."""
    encoder = load_encoder(resolve(str(tiny_model)), layers=2)

    for layers in (0, 3):
        with pytest.raises(ValueError, match="between 1 and 2"):
            keep_first_layers(encoder, layers)


def test_the_head_is_linear_on_the_features(exported: Exported, tmp_path: Path) -> None:
    """Logits of the graph are the head's own, and the only output."""
    random = np.random.default_rng(0)
    head = Head(weights=random.normal(size=(32, 3)), bias=random.normal(size=3), penalty=1, temperature=1, loss=0)

    attach_head(exported.file, head, tmp_path / "model.onnx")

    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits"]
    (logits,) = session.run(None, dict(pad(ROWS, 7)))
    assert head.logits(features_of(exported.file, ROWS)) == pytest.approx(logits, abs=1e-4)


def test_int8_features_stay_near_and_depend_on_the_batch(exported: Exported, tmp_path: Path) -> None:
    """Activations share one scale per batch: the reason why such a variant is not batch invariant."""
    file = tmp_path / "int8.onnx"

    step = quantize_dynamic(exported.file, file, reduced_range=False)

    given, wanted = features_of(file, ROWS, batch=1), features_of(exported.file, ROWS)
    assert (given * wanted).sum(axis=1).min() > 0.98
    assert np.abs(given - features_of(file, ROWS, batch=3)).max() > 1e-6
    assert {"op": "quantize_dynamic", "reduce_range": False}.items() <= step.items()
    kinds = {node.op_type for node in onnx.load(file).graph.node}
    assert "MatMulInteger" in kinds


def test_hosts_without_dot_products_get_a_reduced_range(exported: Exported, tmp_path: Path) -> None:
    """Seven bits keep 16-bit sums from saturating; such a variant runs on more hosts."""
    quantize_dynamic(exported.file, tmp_path / "small.onnx", reduced_range=needs_reduced_range(("avx2",)))

    weights = [
        onnx.numpy_helper.to_array(one)
        for one in onnx.load(tmp_path / "small.onnx").graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and "embeddings" not in one.name and len(one.dims) == 2
    ]
    assert weights
    assert max(int(np.abs(one.astype(int)).max()) for one in weights) <= 64
    assert not needs_reduced_range(("avx2", "avx_vnni"))
    assert set(required_isa(reduced_range=False)) < set(required_isa(reduced_range=True))


def test_features_that_are_not_finite_are_refused(exported: Exported, tmp_path: Path) -> None:
    """The row that breaks a model is found when it is built, not when it is served."""
    model = onnx.load(exported.file)
    for tensor in model.graph.initializer:
        if "LayerNorm.weight" in tensor.name:
            broken = onnx.numpy_helper.to_array(tensor) * np.float32("nan")
            tensor.CopyFrom(onnx.numpy_helper.from_array(broken, tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")

    with pytest.raises(GreenServeError, match="not finite"):
        features_of(tmp_path / "nan.onnx", ROWS)
