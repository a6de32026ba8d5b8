"""Make a snapshot from a model's manifest, the regions and the grid's readings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.errors import ManifestInvalid
from greenserve.manifest import Manifest, Variant
from greenserve.records import IntensityReading
from greenserve.routing.records import Arc, Coefficients, Objective, Region, Snapshot

PRIOR_WIDENING = 1.5


class Served(NamedTuple):
    """A model as it is served: under which name, from which manifest, with which variants loaded (None: all)."""

    name: str
    manifest: Manifest
    loaded: frozenset[str] | None = None


def snapshot_from(
    model: Served,
    regions: Sequence[Region],
    readings: Mapping[str, IntensityReading | None],
    *,
    fingerprint: str,
    objective: Objective,
    version: int = 0,
    max_batch: int | None = None,
) -> Snapshot:
    """The arcs of all variants in all regions, the first region being home.

    A profile measured on another host is a prior: its q99 is widened by half and its arcs say so. `max_batch` caps
    what the gateway batches. Emulated regions share this machine's one pool. Zones without a reading are unknown.
    """
    if not regions:
        raise ValueError("a snapshot needs at least one region, the home region first")
    variants = [variant for variant in model.manifest.variants if model.loaded is None or variant.name in model.loaded]
    arcs = tuple(
        _arc(variant, region, fingerprint=fingerprint, home=regions[0], max_batch=max_batch)
        for region in regions
        for variant in variants
    )
    known = {region.zone: readings.get(region.zone) for region in regions}
    reference = _reference_length(model.manifest)
    return Snapshot(
        model=model.name,
        version=version,
        home=regions[0].name,
        arcs=arcs,
        readings=known,
        objective=objective,
        reference_length=reference,
        digest=_digest(arcs, known, objective, reference),
    )


def _reference_length(manifest: Manifest) -> int:
    """The second length bucket [tokens], or what stands for it; tensors have no length."""
    pre = manifest.preprocessing
    if pre is None:
        return 1
    return pre.buckets[min(1, len(pre.buckets) - 1)] if pre.buckets else pre.max_length


def _arc(variant: Variant, region: Region, *, fingerprint: str, home: Region, max_batch: int | None) -> Arc:
    profile = variant.profile_for(fingerprint)
    prior = profile is not None and profile.fingerprint != fingerprint
    q99 = 1.0 if profile is None else max(1.0, profile.q99) * (PRIOR_WIDENING if prior else 1.0)
    return Arc(
        region=region.name,
        zone=region.zone,
        variant=variant.name,
        quality=variant.value_low,
        theta=None if profile is None else _coefficients(variant, profile.t_s),
        eta=None if profile is None else _coefficients(variant, profile.e_dynamic_j),
        q99=q99,
        max_batch=min(variant.max_batch, max_batch or variant.max_batch),
        pue_milli=region.pue_milli,
        pool=home.name if region.emulated else region.name,
        emulated=region.emulated,
        rtt_s=region.rtt_s,
        tier=None if profile is None else profile.tier,
        prior=prior,
    )


def _coefficients(variant: Variant, values: tuple[float, ...]) -> Coefficients:
    if len(values) != 4:
        raise ManifestInvalid(f"variant {variant.name}: a profile has four coefficients, got {len(values)}")
    first, second, third, fourth = values
    return first, second, third, fourth


def _digest(
    arcs: Sequence[Arc], readings: Mapping[str, IntensityReading | None], objective: Objective, reference: int
) -> str:
    grid = {
        zone: None if reading is None else [reading.mg_per_kwh, reading.basis, reading.kind, reading.origin]
        for zone, reading in readings.items()
    }
    whole = {
        "arcs": [asdict(arc) for arc in sorted(arcs, key=lambda arc: (arc.region, arc.variant))],
        "grid": grid,
        "objective": asdict(objective) | {"regions": None if objective.regions is None else sorted(objective.regions)},
        "reference_length": reference,
    }
    return sha256_hex(canonical_json(whole))
