"""Built variants, loaded side by side: answers, proofs, time and joules of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenserve.manifest import file_ref
from greenserve.optimize.build import Built
from greenserve.optimize.document import watts
from greenserve.optimize.entry import Measured
from greenserve.optimize.evaluate import Answers, answer_rows
from greenserve.optimize.fit import Cell
from greenserve.optimize.headline import headline
from greenserve.optimize.heads import calibration_error
from greenserve.optimize.plan import BASELINE, HEADLINE_BATCH, grid_for, p95_cell
from greenserve.optimize.probes import make_predictions, make_probes
from greenserve.optimize.profile import EngineFactory, Loaded, TextCost, load_engine, profile_grid, profile_texts
from greenserve.optimize.publish import write_json
from greenserve.optimize.quality import Quality, compare, corrected, fidelity, of_baseline
from greenserve.optimize.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """Cells per variant, and the tokenizer's cost."""

    cells: Mapping[str, tuple[Cell, ...]]
    text_cost: TextCost


def load_all(built: Sequence[Built], engine_for: EngineFactory) -> dict[str, Loaded]:
    """The engine of every built variant, loaded one after the other."""
    return {one.planned.name: load_engine(engine_for, one.file, one.planned.name) for one in built}


def answer_all(loaded: Mapping[str, Loaded], setting: Setting) -> dict[str, Answers]:
    """Every variant's answers to the test rows."""
    return answer_rows(
        {name: one.engine for name, one in loaded.items()},
        tokens=setting.encoder.encode(setting.dataset.splits.test.texts),
        buckets=setting.buckets,
        batch=HEADLINE_BATCH,
        seed=setting.seed,
    )


def profile_all(loaded: Mapping[str, Loaded], setting: Setting) -> Profiled:
    """Every variant over the grid, and the tokenizer over the test texts."""
    grid = grid_for(setting.preset, max_length=setting.buckets[-1])
    cells = profile_grid(
        {name: one.engine for name, one in loaded.items()},
        grid=grid,
        preset=setting.preset,
        vocab=setting.vocab,
        seed=setting.seed,
        p95_cell=p95_cell(grid),
    )
    return Profiled(cells=cells, text_cost=profile_texts(setting.encoder, setting.dataset.splits.test.texts))


def qualities_of(answers: Mapping[str, Answers], setting: Setting) -> dict[str, Quality]:
    """Every variant's accuracy against the baseline's, McNemar's p corrected over all."""
    labels = np.array(setting.dataset.splits.test.labels, dtype=np.int64)
    names, resamples = setting.dataset.labels, setting.preset.bootstrap
    right = {name: given.logits.argmax(axis=1) == labels for name, given in answers.items()}
    found = [
        of_baseline(right=flags, labels=labels, names=names, resamples=resamples, seed=setting.seed)
        if name == BASELINE
        else compare(
            baseline_right=right[BASELINE],
            variant_right=flags,
            labels=labels,
            names=names,
            max_drop_points=setting.max_drop_points,
            resamples=resamples,
            seed=setting.seed,
        )
        for name, flags in right.items()
    ]
    return dict(zip(right, corrected(found), strict=True))


def measured_all(
    built: Sequence[Built],
    *,
    folder: Path,
    loaded: Mapping[str, Loaded],
    answers: Mapping[str, Answers],
    profiled: Profiled,
    setting: Setting,
) -> list[Measured]:
    """Everything known about each variant; writes its probes and predictions beside its model."""
    qualities = qualities_of(answers, setting)
    test, base = setting.dataset.splits.test, answers[BASELINE]
    labels = np.array(test.labels, dtype=np.int64)
    found = []
    for one in built:
        name, engine = one.planned.name, loaded[one.planned.name].engine
        given, beside = answers[name], one.file.parent
        probes = make_probes(engine, variant=name, vocab=setting.vocab, buckets=setting.buckets, seed=setting.seed)
        write_json(beside / "probes.json", probes)
        write_json(beside / "predictions.json", make_predictions(test, given.logits.argmax(axis=1).tolist()))
        found.append(
            Measured(
                built=one,
                file=file_ref(folder, one.file),
                probes=file_ref(folder, beside / "probes.json"),
                predictions=file_ref(folder, beside / "predictions.json"),
                quality=qualities[name],
                fidelity=fidelity(base.logits, given.logits),
                ece=calibration_error(given.logits, labels),
                cells=profiled.cells[name],
                loaded=loaded[name],
                text_cost=profiled.text_cost,
                headline=headline(
                    cpu_ns=given.group_cpu_ns,
                    baseline_cpu_ns=base.group_cpu_ns,
                    rows=given.group_rows,
                    text_cpu_s=profiled.text_cost.mean_cpu_s,
                    dynamic_w_per_cpu=watts(setting.power.dynamic_mw_per_cpu),
                ),
            )
        )
    return found
