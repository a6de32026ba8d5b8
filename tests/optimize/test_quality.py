"""Paired comparison of two variants."""

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.optimize.quality import (
    Quality,
    compare,
    compare_shares,
    corrected,
    fidelity,
    holm,
    judge,
    mcnemar_p,
    of_baseline,
)

NAMES = ("no", "yes")


def compared(baseline: np.ndarray, variant: np.ndarray, *, max_drop: float = 1.0) -> Quality:
    """With labels that alternate."""
    return compare(
        baseline_right=baseline,
        variant_right=variant,
        labels=np.arange(len(baseline)) % 2,
        names=NAMES,
        max_drop_points=max_drop,
        resamples=2_000,
        seed=0,
    )


def flags(*, right: int, of: int) -> np.ndarray:
    """The first `right` of `of` rows."""
    return np.arange(of) < right


def test_equal_answers_pass_without_doubt() -> None:
    """No row differs, so no resample can."""
    right = flags(right=800, of=1_000)

    quality = compared(right, right, max_drop=0.0)

    assert quality.verdict == "pass"
    assert quality.ci95_points == (0.0, 0.0)
    assert quality.mcnemar is not None
    assert quality.mcnemar.p == 1.0


def test_too_few_rows_are_undecided_and_say_how_many_would_do() -> None:
    """The estimate is inside the gate, its lower bound is not."""
    quality = compared(flags(right=80, of=100), ~flags(right=20, of=100), max_drop=1.0)

    assert quality.verdict == "undecided"
    assert quality.rows_to_decide is not None
    assert quality.rows_to_decide > 100


def test_a_clear_loss_is_below_the_gate() -> None:
    """Ten points are more than one."""
    assert compared(flags(right=900, of=1_000), flags(right=800, of=1_000)).verdict == "below_gate"


def test_the_interval_covers_the_truth_in_19_of_20_samples() -> None:
    """Over many samples with a known difference of 2 points, the two-sided interval holds it about 95 % of the time."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        draws = random.choice(4, size=500, p=[0.10, 0.04, 0.06, 0.80])
        quality = compared(draws >= 2, draws % 2 == 1)
        held += quality.ci95_points[0] <= -2.0 <= quality.ci95_points[1]

    assert 180 <= held <= 199


def test_bounds_lie_below_the_estimates() -> None:
    """One-sided bounds are lower than what they bound and higher than the two-sided ones."""
    quality = compared(flags(right=700, of=1_000), flags(right=680, of=1_000))

    assert quality.value_low < quality.value
    assert quality.ci95_points[0] <= quality.delta_low_points < quality.delta_points


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_exact_binomial_test(one: int, other: int) -> None:
    """Twice the smaller tail of a fair coin, at most 1, in either order."""
    n = one + other
    tail = sum(comb(n, k) for k in range(max(one, other), n + 1)) / 2**n

    assert min(1.0, 2 * tail) == pytest.approx(mcnemar_p(one, other))
    assert mcnemar_p(other, one) == mcnemar_p(one, other)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_never_lowers_a_p_and_keeps_their_order(values: list[float]) -> None:
    """The smallest is multiplied by their number; corrected values rise with the uncorrected ones."""
    found = holm(values)

    assert min(1.0, min(values) * len(values)) == found[values.index(min(values))]
    assert all(after >= before for before, after in zip(values, found, strict=True))
    pairs = sorted(zip(values, found, strict=True))
    assert all(left[1] <= right[1] for left, right in pairwise(pairs))


def test_the_baseline_takes_no_part_in_the_correction() -> None:
    """Two tested variants are corrected by two, not by three."""
    right, worse = flags(right=900, of=1_000), flags(right=880, of=1_000)
    base = of_baseline(right=right, labels=np.arange(1_000) % 2, names=NAMES, resamples=100, seed=0)

    _, first, second = corrected([base, compared(right, worse), compared(right, right)])

    assert first.mcnemar is not None
    assert second.mcnemar is not None
    assert 2 * first.mcnemar.p == pytest.approx(first.mcnemar.p_holm)
    assert base.verdict == "baseline"
    assert second.mcnemar.p_holm == 1.0


@pytest.mark.parametrize(
    ("delta", "low", "verdict"), [(0.0, -1.0, "pass"), (-1.0, -1.5, "undecided"), (-1.1, -1.5, "below_gate")]
)
def test_the_gate_is_judged_by_the_lower_bound(delta: float, low: float, verdict: str) -> None:
    """Both limits belong to the gate."""
    assert verdict == judge(delta_points=delta, delta_low_points=low, max_drop_points=1.0)


def test_the_class_that_lost_most_is_named() -> None:
    """All errors of the variant are in the odd rows."""
    right = np.ones(100, dtype=bool)
    worse = right.copy()
    worse[1:21:2] = False

    quality = compared(right, worse)

    assert quality.worst_class == "yes"
    assert quality.worst_class_points == pytest.approx(-20.0)


def test_fidelity_of_the_same_logits_is_perfect() -> None:
    """Full agreement, no divergence; swapped answers agree nowhere and diverge."""
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])

    same, swapped = fidelity(logits, logits + 3), fidelity(logits, logits[:, ::-1])

    assert same.top1_agreement == 1.0
    assert same.logit_kl == pytest.approx(0.0, abs=1e-12)
    assert swapped.top1_agreement == 0.0
    assert swapped.logit_kl is not None
    assert swapped.logit_kl > 0.5


def shares(hits: list[int], *, max_drop: float | None = 15.0) -> Quality:
    """Of ten, per row."""
    counted = np.array(hits, dtype=np.int64)
    return compare_shares(
        counted,
        most=10,
        labels=np.arange(len(hits)) % 2,
        names=NAMES,
        max_drop_points=max_drop,
        resamples=500,
        seed=0,
    )


@given(st.lists(st.integers(0, 10), min_size=2, max_size=80))
def test_a_share_lies_between_its_bounds_and_is_the_mean_of_its_rows(hits: list[int]) -> None:
    """Its lower bound is never above it by more than what two rows can do, and the baseline has all."""
    quality = shares(hits)

    assert sum(hits) / (10 * len(hits)) == pytest.approx(quality.value)
    assert 0.0 <= quality.value_low <= quality.value + 1e-12
    assert quality.baseline == 1.0
    assert 100 * (quality.value - 1) == pytest.approx(quality.delta_points)
    assert quality.ci95_points[0] <= quality.ci95_points[1]
    assert quality.mcnemar is None


def test_shares_pass_by_their_lower_bound() -> None:
    """Nine of ten everywhere pass at 15 points; the same mean from all and nothing is undecided or below."""
    steady, wild, low = shares([9] * 50), shares([10] * 43 + [0] * 7), shares([5] * 50)

    assert (steady.verdict, wild.verdict, low.verdict) == ("pass", "undecided", "below_gate")
    assert wild.rows_to_decide is not None
    assert wild.rows_to_decide > 50
    assert low.rows_to_decide is None


def test_the_baseline_has_every_neighbour_and_the_verdict_of_a_baseline() -> None:
    """No gate is asked of it."""
    quality = shares([10] * 20, max_drop=None)

    assert ("baseline", 1.0, 1.0) == (quality.verdict, quality.value, quality.value_low)


def test_the_class_whose_rows_lost_most_neighbours_is_named() -> None:
    """Odd rows keep half of theirs."""
    quality = shares([10, 5] * 20)

    assert "yes" == quality.worst_class
    assert -50.0 == pytest.approx(quality.worst_class_points)
