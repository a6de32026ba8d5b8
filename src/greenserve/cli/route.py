"""`greenserve route`: why this variant and region, and why not the others. A dry run from the configuration."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from math import floor, log10
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.feeds.build import grid_from
from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.config import Config, load_config
from greenserve.host import describe_host
from greenserve.inputs import bucket_of
from greenserve.manifest import load_manifest
from greenserve.quantities import parse_mg_per_kwh
from greenserve.records import IntensityReading
from greenserve.routing.build import Served, snapshot_from
from greenserve.routing.explain import Explanation, Row, explain, with_intensity
from greenserve.routing.records import Features, Objective, Region, Snapshot
from greenserve.routing.state import RoutingState
from greenserve.sections import Model
from greenserve.units import MG_PER_G, MILLI, US_PER_S, ns_from_seconds

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Why this variant and region, and why not the others."
)
UG_PER_G = 1_000_000
GIVEN = "--intensity"
HOUR_US = 3_600 * US_PER_S


@app.callback()
def route() -> None:
    """Why this variant and region, and why not the others."""


@app.command("explain")
def explain_command(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")] = None,
    model: Annotated[str | None, typer.Option(help="The model; default: the first one.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose request; model defaults apply.")] = "example",
    tokens: Annotated[int, typer.Option(min=1, help="Length of the text.")] = 12,
    p95_ms: Annotated[float | None, typer.Option(min=0.001, help="Another latency objective.")] = None,
    min_quality: Annotated[float | None, typer.Option(min=0, max=1, help="A higher floor.")] = None,
    intensity: Annotated[str | None, typer.Option(help="g/kWh in every zone: 40,216,700.")] = None,
    at: Annotated[str | None, typer.Option(help="UTC time: 2026-11-22T12:00Z.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Weigh one request without a gateway: every candidate, and why it lost.

    Queues are taken as empty and no quality is owed. Needs a configuration and the model's manifest.
    """
    loaded = load_config(config)
    chosen = _model(loaded, model)
    at_us = SystemClock().unix_us() if at is None else _time(at)
    snapshot = _snapshot(loaded, chosen, at_us=at_us, p95_ms=p95_ms)
    length = _padded(chosen, tokens)
    features = Features(
        tenant=tenant,
        length=length,
        deadline_ns=ns_from_seconds(loaded.server.limits.request_timeout_s),
        min_quality=min_quality,
    )
    grids = [(label, with_intensity(snapshot, readings)) for label, readings in _grids(snapshot, intensity, at_us)]
    blocks = [(label, grid, explain(grid, RoutingState(), features, 0)) for label, grid in grids]
    if as_json:
        print_json("route-explain", _document(snapshot, features, at_us, blocks))
        return
    for line in _table(snapshot, features, at_us, blocks):
        data.print(line, markup=False)
    emulated = sorted({arc.region for arc in snapshot.arcs if arc.emulated})
    if emulated:
        messages.print(f"emulated regions, executed on this machine: {', '.join(emulated)}", markup=False)


Block = tuple[str | None, Snapshot, Explanation]


def _model(config: Config, name: str | None) -> Model:
    found = next((model for model in config.models if name in (None, model.name)), None)
    if found is None:
        known = ", ".join(model.name for model in config.models)
        raise typer.BadParameter(f"{name!r} is not configured; models are {known}", param_hint="--model")
    return found


def _snapshot(config: Config, model: Model, *, at_us: int, p95_ms: float | None) -> Snapshot:
    grid = grid_from(config, clock=SystemClock(), only_stored=True)
    asyncio.run(grid.close())
    feed = grid.chain
    return snapshot_from(
        Served(model.name, load_manifest(model.manifest)),
        [
            Region(name=region.name, zone=region.zone, pue_milli=region.pue_milli, emulated=region.emulated)
            for region in config.regions
        ],
        {region.zone: feed.read(zone=region.zone, at_us=at_us) for region in config.regions},
        fingerprint=str(describe_host()["fingerprint"]),
        objective=Objective(
            latency_s=model.objective.p95_s if p95_ms is None else p95_ms / MILLI,
            quality_floor=model.objective.quality_floor,
            quality_mean=model.objective.quality_mean,
            policy=config.routing.policy,
        ),
        max_batch=model.batching.max_batch,
    )


def _padded(model: Model, tokens: int) -> int:
    preprocessing = load_manifest(model.manifest).preprocessing
    if preprocessing is None:
        return tokens
    return bucket_of(min(tokens, preprocessing.max_length), preprocessing.buckets)


def _grids(
    snapshot: Snapshot, intensity: str | None, at_us: int
) -> Sequence[tuple[str | None, Mapping[str, IntensityReading | None]]]:
    if intensity is None:
        return [(None, snapshot.readings)]
    grids = []
    for text in intensity.split(","):
        try:
            mg_per_kwh = parse_mg_per_kwh(f"{text.strip()}gCO2e/kWh")
        except ValueError as error:
            raise typer.BadParameter(f"{error}; give g/kWh like 40,216,700", param_hint=GIVEN) from None
        readings = {zone: _given(zone, mg_per_kwh, at_us) for zone in snapshot.readings}
        grids.append((f"{text.strip()} g/kWh in every zone", readings))
    return grids


