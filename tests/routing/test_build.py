"""From manifest, regions and readings to a snapshot."""

from dataclasses import replace
from pathlib import Path

import pytest

from greenserve.errors import ManifestInvalid
from greenserve.manifest import Manifest, Preprocessing, Profile, Variant
from greenserve.routing.build import Served, snapshot_from
from greenserve.routing.records import Objective, Region, Snapshot

HERE, ELSEWHERE = "a" * 64, "b" * 64
NORTH = Region(name="north", zone="DEMO-NORTH", pue_milli=1000, emulated=True)
SOUTH = Region(name="south", zone="DEMO-SOUTH", pue_milli=1200, emulated=True)


def a_profile(fingerprint: str = HERE, *, q99: float = 1.2) -> Profile:
    return Profile(
        fingerprint=fingerprint,
        tier="modelled",
        t_s=(0.001, 0.002, 0.0, 0.0),
        e_dynamic_j=(0.01, 0.02, 0.0, 0.0),
        q99=q99,
        idle_w=None,
        held_w=None,
    )


def a_variant(name: str = "int8-dyn", *profiles: Profile) -> Variant:
    return Variant(
        name=name,
        digest="0" * 64,
        family="int8-dyn",
        precision="int8",
        files=(),
        engine={},
        value=0.82,
        value_low=0.81,
        verdict="pass",
        max_batch=64,
        batch_invariant=True,
        embedding_space=None,
        profiles=profiles,
    )


def a_manifest(*variants: Variant) -> Manifest:
    return Manifest(
        folder=Path(),
        name="sentiment",
        version=1,
        task="text-classification",
        labels=("negative", "neutral", "positive"),
        preprocessing=Preprocessing(max_length=128, truncate="end", buckets=(16, 32, 128), files=()),
        embedding=None,
        inputs=(),
        outputs=(),
        variants=variants,
        baseline=variants[0].name,
        recommended=variants[0].name,
        front=(variants[0].name,),
        digest="0" * 64,
        document={},
    )


def built(manifest: Manifest, *, loaded: frozenset[str] | None = None, max_batch: int | None = None) -> Snapshot:
    return snapshot_from(
        Served("sentiment", manifest, loaded),
        [NORTH, SOUTH],
        {},
        fingerprint=HERE,
        objective=Objective(latency_s=0.05),
        max_batch=max_batch,
    )


def test_each_variant_stands_in_each_region() -> None:
    """Two regions, two variants: four arcs, the proven quality, home first, one shared pool where emulated."""
    snapshot = built(a_manifest(a_variant("fp32", a_profile()), a_variant("int8-dyn", a_profile())))

    assert {"north/fp32", "north/int8-dyn", "south/fp32", "south/int8-dyn"} == {arc.name for arc in snapshot.arcs}
    assert {0.81} == {arc.quality for arc in snapshot.arcs}
    assert ("north", {"north"}) == (snapshot.home, {arc.pool for arc in snapshot.arcs})
    assert {"DEMO-NORTH": None, "DEMO-SOUTH": None} == snapshot.readings


def test_a_profile_of_another_host_is_a_widened_prior() -> None:
    """This host's profile is preferred; another's counts, its tail widened by half and flagged."""
    both = built(a_manifest(a_variant("v", a_profile(ELSEWHERE, q99=3.0), a_profile(HERE, q99=1.2)))).arcs[0]
    other = built(a_manifest(a_variant("v", a_profile(ELSEWHERE, q99=1.2)))).arcs[0]

    assert (False, 1.2) == (both.prior, both.q99)
    assert other.prior
    assert pytest.approx(1.8) == other.q99


def test_a_variant_without_a_profile_has_unknown_cost() -> None:
    """Unknown stays None: neither time nor energy is made up."""
    arc = built(a_manifest(a_variant("v"))).arcs[0]

    assert (None, None, None) == (arc.theta, arc.eta, arc.tier)


def test_only_loaded_variants_are_routed_to() -> None:
    """What is not in memory is no candidate; the gateway's batch limit caps the variant's."""
    manifest = a_manifest(a_variant("fp32", a_profile()), a_variant("int8-dyn", a_profile()))

    snapshot = built(manifest, loaded=frozenset({"int8-dyn"}), max_batch=16)

    assert {("int8-dyn", 16)} == {(arc.variant, arc.max_batch) for arc in snapshot.arcs}


def test_the_digest_names_what_a_pick_depends_on() -> None:
    """Same inputs, same digest; another quality, another digest."""
    variant = a_variant("v", a_profile())

    first, again = built(a_manifest(variant)), built(a_manifest(variant))
    other = built(a_manifest(replace(variant, value_low=0.7)))

    assert first.digest == again.digest != other.digest


def test_a_profile_of_the_wrong_length_is_refused() -> None:
    """Three coefficients are a broken manifest, not a zero."""
    broken = replace(a_profile(), t_s=(0.1, 0.2, 0.3))

    with pytest.raises(ManifestInvalid, match="four coefficients, got 3"):
        built(a_manifest(a_variant("v", broken)))
