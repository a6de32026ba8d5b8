"""Ridge regression over several penalties from one decomposition, in float64 and kept to six digits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """targets = features @ weights + bias; weights [width, k], bias [k], `penalty` is the ridge's lambda."""

    weights: Doubles
    bias: Doubles
    penalty: float

    def of(self, features: Floats) -> Doubles:
        """The prediction for each row, [n, targets]."""
        found: Doubles = features.astype(np.float64) @ self.weights + self.bias
        return found


def ridge_path(features: Floats, targets: Floats, *, penalties: Sequence[float] = PENALTIES) -> Iterator[Linear]:
    """The least squares fit of `targets` [n, k] on `features` [n, width] for each penalty; the bias goes unpunished."""
    given, wanted = features.astype(np.float64), targets.astype(np.float64)
    centre, offset = given.mean(axis=0), wanted.mean(axis=0)
    values, vectors = np.linalg.eigh((given - centre).T @ (given - centre))
    projected = vectors.T @ ((given - centre).T @ (wanted - offset))
    for penalty in penalties:
        weights = vectors @ (projected / (np.maximum(values, 0.0) + penalty)[:, None])
        yield Linear(weights=weights, bias=offset - centre @ weights, penalty=penalty)


def six_digits(values: Doubles) -> Doubles:
    """Six digits after the point of the largest value's scale: additions in another order do not show."""
    largest = float(np.abs(values).max())
    places = DIGITS - int(np.ceil(np.log10(largest))) if largest > 0 else DIGITS
    return np.round(values, places)
