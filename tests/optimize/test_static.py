"""The token table."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from greenserve.errors import GreenServeError
from greenserve.optimize.features import features_of
from greenserve.optimize.static import SMOOTHING, token_table, write_static

WIDTH = 8


def vectors(rows: int = 50) -> np.ndarray:
    """Random vectors of 12 dimensions."""
    return np.random.default_rng(0).normal(size=(rows, 12)).astype(np.float32)


def test_the_graph_is_a_masked_mean_of_scaled_rows(tmp_path: Path) -> None:
    """Also where rows are padded beside longer ones."""
    table, scale = token_table(vectors(), width=WIDTH)
    write_static(table, scale, tmp_path / "static.onnx")
    rows = [(1, 2, 3), (4,), (5, 6, 7, 8, 9)]

    given = features_of(tmp_path / "static.onnx", rows, batch=3)

    wanted = [(table[list(row)].astype(np.float64) * scale).mean(axis=0) for row in rows]
    assert np.array(wanted) == pytest.approx(given, abs=1e-6)


def test_the_table_keeps_the_weighted_distances() -> None:
    """With all dimensions kept, rotation and INT8 lose less than 2 % of a distance."""
    given = vectors()
    table, scale = token_table(given, width=12)
    frequency = 1 / np.arange(1, 51)
    weights = SMOOTHING / (SMOOTHING + frequency / frequency.sum())
    centred = (given - given.mean(axis=0)) * weights[:, None]

    restored = table * scale

    for one, other in ((3, 4), (10, 40), (48, 49)):
        wanted = float(np.linalg.norm(centred[one] - centred[other]))
        assert wanted == pytest.approx(float(np.linalg.norm(restored[one] - restored[other])), rel=0.02)


def test_each_components_largest_entry_is_positive() -> None:
    """A solver may return either sign; fixing it is what makes equal runs write equal files."""
    given = vectors()
    table, scale = token_table(given, width=WIDTH)
    frequency = 1 / np.arange(1, 51)
    weights = SMOOTHING / (SMOOTHING + frequency / frequency.sum())

    components, *_ = np.linalg.lstsq(given - given.mean(axis=0), table * scale / weights[:, None], rcond=None)

    assert (components.max(axis=0) > -components.min(axis=0) - 0.02).all()  # INT8 rounding may swap near ties


def test_rows_are_gathered_before_they_are_scaled(tmp_path: Path) -> None:
    """The table stays INT8 in the file and is the gather's own input."""
    table, scale = token_table(vectors(), width=WIDTH)
    write_static(table, scale, tmp_path / "static.onnx")
    graph = onnx.load(tmp_path / "static.onnx").graph

    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    gather = next(node for node in graph.node if node.op_type == "Gather")
    assert kinds[gather.input[0]] == onnx.TensorProto.INT8


def test_a_table_wider_than_its_vectors_reach_is_refused() -> None:
    """Constant vectors span nothing."""
    with pytest.raises(GreenServeError, match="fewer than 8 dimensions"):
        token_table(np.ones((50, 12), dtype=np.float32), width=WIDTH)
