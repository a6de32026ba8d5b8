"""What turns a graph that ends in `features` into a variant's answer: a fitted head, or the way into one space."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from greenserve.errors import InvalidRequest
from greenserve.inputs import TextEncoder
from greenserve.optimize.align import fit_alignment
from greenserve.optimize.evaluate import Answers
from greenserve.optimize.features import Floats, features_of
from greenserve.optimize.graph import attach_embedding, attach_head
from greenserve.optimize.heads import fit_head
from greenserve.optimize.judging import Judged, judge_classes, judge_embeddings
from greenserve.optimize.kinds import EMBEDDING
from greenserve.optimize.neighbours import voted
from greenserve.optimize.plan import BASELINE, Planned
from greenserve.optimize.quality import Labels
from greenserve.optimize.setting import Setting
from greenserve.optimize.split import Rows

LEAST_GAIN_POINTS = 5.0
Tokens = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The rows of one split as token ids, with the index of their class."""

    tokens: Tokens
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The recipe's last step, and the vectors of the validation rows that are compared with the baseline's."""

    steps: tuple[dict[str, object], ...]
    val: Floats


class Finisher(Protocol):
    """Completes one variant after the other, the baseline first, and judges what they answer."""

    def finish(self, planned: Planned, features_file: Path, file: Path) -> Finished:
        """Write `file` from `features_file`; raises GreenServeError where the variant cannot be used."""

    def judge(self, answers: Mapping[str, Answers]) -> dict[str, Judged]:
        """The proof of each variant from its answers to the test rows."""


def finisher_for(setting: Setting) -> Finisher:
    """What completes the variants of this run's task."""
    return Alignments(setting) if setting.kind.name == EMBEDDING else ClassHeads(setting)


def encode(encoder: TextEncoder, rows: Rows) -> Encoded:
    """Token ids of the rows, cut as serving cuts them."""
    return Encoded(tokens=encoder.encode(rows.texts), labels=np.array(rows.labels, dtype=np.int64))


class ClassHeads:
    """A linear head per variant, fitted on that variant's own features. State: none that changes."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._classes = len(setting.dataset.labels)
        self._train = encode(setting.encoder, setting.dataset.splits.train)
        self._val = encode(setting.encoder, setting.dataset.splits.val)

    def finish(self, planned: Planned, features_file: Path, file: Path) -> Finished:
        """Fit the head, put it on the graph; a baseline that does not learn the classes stops the run."""
        val = features_of(features_file, self._val.tokens)
        head = fit_head(
            train=features_of(features_file, self._train.tokens),
            train_labels=self._train.labels,
            val=val,
            val_labels=self._val.labels,
            classes=self._classes,
        )
        if planned.name == BASELINE:
            check_gain("the baseline", head.logits(val).argmax(axis=1), self._val.labels)
        attach_head(features_file, head, file)
        step: dict[str, object] = {"op": "fit_head", "method": "ridge", "lambda": head.penalty}
        return Finished(steps=(step | {"temperature": round(head.temperature, 6)},), val=val)

    def judge(self, answers: Mapping[str, Answers]) -> dict[str, Judged]:
        """By accuracy."""
        return judge_classes(answers, self._setting)


class Alignments:
    """Embeddings in the baseline's space: INT8 of the whole encoder stays near it, a shorter encoder is mapped into it.

    State: the baseline's vectors of the training and validation rows, set when the baseline is finished.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._classes = len(setting.dataset.labels)
        self._train = encode(setting.encoder, setting.dataset.splits.train)
        self._val = encode(setting.encoder, setting.dataset.splits.val)
        self._wanted: tuple[Floats, Floats] | None = None

    def finish(self, planned: Planned, features_file: Path, file: Path) -> Finished:
        """Name the features an embedding, after the map into the baseline's space where the variant needs one."""
        val = features_of(features_file, self._val.tokens)
        if planned.name == BASELINE:
            train = features_of(features_file, self._train.tokens)
            found = voted(val, train, self._train.labels, classes=self._classes)
            check_gain("search among the baseline's embeddings", found, self._val.labels)
            self._wanted = train, val
        if planned.layers is not None and planned.family != "drop":
            attach_embedding(features_file, None, file)
            return Finished(steps=(), val=val)
        train_wanted, val_wanted = self._known()
        alignment = fit_alignment(
            train=features_of(features_file, self._train.tokens),
            train_wanted=train_wanted,
            val=val,
            val_wanted=val_wanted,
        )
        attach_embedding(features_file, alignment, file)
        step: dict[str, object] = {"op": "align", "to": BASELINE, "method": "ridge", "lambda": alignment.penalty}
        return Finished(steps=(step,), val=alignment.of(val))

    def judge(self, answers: Mapping[str, Answers]) -> dict[str, Judged]:
        """By search in the baseline's vectors of the training rows."""
        return judge_embeddings(answers, self._setting, index=self._known()[0], index_labels=self._train.labels)

    def _known(self) -> tuple[Floats, Floats]:
        if self._wanted is None:
            raise ValueError("the baseline is finished first: the others are measured by its vectors")
        return self._wanted


def check_gain(who: str, given: Labels, labels: Labels) -> None:
    """Raise InvalidRequest unless `given` hits `labels` at least 5 points more often than the largest class would."""
    reached = 100 * float((given == labels).mean())
    majority = 100 * float(np.bincount(labels).max()) / len(labels)
    if reached < majority + LEAST_GAIN_POINTS:
        raise InvalidRequest(
            f"{who} reaches {reached:.1f} % on the validation rows, always answering the largest class "
            f"{majority:.1f} %; at least {LEAST_GAIN_POINTS:g} points more are needed. Check that the labels fit "
            "the texts, or give more rows"
        )
