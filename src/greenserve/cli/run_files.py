"""What a saved run says for a comparison: load tests, reports of profilers and trackers, manifests of optimisations."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenserve.carbon.difference import Z_90, Z_95, Estimate, exact, of_means, of_quantile, of_runs, share, widened
from greenserve.errors import InvalidRequest
from greenserve.manifest import load_manifest
from greenserve.optimize.entry import p95_s
from greenserve.units import MG_PER_G, MILLI, grams_from_ng, joules_from_uj, seconds_from_ns

LOADTEST, TRACK, LINE, MANIFEST = (
    f"greenserve.{name}/1" for name in ("loadtest", "carbon-track", "carbon-track-line", "manifest")
)
MANIFEST_FILE = "manifest.json"
KINDS = "a load test (loadtest -o), a report of a profiler or tracker (.json, .jsonl), or a folder of variants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of a run: what it is of (`group`, empty: the whole), unit, direction, and the tier of energy."""

    group: str
    name: str
    estimate: Estimate
    lower_is_better: bool = True
    tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A saved run. `same` are facts that both must share to be compared; `faults` say why it does not count."""

    kind: str
    said: str
    metrics: tuple[Metric, ...]
    same: Mapping[str, object]
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_run(file: Path) -> Run:
    """The run of a file, or of a folder with a manifest.

    InvalidRequest where it is none of `KINDS`, ManifestInvalid for a manifest that does not hold.
    """
    manifest = file / MANIFEST_FILE if file.is_dir() else file
    if file.is_dir() and not manifest.is_file():
        raise InvalidRequest(f"{file} is a folder without a {MANIFEST_FILE}; it must be {KINDS}")
    documents = [{"schema": MANIFEST}] if manifest.name == MANIFEST_FILE else _documents(file)
    first = documents[0]
    try:
        if first.get("schema") == MANIFEST:
            return _optimisation(manifest)
        if first.get("schema") == LOADTEST:
            return _load_test(file, first)
        if first.get("schema") in (TRACK, LINE) or {"devices", "energy_uj"} <= set(first):
            return _profile(file, documents)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidRequest(f"{file} is no whole run: {_said(error)}; save the run again") from None
    raise InvalidRequest(f"{file} has schema {first.get('schema')!r:.60}; it must be {KINDS}")


def _said(error: Exception) -> str:
    """What is wrong with a member, in words."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, IndexError):
        return "a list in it is empty that must not be"
    return f"a member is of another kind than it must be ({error})"


