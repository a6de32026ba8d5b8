"""A manifest that is read again: beside the old one, then everywhere or nowhere."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from greenserve.clock import SystemClock
from greenserve.errors import ManifestInvalid, ReloadFailed
from greenserve.manifest import file_ref, variant_digest
from greenserve.serve.models import Models, ServedModel, load_model
from greenserve.serve.reload import Reloader, Report, failed, fine, reload_everywhere
from greenserve.serve.variant_replica import VariantReplica, artefacts_of
from tests.serve.building import HeldEngines, a_config


@pytest.fixture
def manifest(tiny_manifest: Path, tmp_path: Path) -> Path:
    """A manifest that a test may change."""
    shutil.copytree(tiny_manifest.parent, tmp_path / "own")
    return tmp_path / "own" / tiny_manifest.name


def changed(manifest: Path, **members: Any) -> None:
    """Write the manifest with other members."""
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | members))


def a_loaded(manifest: Path, folder: Path) -> ServedModel:
    """The model as its manifest is now."""
    return load_model(a_config(manifest, folder).models[0], HeldEngines(), "here", max_items=8)


class Swaps:
    """A reloader of the tiny model, and the (old, new) versions that it told of."""

    def __init__(self, manifest: Path, folder: Path) -> None:
        self.models = Models([a_loaded(manifest, folder)])
        self.told: list[tuple[str, str]] = []
        self.reloader = Reloader(
            models=self.models,
            load=lambda name: a_loaded(manifest, folder),
            swapped=lambda old, fresh: self.told.append((old.version, fresh.version)),
        )

    @property
    def version(self) -> str:
        """What is served."""
        return self.models.find("tiny").version


async def test_nothing_changes_before_the_commit(manifest: Path, tmp_path: Path) -> None:
    """Preparing loads beside what serves; the commit swaps in one turn."""
    swaps = Swaps(manifest, tmp_path)
    changed(manifest, version=2)

    prepared = await swaps.reloader.prepare("tiny")
    before = swaps.version
    committed = await swaps.reloader.commit("tiny")

    assert ("1", "2", [("1", "2")]) == (before, swaps.version, swaps.told)
    assert prepared == committed == fine(swaps.models.find("tiny").manifest.digest)


async def test_a_manifest_that_does_not_verify_changes_nothing(manifest: Path, tmp_path: Path) -> None:
    """The report says why, and the old one serves on."""
    swaps = Swaps(manifest, tmp_path)
    changed(manifest, version=2)
    (manifest.parent / "fp32" / "model.onnx").write_bytes(b"cut")

    report = await swaps.reloader.prepare("tiny")
    await swaps.reloader.commit("tiny")

    assert (False, "1", []) == (report["ok"], swaps.version, swaps.told)
    assert "does not verify" in str(report["reason"])


async def test_what_was_abandoned_is_not_committed(manifest: Path, tmp_path: Path) -> None:
    """A reload that failed on another replica leaves no trace in this one."""
    swaps = Swaps(manifest, tmp_path)
    changed(manifest, version=2)

    await swaps.reloader.prepare("tiny")
    await swaps.reloader.abandon("tiny")
    await swaps.reloader.commit("tiny")

    assert ("1", []) == (swaps.version, swaps.told)


class Party:
    """Replicas that answer each step as told; `steps` are those they were asked for."""

    def __init__(self, name: str, log: list[str], *prepare: Report) -> None:
        self._name = name
        self._log = log
        self._prepare = prepare

    def ask(self, step: str, model: str) -> Sequence[Report]:
        """As all replicas of a deployment."""
        self._log.append(f"{self._name} {step}")
        return self._prepare if step == "prepare" else [fine("d")] * len(self._prepare)


def test_all_are_prepared_before_any_commits_and_senders_commit_first() -> None:
    """Engines hold both before gateways know of the new one, and drop the old after gateways have swapped."""
    log: list[str] = []

    done = reload_everywhere("tiny", [Party("engines", log, fine("d")), Party("gateways", log, fine("d"), fine("d"))])

    assert ["engines prepare", "gateways prepare", "gateways commit", "engines commit"] == log
    assert ("tiny", "d", 3) == (done.model, done.digest, done.replicas)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ((fine("d"), failed("a gateway: it is cut")), "a gateway: it is cut"),
        ((fine("d"), fine("other")), "the manifest changed while it was read"),
    ],
)
def test_one_that_fails_stops_all(second: tuple[Report, ...], reason: str) -> None:
    """Everybody who prepared abandons, nobody commits, and the error says why."""
    log: list[str] = []

    with pytest.raises(ReloadFailed, match=reason):
        reload_everywhere("tiny", [Party("engines", log, fine("d")), Party("gateways", log, *second)])

    assert ["engines prepare", "gateways prepare", "engines abandon", "gateways abandon"] == log


def test_a_reload_that_nobody_answered_has_failed() -> None:
    """No replica is not all replicas."""
    with pytest.raises(ReloadFailed, match="no replica answered"):
        reload_everywhere("tiny", [Party("gateways", [])])


async def test_engines_hold_both_artefacts_until_the_old_can_no_longer_be_asked_for(
    manifest: Path, tmp_path: Path
) -> None:
    """Batches that were routed before the swap still find what they were routed to."""
    old = a_loaded(manifest, tmp_path)
    replica = VariantReplica(
        load=lambda: a_loaded(manifest, tmp_path), node="n", fingerprint="f", clock=SystemClock(), retire_s=3600.0
    )
    with_other_artefacts(manifest)

    await replica.prepare()
    fresh = artefacts_of(a_loaded(manifest, tmp_path))
    prepared = held_by(replica)
    await replica.commit()
    committed = held_by(replica)
    replica.close()

    assert set() == set(fresh) & set(artefacts_of(old))
    assert set(fresh) | set(artefacts_of(old)) == prepared == committed


def with_other_artefacts(manifest: Path) -> None:
    """The same graphs with another engine option: other digests."""
    document = json.loads(manifest.read_text())
    for variant in document["variants"]:
        variant["engine"] = {**variant["engine"], "intra_op_threads": 2}
        files = tuple(file_ref(manifest.parent, manifest.parent / each["path"]) for each in variant["files"])
        variant["digest"] = variant_digest(files, document["preprocessing"], variant["engine"])
    changed(manifest, variants=document["variants"])


def held_by(replica: VariantReplica) -> set[tuple[str, str]]:
    """The artefacts that batches may ask for."""
    return {(name, digest) for name, digest in json.loads(replica.describe())["held"]}


def test_a_model_that_does_not_load_at_the_start_is_an_error(manifest: Path, tmp_path: Path) -> None:
    """Only a reload has an old one to go on with."""
    (manifest.parent / "fp32" / "model.onnx").write_bytes(b"cut")

    with pytest.raises(ManifestInvalid, match="does not verify"):
        VariantReplica(
            load=lambda: a_loaded(manifest, tmp_path), node="n", fingerprint="f", clock=SystemClock(), retire_s=0.0
        )
