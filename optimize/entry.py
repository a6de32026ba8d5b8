"""One variant's entry of the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.carbon.power_model import CpuPower
from greenserve.manifest import FileRef, variant_digest
from greenserve.optimize.breakeven import requests_to_repay
from greenserve.optimize.build import Built
from greenserve.optimize.document import iso, watts
from greenserve.optimize.fit import Cell, Interval95, fit_cost
from greenserve.optimize.headline import Headline
from greenserve.optimize.judging import Judged
from greenserve.optimize.kinds import Kind
from greenserve.optimize.plan import HEADLINE_BATCH, MAX_BATCH, P95_RUNS
from greenserve.optimize.probes import ATOL, COUNT
from greenserve.optimize.profile import Loaded, TextCost
from greenserve.optimize.quality import WORSE_SLICE_POINTS, Quality
from greenserve.units import joules_from_uj

PROBE_METRIC = "nearest_10_accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything found out about one built variant."""

    built: Built
    file: FileRef
    probes: FileRef
    predictions: FileRef
    judged: Judged
    cells: tuple[Cell, ...]
    loaded: Loaded
    text_cost: TextCost
    headline: Headline


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What all variants of a run share; `run_j` is the gross energy of the run [J].

    `space` names the baseline's embedding space, None where the task has no embeddings.
    """

    kind: Kind
    space: str | None
    fingerprint: str
    power: CpuPower
    measured_us: int
    seed: int
    run_j: float
    preprocessing: Mapping[str, Any]


def flags_of(measured: Measured) -> list[str]:
    """Warnings of a variant: noisy windows, a class that lost much, a second measure that did."""
    quality, probe, flags = measured.judged.quality, measured.judged.probe, []
    if any(cell.noisy for cell in measured.cells):
        flags.append("noisy")
    # Accuracy is judged against no loss at all; a share has its own mean to be worse than.
    usual = quality.delta_points if quality.mcnemar is None else 0.0
    if quality.worst_class_points - usual <= -WORSE_SLICE_POINTS:
        flags.append(f"class:{quality.worst_class} {quality.worst_class_points:+.1f} points")
    if probe is not None and probe.delta_points <= -WORSE_SLICE_POINTS:
        flags.append(f"{PROBE_METRIC} {probe.delta_points:+.1f} points")
    return flags


def variant_entry(measured: Measured, shared: Circumstances) -> dict[str, Any]:
    """The entry, every member present; what is not known is null."""
    built, planned, judged = measured.built, measured.built.planned, measured.judged
    engine = engine_entry(measured.loaded.engine.describe())
    recipe = {"seed": shared.seed, "steps": list(built.steps)}
    return {
        "name": planned.name,
        "digest": variant_digest((measured.file,), shared.preprocessing, engine),
        "parent": planned.parent,
        "family": planned.family,
        "precision": planned.precision,
        "origin": "enumerated",
        "flags": flags_of(measured),
        "recipe": {"sha256": sha256_hex(canonical_json(recipe))} | recipe,
        "files": [asdict(measured.file)],
        "engine": engine,
        "requires": {"isa_any": list(built.isa), "memory_bytes": None, "gpus": 0, "gpu_memory_bytes": None},
        "properties": {
            "deterministic": True,
            "batch_invariant": built.batch_invariant,
            "finite_rows": True,
            "matryoshka": None if shared.space is None else False,
            "embedding_space": None if judged.same_space is None else _space(measured, shared),
            "max_batch": MAX_BATCH,
            "temperature": None if judged.ece is None else 1.0,
            "ece": judged.ece,
        },
        "probes": {"path": measured.probes.path, "sha256": measured.probes.sha256, "n": COUNT, "atol": ATOL},
        "quality": quality_entry(judged, measured.predictions, metric=shared.kind.metric),
        "fidelity": {
            "mean_cosine": built.mean_cosine,
            "min_cosine": built.min_cosine,
            "top1_agreement": judged.fidelity.top1_agreement,
            "logit_kl": judged.fidelity.logit_kl,
            "recall_at_10": judged.fidelity.recall_at_10,
        },
        "profiles": [profile_entry(measured, shared)],
        "breakeven": _breakeven(measured, shared.run_j),
    }


def engine_entry(described: Mapping[str, Any]) -> dict[str, Any]:
    """Engine options as the engine itself states them; what it does not state is null."""
    version = described.get("version")
    return {
        "kind": described["kind"],
        "provider": described.get("provider"),
        "min_version": None if version is None else ".".join(str(version).split(".")[:2]),
        "intra_op_threads": described.get("intra_op_threads"),
        "spinning": described.get("spinning"),
        "arena": described.get("arena"),
        "level": described.get("level"),
    }


def quality_entry(judged: Judged, predictions: FileRef, *, metric: str) -> dict[str, Any]:
    """Quality against the baseline, in the words of the manifest; `probe` is a second measure of the same answers."""
    entry = _figures(judged.quality, metric)
    entry["probe"] = None if judged.probe is None else _figures(judged.probe, PROBE_METRIC)
    entry["predictions"] = {"path": predictions.path, "sha256": predictions.sha256}
    return entry


def _figures(quality: Quality, metric: str) -> dict[str, Any]:
    return {
        "metric": metric,
        "n": quality.n,
        "value": quality.value,
        "value_low": quality.value_low,
        "baseline": quality.baseline,
        "delta_points": quality.delta_points,
        "ci95_points": list(quality.ci95_points),
        "delta_low_points": quality.delta_low_points,
        "mcnemar": None if quality.mcnemar is None else asdict(quality.mcnemar),
        "worst_slice": {"name": f"class:{quality.worst_class}", "delta_points": quality.worst_class_points},
        "verdict": quality.verdict,
        "rows_to_decide": quality.rows_to_decide,
    }


def _space(measured: Measured, shared: Circumstances) -> str | None:
    """Vectors of one space may stand for each other: the baseline's, or one that is this variant's alone."""
    return shared.space if measured.judged.same_space else measured.file.sha256


def profile_entry(measured: Measured, shared: Circumstances) -> dict[str, Any]:
    """Costs on this host: coefficients, cells, tokenizer, headline; energy with its tier."""
    power = shared.power
    dynamic_w, idle_w = watts(power.dynamic_mw_per_cpu), watts(power.idle_mw)
    cost = fit_cost(measured.cells, dynamic_w_per_cpu=dynamic_w)
    cells, loaded, text = measured.cells, measured.loaded, measured.text_cost
    return {
        "fingerprint": shared.fingerprint,
        "measured_at": iso(shared.measured_us),
        "tier": power.tier,
        "concurrency": 1,
        "features": ["1", "b", "bL", "bLL"],
        "t_s": list(cost.t_s),
        "e_dynamic_j": list(cost.e_j),
        "q99": cost.q99,
        "hull": {
            "b": [min(cell.batch for cell in cells), max(cell.batch for cell in cells)],
            "L": [min(cell.length for cell in cells), max(cell.length for cell in cells)],
        },
        "fit": {"mape_t": cost.mape_t, "mape_e": cost.mape_e, "worst": cost.worst, "poor": cost.poor},
        "idle_w": idle_w,
        "held_w": None,
        "load_s": loaded.load_s,
        "load_j": joules_from_uj(power.active_uj(loaded.load_cpu_ns)),
        "rss_bytes": None,
        "preprocess": {
            "features": ["1", "chars"],
            "t_s": list(text.t_s),
            "e_j": [dynamic_w * seconds for seconds in text.cpu_s],
        },
        "cells": [_cell(cell, dynamic_w=dynamic_w, idle_w=idle_w) for cell in cells],
        "headline": _headline(measured.headline, power),
    }


def p95_s(cells: Sequence[Mapping[str, Any]], at: Mapping[str, int]) -> float | None:
    """The p95 [s] of the cell `at` among a profile's cells; None where it was not measured."""
    return next((cell["t_p95_s"] for cell in cells if (cell["b"], cell["L"]) == (at["b"], at["L"])), None)


