"""A linear head on frozen features: ridge regression on +-1 targets, scaled so that its softmax is a probability."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenserve.optimize.ridge import PENALTIES, Linear, ridge_path, six_digits

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

TEMPERATURES = tuple(float(value) for value in np.geomspace(0.02, 2.0, 81))


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
    targets = np.where(train_labels[:, None] == np.arange(classes)[None, :], 1.0, -1.0)
    heads = [_calibrated(fitted, val, val_labels) for fitted in ridge_path(train, targets, penalties=penalties)]
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


def _calibrated(fitted: Linear, val: Floats, val_labels: Labels) -> Head:
    scores = fitted.of(val)
    losses = [log_loss(scores / temperature, val_labels) for temperature in TEMPERATURES]
    best = int(np.argmin(losses))
    return Head(
        weights=six_digits(fitted.weights / TEMPERATURES[best]),
        bias=six_digits(fitted.bias / TEMPERATURES[best]),
        penalty=fitted.penalty,
        temperature=TEMPERATURES[best],
        loss=losses[best],
    )
