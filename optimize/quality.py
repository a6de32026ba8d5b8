"""How much worse a variant answers than the baseline on the same rows, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, comb
from typing import Literal

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]
Verdict = Literal["baseline", "pass", "undecided", "below_gate"]

Z_ONE_SIDED_95 = 1.6448536269514722
WORSE_SLICE_POINTS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A variant's accuracy or share on `n` rows, 0..1; differences to the baseline in points (variant - baseline).

    `value_low` and `delta_low_points` are one-sided 95 % bounds, `ci95_points` is two-sided. `mcnemar` is None where
    an answer is more than right or wrong; `rows_to_decide` is None unless the verdict is `undecided`.
    """

    n: int
    value: float
    value_low: float
    baseline: float
    delta_points: float
    ci95_points: tuple[float, float]
    delta_low_points: float
    mcnemar: "McNemar | None"
    worst_class: str
    worst_class_points: float
    verdict: Verdict
    rows_to_decide: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Rows on which exactly one of the two is right; the exact `p` of that, and `p_holm` after Holm's correction."""

    only_baseline_right: int
    only_variant_right: int
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How far a variant's answers follow the baseline's: share of equal labels, mean KL divergence [nats], share of
    the ten nearest texts that are the same; None where the task has no such answer."""

    top1_agreement: float | None
    logit_kl: float | None
    recall_at_10: float | None


def compare(
    *,
    baseline_right: Flags,
    variant_right: Flags,
    labels: Labels,
    names: Sequence[str],
    max_drop_points: float,
    resamples: int,
    seed: int,
) -> Quality:
    """Paired comparison by a bootstrap over rows; `p_holm` starts as `p` until `corrected` sees all variants.

    Resampling rows with replacement only changes how often each of the four (right, right) outcomes is drawn, so the
    four counts are drawn directly.
    """
    n = len(labels)
    outcomes = 2 * baseline_right.astype(int) + variant_right.astype(int)
    counts = np.bincount(outcomes, minlength=4)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    deltas = 100 * (drawn[:, 1] - drawn[:, 2]) / n
    values = (drawn[:, 1] + drawn[:, 3]) / n
    low, high = np.quantile(deltas, (0.025, 0.975))
    delta, delta_low = 100 * int(counts[1] - counts[2]) / n, float(np.quantile(deltas, 0.05))
    worst, worst_points = _worst_class(100.0 * variant_right - 100.0 * baseline_right, labels, names)
    verdict = judge(delta_points=delta, delta_low_points=delta_low, max_drop_points=max_drop_points)
    disagreement = int(counts[1] + counts[2]) / n
    p = mcnemar_p(int(counts[2]), int(counts[1]))
    return Quality(
        n=n,
        value=int(counts[1] + counts[3]) / n,
        value_low=float(np.quantile(values, 0.05)),
        baseline=int(counts[2] + counts[3]) / n,
        delta_points=delta,
        ci95_points=(float(low), float(high)),
        delta_low_points=delta_low,
        mcnemar=McNemar(only_baseline_right=int(counts[2]), only_variant_right=int(counts[1]), p=p, p_holm=p),
        worst_class=worst,
        worst_class_points=worst_points,
        verdict=verdict,
        rows_to_decide=_rows_to_decide(delta, disagreement, max_drop_points) if verdict == "undecided" else None,
    )


def compare_shares(
    hits: Labels,
    *,
    most: int,
    labels: Labels,
    names: Sequence[str],
    max_drop_points: float | None,
    resamples: int,
    seed: int,
) -> Quality:
    """The mean share hits / `most` of a variant, where the baseline has all of them, by a bootstrap over rows.

    `max_drop_points` None: these are the baseline's own. As in `compare`, only the counts of each number of hits are
    drawn.
    """
    n = len(hits)
    counts = np.bincount(hits, minlength=most + 1)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    values = drawn @ np.arange(most + 1) / (most * n)
    value, value_low = float(hits.mean()) / most, float(np.quantile(values, 0.05))
    low, high = np.quantile(100 * (values - 1), (0.025, 0.975))
    delta, delta_low = 100 * (value - 1), 100 * (value_low - 1)
    worst, worst_points = _worst_class(100 * (hits / most - 1), labels, names)
    verdict: Verdict = "baseline"
    rows = None
    if max_drop_points is not None:
        verdict = judge(delta_points=delta, delta_low_points=delta_low, max_drop_points=max_drop_points)
        if verdict == "undecided":
            rows = _rows_for(delta, float((hits / most).var()), max_drop_points)
    return Quality(
        n=n,
        value=value,
        value_low=value_low,
        baseline=1.0,
        delta_points=delta,
        ci95_points=(float(low), float(high)),
        delta_low_points=delta_low,
        mcnemar=None,
        worst_class=worst,
        worst_class_points=worst_points,
        verdict=verdict,
        rows_to_decide=rows,
    )


def of_baseline(*, right: Flags, labels: Labels, names: Sequence[str], resamples: int, seed: int) -> Quality:
    """The baseline against itself: no difference, and the verdict `baseline`."""
    same = compare(
        baseline_right=right,
        variant_right=right,
        labels=labels,
        names=names,
        max_drop_points=0.0,
        resamples=resamples,
        seed=seed,
    )
    return replace(same, verdict="baseline")


def judge(*, delta_points: float, delta_low_points: float, max_drop_points: float) -> Verdict:
    """`pass` where even the lower bound is within the allowed drop, `undecided` where only the estimate is."""
    if delta_low_points >= -max_drop_points:
        return "pass"
    return "undecided" if delta_points >= -max_drop_points else "below_gate"


def mcnemar_p(only_one: int, only_other: int) -> float:
    """McNemar's exact two-sided p for two paired classifiers from the rows on which exactly one is right."""
    n, least = only_one + only_other, min(only_one, only_other)
    tail = sum(comb(n, k) for k in range(least + 1))
    return min(1.0, float(2 * tail / 2**n))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values, in their order."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = largest
    return corrected


