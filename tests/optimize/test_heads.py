"""The ridge head."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.optimize.heads import calibration_error, fit_head, log_loss


def clouds(*, seed: int, rows: int, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of points in five dimensions."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    return np.eye(5)[labels] * 2 + random.normal(0, spread, (rows, 5)), labels.astype(np.int64)


def test_separate_clouds_are_told_apart() -> None:
    """The head learns what a linear head can learn."""
    train, train_labels = clouds(seed=0, rows=300)
    val, val_labels = clouds(seed=1, rows=150)

    head = fit_head(train=train, train_labels=train_labels, val=val, val_labels=val_labels, classes=3)

    assert (head.logits(val).argmax(axis=1) == val_labels).mean() > 0.98


def test_without_penalty_ridge_is_least_squares() -> None:
    """The closed form agrees with a general solver, up to the temperature that is divided out."""
    train, labels = clouds(seed=2, rows=90)
    head = fit_head(train=train, train_labels=labels, val=train, val_labels=labels, classes=3, penalties=(1e-12,))

    targets = np.where(labels[:, None] == np.arange(3)[None, :], 1.0, -1.0)
    wanted, *_ = np.linalg.lstsq(np.column_stack([train, np.ones(len(train))]), targets, rcond=None)

    assert wanted[:-1] == pytest.approx(head.weights * head.temperature, abs=1e-4)
    assert wanted[-1] == pytest.approx(head.bias * head.temperature, abs=1e-4)


def test_probabilities_are_calibrated() -> None:
    """The temperature on validation rows makes confidence and accuracy agree on others."""
    train, train_labels = clouds(seed=3, rows=600, spread=1.5)
    val, val_labels = clouds(seed=4, rows=600, spread=1.5)
    test, test_labels = clouds(seed=5, rows=3000, spread=1.5)

    head = fit_head(train=train, train_labels=train_labels, val=val, val_labels=val_labels, classes=3)

    assert calibration_error(head.logits(test), test_labels) < 0.05
    assert calibration_error(head.logits(test) * 5, test_labels) > 0.1


def test_a_class_without_training_rows_is_refused() -> None:
    """A head that can never answer a class is not made."""
    train, labels = clouds(seed=0, rows=30)

    with pytest.raises(ValueError, match="every class"):
        fit_head(train=train, train_labels=labels % 2, val=train, val_labels=labels, classes=3)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=5), st.floats(-50, 50))
def test_log_loss_ignores_a_shift_of_all_logits(logits: list[float], shift: float) -> None:
    """Softmax knows differences only; the loss is never negative."""
    row, label = np.array([logits]), np.array([0])

    assert log_loss(row, label) == pytest.approx(log_loss(row + shift, label), abs=1e-9)
    assert log_loss(row, label) >= 0
