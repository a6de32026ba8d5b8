"""The manifest as a document: what was built, what was measured, and the digests of both."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from greenserve import __version__
from greenserve.canonical import canonical_json, sha256_hex
from greenserve.manifest import SCHEMA, FileRef
from greenserve.optimize.cost import RunCost
from greenserve.optimize.data import Dataset
from greenserve.optimize.kinds import EMBEDDING, Kind
from greenserve.optimize.plan import HEADLINE_BATCH, Preset, buckets_for
from greenserve.optimize.sources import Source
from greenserve.units import MILLI, US_PER_S

IDENTITY = (
    "schema",
    "name",
    "task",
    "labels",
    "embedding",
    "source",
    "architecture",
    "inputs",
    "outputs",
    "preprocessing",
    "data",
    "toolchain",
    "gates",
    "baseline",
)
VARIANT_IDENTITY = ("name", "parent", "family", "precision", "recipe", "files", "engine", "requires")
UNDIGESTED = ("version", "tool", "created_at", "identity_sha256", "measured_sha256", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the top of a manifest says beside source and data."""

    name: str
    kind: Kind
    version: int
    created_us: int
    parameters: int
    lengths_p50_p95: tuple[int, int]
    toolchain: Mapping[str, str]
    gates: Mapping[str, Any]
    host: Mapping[str, Any]
    protocol: Mapping[str, Any]


def iso(unix_us: int) -> str:
    """Microseconds since 1970 UTC as `2026-01-31T12:00:00Z`."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_us // US_PER_S)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def preprocessing_of(source: Source, tokenizer: FileRef) -> dict[str, Any]:
    """How text becomes tokens for this source."""
    return {
        "kind": "text",
        "version": 1,
        "max_length": source.max_length,
        "truncate": "end",
        "buckets": list(buckets_for(source.max_length)),
        "files": [asdict(tokenizer)],
    }


def gates_of(*, metric: str, max_drop_points: float, p95_at: tuple[int, int]) -> dict[str, Any]:
    """What a variant must meet to pass; a gate that was not asked for is null."""
    return {
        "metric": metric,
        "max_drop_points": max_drop_points,
        "confidence": 0.95,
        "p95_s": None,
        "p95_at": {"b": p95_at[0], "L": p95_at[1]},
        "max_bytes": None,
        "fidelity": None,
    }


def protocol_of(preset: Preset, *, grid: Sequence[tuple[int, int]], half_width_pct: int, source: str) -> dict[str, Any]:
    """How the figures were measured."""
    return {
        "preset": preset.name,
        "b": sorted({batch for batch, _ in grid}),
        "L": sorted({length for _, length in grid}),
        "windows": preset.windows,
        "window_s": preset.window_s,
        "meter": "cpu-time",
        "meter_parameters": source,
        "systematic_pct": half_width_pct,
        "bootstrap": preset.bootstrap,
        "headline_batch": HEADLINE_BATCH,
    }


def compose(
    *,
    source: Source,
    dataset: Dataset,
    facts: Facts,
    preprocessing: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    choice: Mapping[str, Any],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole manifest. `choice` holds baseline, recommended and front."""
    embeds = facts.kind.name == EMBEDDING
    width = source.architecture.hidden if embeds else len(dataset.labels)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "name": facts.name,
        "version": facts.version,
        "task": facts.kind.name,
        "tool": f"greenserve {__version__}",
        "created_at": iso(facts.created_us),
        "identity_sha256": "",
        "measured_sha256": "",
        "signature": None,
        "labels": [] if embeds else list(dataset.labels),
        "embedding": {"dimensions": width, "matryoshka": False} if embeds else None,
        "source": _source(source),
        "architecture": asdict(source.architecture) | {"parameters": facts.parameters},
        "inputs": [{"name": name, "dtype": "int64", "shape": ["b", "s"]} for name in ("input_ids", "attention_mask")],
        "outputs": [
            {"name": facts.kind.output, "dtype": "float32", "shape": ["b", width], "kind": facts.kind.output_kind}
        ],
        "preprocessing": dict(preprocessing),
        "data": _data(dataset, facts.lengths_p50_p95),
        "toolchain": dict(facts.toolchain),
        "gates": dict(facts.gates),
        "host": dict(facts.host),
        "protocol": dict(facts.protocol),
        **choice,
        "variants": [dict(variant) for variant in variants],
        "run": dict(run),
    }
    document["identity_sha256"] = identity_sha256(document)
    document["measured_sha256"] = measured_sha256(document)
    return document


def identity_sha256(document: Mapping[str, Any]) -> str:
    """Digest of what the same seed, versions, threads and CPU type must repeat: files and recipes, no measurement."""
    whole = {member: document[member] for member in IDENTITY}
    whole["variants"] = [{member: variant[member] for member in VARIANT_IDENTITY} for variant in document["variants"]]
    return sha256_hex(canonical_json(whole))


def measured_sha256(document: Mapping[str, Any]) -> str:
    """Digest of the rest."""
    whole = {member: value for member, value in document.items() if member not in (*IDENTITY, *UNDIGESTED)}
    whole["variants"] = [
        {member: value for member, value in variant.items() if member not in VARIANT_IDENTITY}
        for variant in document["variants"]
    ]
    return sha256_hex(canonical_json(whole))


def run_entry(
    cost: RunCost, *, run_id: str, command: str, seed: int, broken: Mapping[str, str], planned: int
) -> dict[str, Any]:
    """What the run was and cost; emissions are null where no intensity was given."""
    stated = cost.intensity
    return {
        "id": run_id,
        "command": command,
        "seed": seed,
        "enumerated": planned,
        "trials": 0,
        "failed": len(broken),
        "broken": dict(broken),
        "wall_s": round(cost.wall_s, 3),
        "energy_uj": {
            "gross": cost.gross_uj,
            "dynamic": cost.dynamic_uj,
            "idle": cost.idle_uj,
            "tier": cost.tier,
        },
        "emissions_ng": cost.emissions_ng,
        "pauses": [],
        "intensity": [] if stated is None else [_stated(stated.zone, stated.mg_per_kwh)],
        "pue": {"value": 1.0, "source": "not applied"},
        "ledger_entries": [],
        "replay": None,
    }


def _stated(zone: str | None, mg_per_kwh: int) -> dict[str, Any]:
    unknown = dict.fromkeys(("start", "end", "basis", "kind", "retrieved_at"))
    return {"zone": zone, "mg_per_kwh": mg_per_kwh, "origin": "stated", "provider": "command line"} | unknown


def _source(source: Source) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "id": source.id,
        "revision": source.revision,
        "licence": source.licence,
        "remote_code": False,
        "imported_from": None,
        "training_energy": None,
        "files": [asdict(file) for file in source.files],
    }


def _data(dataset: Dataset, lengths: tuple[int, int]) -> dict[str, Any]:
    splits = dataset.splits
    named = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "licence": dataset.licence,
        "filter": dataset.filter,
        "labelled": True,
        "classes": len(dataset.labels),
        "seed": dataset.seed,
        "length_p50_p95": list(lengths),
        "splits": {name: {"n": len(rows.texts), "sha256": rows.digest} for name, rows in named.items()}
        | {"calib": None},
    }


def watts(milliwatts: int) -> float:
    """Milliwatts [mW] to watts [W]."""
    return milliwatts / MILLI