def _cell(cell: Cell, *, dynamic_w: float, idle_w: float) -> dict[str, Any]:
    energy = cell.energy_j(dynamic_w)
    mean_s = sum(cell.run_s) / len(cell.run_s)
    return {
        "b": cell.batch,
        "L": cell.length,
        "runs": len(cell.run_s),
        "t_p50_s": cell.p50_s,
        "t_p95_s": cell.p95_s(least_runs=P95_RUNS),
        "e_gross_j": energy.value + idle_w * mean_s,
        "e_dynamic_j": energy.value,
        "ci95_dynamic_j": _bounds(energy),
        "noisy": cell.noisy,
    }


def _headline(headline: Headline, power: CpuPower) -> dict[str, Any]:
    energy, share = headline.energy_j, power.half_width_pct / 100
    return {
        "batch": HEADLINE_BATCH,
        "j_per_request": energy.value,
        "low": max(0.0, (energy.value if energy.low is None else energy.low) * (1 - share)),
        "high": (energy.value if energy.high is None else energy.high) * (1 + share),
        "ci95_j": _bounds(energy),
        "ratio_to_baseline": headline.ratio.value,
        "ratio_ci95": _bounds(headline.ratio),
    }


def _bounds(interval: Interval95) -> list[float] | None:
    return None if interval.low is None or interval.high is None else [interval.low, interval.high]


def _breakeven(measured: Measured, run_j: float) -> dict[str, Any]:
    saved = measured.headline.saved_j
    low = saved.low if saved.low is not None else 0.0
    repaid = requests_to_repay(run_j=run_j, saved_j=saved.value, saved_low_j=low)
    # Grams repay after as many requests as joules where the run and the serving meet the same intensity, which this
    # version cannot know; it says nothing rather than repeat the first figure.
    return {"requests_energy": repaid, "requests_carbon": None, "basis": "whole run"}
