"""The map from one space into another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.optimize.align import cosines, fit_alignment, unit
from greenserve.optimize.ridge import ridge_path

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_a_turned_space_is_turned_back(seed: int) -> None:
    """Features that are the wanted vectors under a rotation are mapped onto them."""
    random = np.random.default_rng(seed)
    wanted = unit(random.normal(size=(60, 6)))
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    features = wanted @ rotation

    alignment = fit_alignment(train=features[:40], train_wanted=wanted[:40], val=features[40:], val_wanted=wanted[40:])

    assert 1.0 == pytest.approx(alignment.cosine, abs=1e-3)
    assert np.allclose(wanted[40:], alignment.of(features[40:]), atol=0.05)


@given(seeds, st.integers(2, 9))
def test_aligned_vectors_have_length_one(seed: int, width: int) -> None:
    """Whatever the features, into more or fewer dimensions."""
    random = np.random.default_rng(seed)
    features, wanted = random.normal(size=(30, width)), unit(random.normal(size=(30, 4)))

    alignment = fit_alignment(train=features, train_wanted=wanted, val=features, val_wanted=wanted)

    assert np.allclose(1.0, np.linalg.norm(alignment.of(features), axis=1), atol=1e-5)


def test_features_without_meaning_get_the_largest_penalty() -> None:
    """The validation rows show that nothing was learnt: better the mean than noise."""
    random = np.random.default_rng(3)
    features, wanted = random.normal(size=(80, 40)), unit(random.normal(size=(80, 4)) + 1.0)

    alignment = fit_alignment(train=features[:50], train_wanted=wanted[:50], val=features[50:], val_wanted=wanted[50:])

    assert 100.0 == alignment.penalty


@given(seeds)
def test_a_larger_penalty_never_gives_larger_weights(seed: int) -> None:
    """The meaning of a ridge."""
    random = np.random.default_rng(seed)
    features, targets = random.normal(size=(20, 5)), random.normal(size=(20, 2))

    norms = [float(np.linalg.norm(one.weights)) for one in ridge_path(features, targets)]

    assert norms == sorted(norms, reverse=True)


def test_a_zero_vector_stays_zero_and_has_no_cosine() -> None:
    """No division by its norm."""
    zeros, ones = np.zeros((1, 3)), np.ones((1, 3))

    assert [[0.0, 0.0, 0.0]] == unit(zeros).tolist()
    assert [0.0] == cosines(zeros, ones).tolist()
    assert 1.0 == pytest.approx(float(cosines(ones, 2 * ones)[0]))
