"""What the test rows say about each variant beside the baseline, in the terms of the run's task."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from greenserve.optimize.align import cosines
from greenserve.optimize.evaluate import Answers
from greenserve.optimize.features import Floats
from greenserve.optimize.heads import calibration_error
from greenserve.optimize.neighbours import nearest, shared, voted
from greenserve.optimize.plan import BASELINE
from greenserve.optimize.quality import (
    Fidelity,
    Flags,
    Labels,
    Quality,
    compare,
    compare_shares,
    corrected,
    fidelity,
    of_baseline,
)
from greenserve.optimize.setting import Setting

SAME_SPACE_COSINE = 0.98
SAME_SPACE_RECALL = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A variant's proof: `quality` by the task's metric, `probe` a second measure, `labels` what each test row got.

    `ece` is the expected calibration error, `same_space` whether its vectors may stand for the baseline's; None where
    the task knows no such thing.
    """

    quality: Quality
    probe: Quality | None
    fidelity: Fidelity
    ece: float | None
    same_space: bool | None
    labels: tuple[int, ...]


def judge_classes(answers: Mapping[str, Answers], setting: Setting) -> dict[str, Judged]:
    """Accuracy of every variant against the baseline's, McNemar's p corrected over all."""
    labels = _test_labels(setting)
    chosen = {name: given.values.argmax(axis=1) for name, given in answers.items()}
    qualities = _compared(chosen, labels, setting, setting.max_drop_points)
    base = answers[BASELINE].values
    return {
        name: Judged(
            quality=qualities[name],
            probe=None,
            fidelity=fidelity(base, given.values),
            ece=calibration_error(given.values, labels),
            same_space=None,
            labels=tuple(chosen[name].tolist()),
        )
        for name, given in answers.items()
    }


def judge_embeddings(
    answers: Mapping[str, Answers], setting: Setting, *, index: Floats, index_labels: Labels
) -> dict[str, Judged]:
    """Search with every variant's vectors in one `index` of the baseline's, as after a switch of the variant.

    Quality: the share of the ten nearest texts that the variant finds too. Probe: the accuracy of the labels that
    those texts vote for.
    """
    labels, base = _test_labels(setting), answers[BASELINE].values
    classes = len(setting.dataset.labels)
    wanted = nearest(base, index)
    chosen = {name: voted(given.values, index, index_labels, classes=classes) for name, given in answers.items()}
    probes = _compared(chosen, labels, setting, setting.max_drop_points)
    found = {}
    for name, given in answers.items():
        hits = shared(nearest(given.values, index), wanted)
        quality = compare_shares(
            hits,
            most=wanted.shape[1],
            labels=labels,
            names=setting.dataset.labels,
            max_drop_points=None if name == BASELINE else setting.max_drop_points,
            resamples=setting.preset.bootstrap,
            seed=setting.seed,
        )
        near = float(cosines(base, given.values).mean())
        found[name] = Judged(
            quality=quality,
            probe=probes[name],
            fidelity=Fidelity(top1_agreement=None, logit_kl=None, recall_at_10=quality.value),
            ece=None,
            same_space=near >= SAME_SPACE_COSINE and quality.value >= SAME_SPACE_RECALL,
            labels=tuple(chosen[name].tolist()),
        )
    return found


def _compared(
    chosen: Mapping[str, Labels], labels: Labels, setting: Setting, max_drop_points: float
) -> dict[str, Quality]:
    names, resamples = setting.dataset.labels, setting.preset.bootstrap
    right: dict[str, Flags] = {name: given == labels for name, given in chosen.items()}
    found = [
        of_baseline(right=flags, labels=labels, names=names, resamples=resamples, seed=setting.seed)
        if name == BASELINE
        else compare(
            baseline_right=right[BASELINE],
            variant_right=flags,
            labels=labels,
            names=names,
            max_drop_points=max_drop_points,
            resamples=resamples,
            seed=setting.seed,
        )
        for name, flags in right.items()
    ]
    return dict(zip(right, corrected(found), strict=True))


def _test_labels(setting: Setting) -> Labels:
    return np.array(setting.dataset.splits.test.labels, dtype=np.int64)