def _documents(file: Path) -> list[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        found = (
            [json.loads(line) for line in text.splitlines() if line] if file.suffix == ".jsonl" else json.loads(text)
        )
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{file} cannot be read as JSON: {error}; it must be {KINDS}") from None
    documents = found if isinstance(found, list) else [found]
    if not documents or not all(isinstance(one, dict) for one in documents):
        raise InvalidRequest(f"{file} holds no run; it must be {KINDS}")
    return documents


def _load_test(file: Path, document: Mapping[str, Any]) -> Run:
    plan, energy, carbon = document["plan"], document["energy"], document["carbon"]
    rows = _rows(file.with_suffix(".csv"), int(document["requests"]))
    tier = None if energy is None else str(energy["tier"] or "unknown")
    metrics = [Metric(group="", name="failed %", estimate=_percent(share(document["failed"], document["requests"])))]
    if energy is not None:
        estimate = Estimate(value=energy["mean_mj"], low=energy["low_mj"], high=energy["high_mj"])
        metrics.append(Metric(group="", name="mJ/request", estimate=estimate, tier=tier))
    if carbon is not None:
        per_1k = [
            grams_from_ng(int(row["emissions_ng"])) * MG_PER_G * 1_000
            for row in rows
            if not row["error"] and row["emissions_ng"]
        ]
        value = of_means(per_1k) if per_1k else Estimate(value=carbon["mg_per_1k"])
        metrics.append(Metric(group="", name="mgCO2e/1k", estimate=value, tier=tier))
    for column, name, told in (("service_s", "service", "service"), ("from_intended_s", "from start", "intended")):
        if document[told] is not None:
            times = [float(row[column]) for row in rows if not row["error"]]
            metrics += [
                _latency(times, f"{name} p{percent}", percent, document[told][f"p{percent}_ms"])
                for percent in (50, 95, 99)
            ]
    note = (
        () if rows else (f"{file.name}: without {file.with_suffix('.csv').name} beside it latencies have no interval",)
    )
    kind = plan["arrivals"].partition(":")[0]
    return Run(
        kind="load test",
        said=f"{plan['model']}, {plan['rate_per_s']:g}/s {kind}, {document['requests']:,} requests",
        metrics=tuple(metrics),
        same={
            **{name: plan[name] for name in ("model", "rate_per_s", "repeat_share")},
            "arrivals": Path(plan["arrivals"]).name,
            "tier of energy": tier,
        },
        faults=tuple(document["invalid"]),
        notes=note,
    )


def _rows(file: Path, wanted: int) -> list[dict[str, str]]:
    """The requests of a load test; none where the file is not there."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if len(rows) != wanted:
        raise InvalidRequest(f"{file} has {len(rows)} requests and the run beside it {wanted}: it is of another run")
    return rows


def _latency(times_s: Sequence[float], name: str, percent: int, told_ms: float) -> Metric:
    times_ms = [time * MILLI for time in times_s]
    estimate = of_quantile(times_ms, percent / 100) if times_ms else Estimate(value=told_ms)
    return Metric(group="", name=f"{name} ms", estimate=estimate)


def _percent(one: Estimate) -> Estimate:
    assert one.low is not None
    assert one.high is not None
    return Estimate(value=100 * one.value, low=100 * one.low, high=100 * one.high)


def _profile(file: Path, documents: Sequence[Mapping[str, Any]]) -> Run:
    """One report with its meter's interval, or repeated ones (a list, or the final lines of a `.jsonl`) by their
    spread."""
    ended = [one for one in documents if one.get("state", "final") == "final"]
    if not ended:
        raise InvalidRequest(
            f"{file}: no run in it has ended (state `final`); the tracker is still running, or was killed"
        )
    tiers = {str(one["tier"]) for one in ended}
    metrics = [
        Metric(group="", name="energy J", estimate=value, tier="+".join(sorted(tiers))) for value in _energies(ended)
    ]
    grams = [grams_from_ng(one["emissions_ng"]) for one in ended if one.get("emissions_ng") is not None]
    if grams and len(grams) == len(ended):
        metrics.append(Metric(group="", name="gCO2e", estimate=_emissions(ended, grams), tier="+".join(sorted(tiers))))
    lasted = [_energy_of(one)["duration_ns"] for one in ended if "duration_ns" in _energy_of(one)]
    if len(lasted) == len(ended):
        metrics.append(Metric(group="", name="seconds", estimate=of_runs([seconds_from_ns(ns) for ns in lasted])))
    how = f"{len(ended)} runs: interval of their mean, without what the meter may be off" if len(ended) > 1 else ""
    labels = sorted({str(one["label"]) for one in ended})
    return Run(
        kind="profile",
        said=f"{', '.join(labels)}, {len(ended)} {'run' if len(ended) == 1 else 'runs'}",
        metrics=tuple(metrics),
        same={
            "tier of energy": "+".join(sorted(tiers)),
            "meters": _named(ended, lambda one: [device["meter"] for device in _energy_of(one).get("devices", ())]),
            "basis": _named(
                ended, lambda one: [line["intensity"]["basis"] for line in one.get("lines", ()) if line["intensity"]]
            ),
            "pue": _named(ended, lambda one: [one["pue"]["milli"]] if "pue" in one else []),
        },
        notes=(f"{file.name}: {how}",) if how else (),
    )


def _energy_of(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The profiler's part of a tracker's report; a profiler's report is it."""
    found: Mapping[str, Any] = report.get("energy", report)
    return found


def _energies(ended: Sequence[Mapping[str, Any]]) -> list[Estimate]:
    known = [joules_from_uj(one["energy_uj"]) for one in ended if one["energy_uj"] is not None]
    if len(known) < len(ended):
        return []
    if len(ended) > 1:
        return [of_runs(known)]
    inner = _energy_of(ended[0])
    ends = [inner.get("low_uj"), inner.get("high_uj")]
    return [widened(known[0], *(None if end is None else joules_from_uj(end) for end in ends))]


def _emissions(ended: Sequence[Mapping[str, Any]], grams: Sequence[float]) -> Estimate:
    if len(ended) > 1:
        return of_runs(grams)
    ends = [ended[0].get("low_ng"), ended[0].get("high_ng")]
    return widened(grams[0], *(None if end is None else grams_from_ng(end) for end in ends))


def _named(ended: Sequence[Mapping[str, Any]], names: Callable[[Mapping[str, Any]], Sequence[object]]) -> str:
    return "+".join(sorted({str(name) for one in ended for name in names(one)}))


def _optimisation(file: Path) -> Run:
    document = load_manifest(file).document
    profile = document["variants"][0]["profiles"][0]
    metrics = [metric for variant in document["variants"] for metric in _of_variant(variant, document)]
    return Run(
        kind="optimisation",
        said=f"{document['name']} version {document['version']}, {len(document['variants'])} variants",
        metrics=tuple(metrics),
        same={
            "name": document["name"],
            "metric": document["gates"]["metric"],
            "test rows": document["data"]["splits"]["test"]["sha256"][:12],
            "host": document["host"]["fingerprint"][:12],
            "headline batch": document["protocol"]["headline_batch"],
            "tier of energy": profile["tier"],
        },
        notes=("energy: spread of the measured groups; the meter's own error is common to both",),
    )


def _of_variant(variant: Mapping[str, Any], document: Mapping[str, Any]) -> list[Metric]:
    profile, quality, group = variant["profiles"][0], variant["quality"], str(variant["name"])
    headline = profile["headline"]
    low, high = headline["ci95_j"] or (None, None)
    energy = Estimate(
        value=MILLI * headline["j_per_request"],
        low=None if low is None else MILLI * low,
        high=None if high is None else MILLI * high,
    )
    slow_s = p95_s(profile["cells"], document["gates"]["p95_at"])
    half = (quality["value"] - quality["value_low"]) * Z_95 / Z_90
    right = Estimate(
        value=100 * quality["value"], low=100 * (quality["value"] - half), high=100 * (quality["value"] + half)
    )
    size_mb = sum(part["bytes"] for part in variant["files"]) / 1_000_000
    found = [Metric(group=group, name="mJ/request", estimate=energy, tier=profile["tier"])]
    found.append(Metric(group=group, name=f"{quality['metric']} %", estimate=right, lower_is_better=False))
    if slow_s is not None:
        found.append(Metric(group=group, name="p95 ms", estimate=Estimate(value=MILLI * slow_s)))
    return [*found, Metric(group=group, name="MB", estimate=exact(size_mb))]
