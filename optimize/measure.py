"""Built variants, loaded side by side: answers, proofs, time and joules of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenserve.manifest import file_ref
from greenserve.optimize.build import Built
from greenserve.optimize.document import watts
from greenserve.optimize.entry import Measured
from greenserve.optimize.evaluate import Answers, answer_rows
from greenserve.optimize.fit import Cell
from greenserve.optimize.headline import headline
from greenserve.optimize.judging import Judged
from greenserve.optimize.plan import BASELINE, HEADLINE_BATCH, grid_for, p95_cell
from greenserve.optimize.probes import make_predictions, make_probes
from greenserve.optimize.profile import EngineFactory, Loaded, TextCost, load_engine, profile_grid, profile_texts
from greenserve.optimize.publish import write_json
from greenserve.optimize.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """Cells per variant, and the tokenizer's cost."""

    cells: Mapping[str, tuple[Cell, ...]]
    text_cost: TextCost


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the built variants did, by name: engines, answers to the test rows, proofs, and profiles."""

    loaded: Mapping[str, Loaded]
    answers: Mapping[str, Answers]
    judged: Mapping[str, Judged]
    profiled: Profiled


def load_all(built: Sequence[Built], engine_for: EngineFactory) -> dict[str, Loaded]:
    """The engine of every built variant, loaded one after the other."""
    return {one.planned.name: load_engine(engine_for, one.file, one.planned.name) for one in built}


def answer_all(loaded: Mapping[str, Loaded], setting: Setting) -> dict[str, Answers]:
    """Every variant's answers to the test rows."""
    return answer_rows(
        {name: one.engine for name, one in loaded.items()},
        output=setting.kind.output,
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


def measured_all(built: Sequence[Built], ran: Ran, *, folder: Path, setting: Setting) -> list[Measured]:
    """Everything known about each variant; writes its probes and predictions beside its model."""
    test, base = setting.dataset.splits.test, ran.answers[BASELINE]
    found = []
    for one in built:
        name, engine = one.planned.name, ran.loaded[one.planned.name].engine
        given, beside = ran.answers[name], one.file.parent
        probes = make_probes(
            engine,
            variant=name,
            output=setting.kind.output,
            vocab=setting.vocab,
            buckets=setting.buckets,
            seed=setting.seed,
        )
        write_json(beside / "probes.json", probes)
        write_json(beside / "predictions.json", make_predictions(test, ran.judged[name].labels))
        found.append(
            Measured(
                built=one,
                file=file_ref(folder, one.file),
                probes=file_ref(folder, beside / "probes.json"),
                predictions=file_ref(folder, beside / "predictions.json"),
                judged=ran.judged[name],
                cells=ran.profiled.cells[name],
                loaded=ran.loaded[name],
                text_cost=ran.profiled.text_cost,
                headline=headline(
                    cpu_ns=given.group_cpu_ns,
                    baseline_cpu_ns=base.group_cpu_ns,
                    rows=given.group_rows,
                    text_cpu_s=ran.profiled.text_cost.mean_cpu_s,
                    dynamic_w_per_cpu=watts(setting.power.dynamic_mw_per_cpu),
                ),
            )
        )
    return found
