"""A running gateway under load over both protocols, with engines here and elsewhere: no request fails.

It grows, shrinks, is updated, reads a manifest again, loses a replica of its engines, and ends with SIGINT.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from greenserve.records import Tenant
from tests.conftest import NewGateway
from tests.faults.conftest import Target, ended_by
from tests.faults.ending import assert_ended_well
from tests.faults.placed import MixedLoad
from tests.gateway_process import GatewayProcess, wait_until

GATEWAYS = "ray::ServeReplica:greenserve:Gateway"
ENGINES = "ray::ServeReplica:greenserve:VariantReplica-far"
ENOUGH = 20
PATIENCE_S = 60.0


class Placed(NamedTuple):
    """A running gateway of `tiny` (here) and `far` (remote), a key, and the manifest of `far`, which may be changed."""

    gateway: GatewayProcess
    key: str
    manifest: Path


@pytest.fixture(scope="module")
def placed(new_gateway: NewGateway, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    """Two gateways, one replica of the engines of `far`."""
    gateway = new_gateway()
    own = tmp_path_factory.mktemp("far") / "variants"
    shutil.copytree(tiny_manifest.parent, own)
    remote = f"""
  - name: far
    manifest: {own / tiny_manifest.name}
    placement: remote
    replicas: {{min: 1, max: 2}}
    objective: {{p95: 2s, quality_floor: 0.6}}
regions:"""
    file = gateway.folder / "greenserve.yaml"
    file.write_text(file.read_text().replace("\nregions:", remote, 1).replace("p95: 500ms", "p95: 2s"))
    key = gateway.new_key(Tenant(tenant_id="acme", name="Acme"))
    gateway.start()
    yield Placed(gateway, key, own / tiny_manifest.name)
    gateway.end()


@pytest.fixture
def load(placed: Placed) -> Iterator[MixedLoad]:
    """All three kinds are answered before anything happens."""
    with MixedLoad(placed.gateway.url, placed.gateway.grpc_address, placed.key) as load:
        assert more(load), load.failed
        yield load


def more(load: MixedLoad) -> bool:
    """Whether each kind of load gets more answers."""
    before = load.counts
    return wait_until(lambda: all(now > then + ENOUGH for now, then in zip(load.counts, before, strict=True)), 30.0)


def commanded(placed: Placed, *words: str) -> None:
    """Run a command, which must go well."""
    done = placed.gateway.run(*words, timeout_s=180.0)
    assert 0 == done.returncode, done.stderr


def test_gateways_come_and_go_without_a_failed_request(placed: Placed, load: MixedLoad) -> None:
    """R9, short: 2 -> 1 -> 2 gateways, and `status` counts them."""
    commanded(placed, "scale", "1")
    one = placed.gateway.find(GATEWAYS)
    assert more(load)
    commanded(placed, "scale", "2")
    two = placed.gateway.find(GATEWAYS)
    assert more(load)

    assert {} == load.failed
    assert (1, 2, 2) == (len(one), len(two), placed.gateway.document("status")["replicas"])
    assert set(one) < set(two)


def test_engines_come_and_go_without_a_failed_request(placed: Placed, load: MixedLoad) -> None:
    """1 -> 2 -> 1 replicas of a remote model; the gateways stay."""
    gateways = placed.gateway.find(GATEWAYS)
    commanded(placed, "scale", "2", "--model", "far")
    two = placed.gateway.find(ENGINES)
    assert more(load)
    commanded(placed, "scale", "1", "--model", "far")
    assert more(load)

    assert {} == load.failed
    assert (2, 1) == (len(two), len(placed.gateway.find(ENGINES)))
    assert gateways == placed.gateway.find(GATEWAYS)


def test_a_rolling_update_replaces_every_replica_without_a_failed_request(placed: Placed, load: MixedLoad) -> None:
    """New replicas of the file's present content take requests before old ones drain."""
    before = {*placed.gateway.find(GATEWAYS), *placed.gateway.find(ENGINES)}
    file = placed.gateway.folder / "greenserve.yaml"
    file.write_text(file.read_text().replace("max_items: 32", "max_items: 16"))

    commanded(placed, "update")
    assert more(load)

    assert {} == load.failed
    after = {*placed.gateway.find(GATEWAYS), *placed.gateway.find(ENGINES)}
    assert (3, set()) == (len(after), before & after)


def test_a_manifest_is_read_again_without_a_failed_request(placed: Placed, load: MixedLoad) -> None:
    """By command and by SIGHUP; and what does not verify changes nothing and says why. Replicas stay."""
    before = {*placed.gateway.find(GATEWAYS), *placed.gateway.find(ENGINES)}
    document = json.loads(placed.manifest.read_text()) | {"version": 7}
    placed.manifest.write_text(json.dumps(document))

    reloaded = placed.gateway.document("reload", "far")
    assert more(load)
    placed.manifest.write_text(json.dumps(document | {"version": 8}))
    graph = placed.manifest.parent / "fp32" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(b"cut")
    failed = placed.gateway.run("reload", "far")
    graph.write_bytes(whole)
    placed.manifest.write_text(json.dumps(document | {"version": 9}))
    assert more(load)

    assert placed.gateway.process is not None
    placed.gateway.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "SIGHUP: reloaded tiny, far" in placed.gateway.log, PATIENCE_S), placed.gateway.log

    assert {} == load.failed
    assert 3 == reloaded["models"][0]["replicas"]
    assert 1 == failed.returncode
    assert "model far was not reloaded, the old manifest serves on" in failed.stderr
    assert before == {*placed.gateway.find(GATEWAYS), *placed.gateway.find(ENGINES)}


def test_a_killed_replica_of_the_engines_comes_back(placed: Placed, load: MixedLoad) -> None:
    """R4, once: while its only replica is away, that model is refused with 503; the other one notices nothing."""
    victim = placed.gateway.find(ENGINES)[0]
    os.kill(victim, signal.SIGKILL)

    assert wait_until(lambda: set(placed.gateway.find(ENGINES)) not in ({victim}, set()), PATIENCE_S)
    assert more(load)

    assert {} == load.http.failed
    assert {"not-ready", "overloaded", "deadline-exceeded"} >= set(load.remote.failed), load.remote.failed


@pytest.mark.parametrize("words", [("scale", "0"), ("scale", "3", "--model", "far"), ("scale", "2", "--model", "tiny")])
def test_numbers_that_are_not_possible_are_refused(placed: Placed, words: tuple[str, ...]) -> None:
    """Exit code 2, and nothing changes."""
    refused = placed.gateway.run(*words)

    assert 2 == refused.returncode
    assert "possible" in refused.stderr or "placement: inline" in refused.stderr


def test_ctrl_c_under_load_leaves_nothing_and_everything_that_was_answered_is_accounted_for(placed: Placed) -> None:
    """After all that: the ledger holds and settles every answer, energy of remote engines included."""
    interrupted = ended_by(signal.SIGINT, Target(placed.gateway, placed.key))

    assert_ended_well(interrupted)
    first = [entry for entry in placed.gateway.entries() if entry.kind == "usage" and not entry.revision]
    remote = [entry for entry in first if entry.body["model"] == "far"]
    assert remote
    assert not [entry.key for entry in remote if not entry.body["cpu_ns"]]
