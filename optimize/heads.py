"""A linear head on frozen features: ridge regression on +-1 targets, scaled so that its softmax is a probability."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
TEMPERATURES = tuple(float(value) for value in np.geomspace(0.02, 2.0, 81))
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """logits = features @ weights + bias; weights [width, classes], bias [classes].

    `penalty` is the ridge's lambda; `temperature` is already divided out; `loss` is the validation log loss [nats].
    """

    weights: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    penalty: float
    temperature: float
    loss: float

    def logits(self, features: Floats) -> npt.NDArray[np.float64]:
        """Scores of each row, [n, classes]."""
        scores: npt.NDArray[np.float64] = features.astype(np.float64) @ self.weights + self.bias
        return scores


def fit_head(
    *,
    train: Floats,
    train_labels: Labels,
    val: Floats,
    val_labels: Labels,
    classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> Head:
    """Fit on `train`; choose the penalty and the temperature by log loss on `val`.

    Solved in float64 and kept to six digits, so that the order of additions on another thread count does not show.
    """
    if set(np.unique(train_labels)) != set(range(classes)):
        raise ValueError(f"every class 0..{classes - 1} needs a training row, got {sorted(set(train_labels.tolist()))}")
    features = train.astype(np.float64)
    targets = np.where(train_labels[:, None] == np.arange(classes)[None, :], 1.0, -1.0)
    centre, offset = features.mean(axis=0), targets.mean(axis=0)
    values, vectors = np.linalg.eigh((features - centre).T @ (features - centre))
    projected = vectors.T @ ((features - centre).T @ (targets - offset))
    heads = []
    for penalty in penalties:
        weights = vectors @ (projected / (np.maximum(values, 0.0) + penalty)[:, None])
        heads.append(_calibrated(weights, offset - centre @ weights, penalty, val, val_labels))
    return min(heads, key=lambda head: (head.loss, -head.penalty))


def log_loss(logits: Floats, labels: Labels) -> float:
    """Mean negative log probability of the right class [nats]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_sums - shifted[np.arange(len(labels)), labels]))


def calibration_error(logits: Floats, labels: Labels, *, bins: int = 15) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over `bins` equal bins, 0..1."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(float((confidence - right)[place == index].sum())) for index in range(bins)]
    return sum(gaps) / len(labels)


def _calibrated(
    weights: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], penalty: float, val: Floats, val_labels: Labels
) -> Head:
    scores = val.astype(np.float64) @ weights + bias
    losses = [log_loss(scores / temperature, val_labels) for temperature in TEMPERATURES]
    best = int(np.argmin(losses))
    return Head(
        weights=_rounded(weights / TEMPERATURES[best]),
        bias=_rounded(bias / TEMPERATURES[best]),
        penalty=penalty,
        temperature=TEMPERATURES[best],
        loss=losses[best],
    )


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Six digits after the point of the largest value's scale."""
    largest = float(np.abs(values).max())
    places = DIGITS - int(np.ceil(np.log10(largest))) if largest > 0 else DIGITS
    return np.round(values, places)
