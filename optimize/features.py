"""Features of many rows from a graph that ends in `features`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from greenserve.errors import GreenServeError
from greenserve.inputs import pad

Floats = npt.NDArray[np.float32]
BATCH = 32


def features_of(file: Path, rows: Sequence[Sequence[int]], *, batch: int = BATCH) -> Floats:
    """`features` of each row in the order of `rows`, FP32 [n, width]; raises GreenServeError where one is not finite.

    Rows run in batches of near equal length on all visible cores: this is building, not measuring.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
    parts = []
    for start in range(0, len(order), batch):
        chunk = [rows[index] for index in order[start : start + batch]]
        parts.append(session.run(["features"], dict(pad(chunk, len(chunk[-1]))))[0])
    found: Floats = np.concatenate(parts)[np.argsort(order)]
    if not np.isfinite(found).all():
        raise GreenServeError(f"{file.parent.name}/{file.name} gives features that are not finite")
    return found