def corrected(qualities: Sequence[Quality]) -> list[Quality]:
    """The same, with `p_holm` over all that are no baseline."""
    tested = [
        (index, quality.mcnemar)
        for index, quality in enumerate(qualities)
        if quality.verdict != "baseline" and quality.mcnemar is not None
    ]
    found = list(qualities)
    for (index, test), p in zip(tested, holm([test.p for _, test in tested]), strict=True):
        found[index] = replace(qualities[index], mcnemar=replace(test, p_holm=p))
    return found


def fidelity(baseline_logits: npt.NDArray[np.floating], variant_logits: npt.NDArray[np.floating]) -> Fidelity:
    """Agreement of the variant's logits with the baseline's, row by row."""
    ours, theirs = _log_probabilities(baseline_logits), _log_probabilities(variant_logits)
    divergence = (np.exp(ours) * (ours - theirs)).sum(axis=1)
    agreement = baseline_logits.argmax(axis=1) == variant_logits.argmax(axis=1)
    return Fidelity(
        top1_agreement=float(agreement.mean()), logit_kl=max(0.0, float(divergence.mean())), recall_at_10=None
    )


def _log_probabilities(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _worst_class(points: npt.NDArray[np.float64], labels: Labels, names: Sequence[str]) -> tuple[str, float]:
    """The class whose rows lost most, by its mean difference [points]."""
    deltas = {
        name: float(points[labels == index].mean()) for index, name in enumerate(names) if (labels == index).any()
    }
    worst = min(deltas, key=lambda name: deltas[name])
    return worst, deltas[worst]


def _rows_to_decide(delta_points: float, disagreement: float, max_drop_points: float) -> int | None:
    return _rows_for(delta_points, disagreement - (delta_points / 100) ** 2, max_drop_points)


def _rows_for(delta_points: float, variance: float, max_drop_points: float) -> int | None:
    """Rows at which the same difference and variance would pass; None where no number would."""
    margin = (delta_points + max_drop_points) / 100
    return None if margin <= 0 else ceil(Z_ONE_SIDED_95**2 * variance / margin**2)
