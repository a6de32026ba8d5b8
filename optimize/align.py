"""Turn a variant's features into the baseline's embedding space: a linear map, fitted on what the baseline says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenserve.optimize.ridge import PENALTIES, Doubles, Floats, Linear, ridge_path, six_digits

LEAST_NORM = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """embedding = unit(features @ weights + bias); `cosine` is the mean to the baseline over the validation rows."""

    weights: Doubles
    bias: Doubles
    penalty: float
    cosine: float

    def of(self, features: Floats) -> npt.NDArray[np.float32]:
        """Unit embeddings of each row, FP32 [n, dimensions]."""
        return unit(features.astype(np.float64) @ self.weights + self.bias)


def fit_alignment(
    *, train: Floats, train_wanted: Floats, val: Floats, val_wanted: Floats, penalties: Sequence[float] = PENALTIES
) -> Alignment:
    """Fit on `train`; choose the penalty by the mean cosine on `val`, the larger one where two are equal."""
    found = [_aligned(one, val, val_wanted) for one in ridge_path(train, train_wanted, penalties=penalties)]
    return max(found, key=lambda one: (one.cosine, one.penalty))


def unit(vectors: Floats) -> npt.NDArray[np.float32]:
    """Each row divided by its L2 norm, FP32; a row of zeros stays."""
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), LEAST_NORM)
    return np.asarray(vectors / norms, dtype=np.float32)


def cosines(one: Floats, other: Floats) -> Doubles:
    """The cosine of each pair of rows, -1..1."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Doubles = (one * other).sum(axis=1) / np.maximum(norms, LEAST_NORM)
    return found


def _aligned(fitted: Linear, val: Floats, val_wanted: Floats) -> Alignment:
    weights, bias = six_digits(fitted.weights), six_digits(fitted.bias)
    given = unit(val.astype(np.float64) @ weights + bias)
    return Alignment(
        weights=weights, bias=bias, penalty=fitted.penalty, cosine=float(cosines(given, val_wanted).mean())
    )
