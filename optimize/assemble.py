"""From measurements to the manifest: entries, front, recommendation, and the circumstances of the run."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenserve.host import describe_host
from greenserve.ids import new_request_id
from greenserve.manifest import file_ref
from greenserve.optimize.build import Made
from greenserve.optimize.cost import RunCost
from greenserve.optimize.document import Facts, compose, gates_of, preprocessing_of, protocol_of, run_entry
from greenserve.optimize.entry import Circumstances, Measured, p95_s, variant_entry
from greenserve.optimize.kinds import EMBEDDING
from greenserve.optimize.order import Order
from greenserve.optimize.packages import toolchain
from greenserve.optimize.pareto import Candidate, front, recommended
from greenserve.optimize.plan import BASELINE, grid_for, p95_cell
from greenserve.optimize.setting import Setting
from greenserve.optimize.sources import Source
from greenserve.units import joules_from_uj


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run so far: its order, what it reads and made, its cost, and when it ends [us since 1970 UTC]."""

    order: Order
    source: Source
    setting: Setting
    made: Made
    parameters: int
    version: int
    cost: RunCost
    ended_us: int


def assemble(run: Run, measured: Sequence[Measured], *, folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, into which the tokenizer is copied; recommends the baseline where none passed."""
    order, source, setting = run.order, run.source, run.setting
    shared = folder / "shared"
    shared.mkdir()
    tokenizer = shutil.copyfile(source.tokenizer_file, shared / "tokenizer.json")
    preprocessing = preprocessing_of(source, file_ref(folder, tokenizer))
    host = describe_host()
    circumstances = Circumstances(
        kind=setting.kind,
        space=measured[0].file.sha256 if setting.kind.name == EMBEDDING else None,
        fingerprint=str(host["fingerprint"]),
        power=setting.power,
        measured_us=run.ended_us,
        seed=order.seed,
        run_j=joules_from_uj(run.cost.gross_uj),
        preprocessing=preprocessing,
    )
    grid = grid_for(order.preset, max_length=source.max_length)
    gates = gates_of(metric=setting.kind.metric, max_drop_points=setting.max_drop_points, p95_at=p95_cell(grid))
    entries = [variant_entry(one, circumstances) for one in measured]
    candidates = [_candidate(entry, gates) for entry in entries]
    facts = Facts(
        name=order.name,
        kind=setting.kind,
        version=run.version,
        created_us=run.ended_us,
        parameters=run.parameters,
        lengths_p50_p95=_lengths(setting),
        toolchain=toolchain(),
        gates=gates,
        host=host,
        protocol=protocol_of(
            order.preset, grid=grid, half_width_pct=setting.power.half_width_pct, source=setting.power.source
        ),
    )
    choice = {
        "baseline": BASELINE,
        "recommended": recommended(candidates) or BASELINE,
        "front": list(front(candidates)),
    }
    return compose(
        source=source,
        dataset=setting.dataset,
        facts=facts,
        preprocessing=preprocessing,
        variants=entries,
        choice=choice,
        run=run_entry(
            run.cost,
            run_id=new_request_id(),
            command=order.command,
            seed=order.seed,
            broken={one.planned.name: one.reason for one in run.made.broken},
            planned=len(measured) + len(run.made.broken),
        ),
    )


def _candidate(entry: Mapping[str, Any], gates: Mapping[str, Any]) -> Candidate:
    profile = entry["profiles"][0]
    return Candidate(
        name=entry["name"],
        verdict=entry["quality"]["verdict"],
        energy_j=profile["headline"]["j_per_request"],
        loss_points=-entry["quality"]["delta_points"],
        p95_s=p95_s(profile["cells"], gates["p95_at"]),
    )


def _lengths(setting: Setting) -> tuple[int, int]:
    tokens = setting.encoder.encode(setting.dataset.splits.test.texts)
    middle, long = np.quantile([len(row) for row in tokens], (0.5, 0.95), method="nearest")
    return int(middle), int(long)