def _given(zone: str, mg_per_kwh: int, at_us: int) -> IntensityReading:
    return IntensityReading(
        zone=zone,
        start_us=at_us,
        end_us=at_us + HOUR_US,
        mg_per_kwh=mg_per_kwh,
        basis="lifecycle",
        kind="average",
        origin="estimated",
        provider=GIVEN,
        retrieved_us=at_us,
    )


def _time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time like 2026-11-22T12:00Z", param_hint="--at") from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp()) * US_PER_S


def _table(snapshot: Snapshot, features: Features, at_us: int, blocks: Sequence[Block]) -> list[str]:
    objective = snapshot.objective
    mean = "" if objective.quality_mean is None else f", mean {objective.quality_mean:.3f}"
    lines = [
        f"{snapshot.model}, tenant {features.tenant}, padded to {features.length} tokens, {_stamp(at_us)}",
        f"policy {objective.policy}, p95 {objective.latency_s * MILLI:g} ms, quality floor "
        f"{objective.quality_floor:.3f}{mean}",
        "dry run: empty queues, no quality owed",
    ]
    for label, grid, explanation in blocks:
        lines.append("")
        lines.extend(f"grid {text}" for text in ([label] if label else _grid(grid)))
        # Region and variant names set the first column; the verdicts stand below the figures so that 80 columns do.
        widest = max((len(f"{row.region}/{row.variant}") for row in explanation.rows), default=8)
        lines.append(f"   {'arc':<{widest}}  quality  ETA ms        mJ      G ug     score ug")
        lines.extend(text for row in explanation.rows for text in _lines(row, widest))
        if explanation.refusal is not None:
            lines.append("refused: no candidate is left (no-feasible-route)")
    tiers = sorted({row.tier for _, _, explanation in blocks for row in explanation.rows if row.tier})
    lines.append("")
    lines.append(f"energy and emissions are predictions from profiles of tier: {', '.join(tiers) or 'unknown'}")
    return lines


def _lines(row: Row, widest: int) -> list[str]:
    name = f"{row.region}/{row.variant}"
    figures = (
        f"{_number(row.eta_s, MILLI, 8)}{_number(row.energy_j, MILLI, 10)}"
        f"{_number(row.emissions_g, UG_PER_G, 10)}{_number(row.score_g, UG_PER_G, 13)}"
    )
    mark = ">" if row.picked else " "
    return [f" {mark} {name:<{widest}}  {row.quality:>7.3f}{figures}", f"     {row.verdict}"]


def _number(value: float | None, scale: int, width: int) -> str:
    """Four significant digits, never in scientific notation."""
    if value is None:
        return f"{'-':>{width}}"
    scaled = value * scale
    places = 0 if scaled == 0 else min(9, max(0, 3 - floor(log10(abs(scaled)))))
    return f"{scaled:>{width}.{places}f}"


def _grid(snapshot: Snapshot) -> list[str]:
    return [f"{zone}: {_reading(reading)}" for zone, reading in snapshot.readings.items()]


def _reading(reading: IntensityReading | None) -> str:
    if reading is None:
        return "unknown (ranked as the dirtiest)"
    grams = reading.mg_per_kwh / MG_PER_G
    return f"{grams:g} gCO2e/kWh, {reading.basis}, {reading.origin} ({reading.provider})"


def _stamp(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // US_PER_S, tz=UTC):%Y-%m-%dT%H:%MZ}"


def _document(snapshot: Snapshot, features: Features, at_us: int, blocks: Sequence[Block]) -> dict[str, object]:
    return {
        "model": snapshot.model,
        "tenant": features.tenant,
        "at": _stamp(at_us),
        "padded_tokens": features.length,
        "latency_s": snapshot.objective.latency_s,
        "quality_floor": snapshot.objective.quality_floor,
        "quality_mean": snapshot.objective.quality_mean,
        "policy": snapshot.objective.policy,
        "emulated_regions": sorted({arc.region for arc in snapshot.arcs if arc.emulated}),
        "grids": [
            {
                "intensity": {zone: _reading_document(reading) for zone, reading in grid.readings.items()},
                "picked": None if made is None else f"{made.region}/{made.variant}",
                "reason": None if made is None else made.reason,
                "flags": [] if made is None else list(made.flags),
                "candidates": [asdict(row) for row in explanation.rows],
            }
            for _, grid, explanation in blocks
            for made in (explanation.decision,)
        ],
    }


def _reading_document(reading: IntensityReading | None) -> dict[str, object] | None:
    return None if reading is None else asdict(reading)
