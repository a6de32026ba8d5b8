"""The whole run on a tiny model."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from greenserve.carbon.power_model import CpuPower
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.manifest import load_manifest, verify_files
from greenserve.optimize.cost import StatedIntensity
from greenserve.optimize.order import Order
from greenserve.optimize.progress import Step
from greenserve.optimize.run import Outcome, optimize
from greenserve.serve.engines.onnx import engine_for_file

CONNECTIONS: list[str] = []
WATCHING = [False]


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if WATCHING[0] and event in {"socket.connect", "socket.getaddrinfo"}:
        CONNECTIONS.append(f"{event} {arguments[-1]}")


@pytest.fixture
def connections() -> Iterator[list[str]]:
    """What this process tries to connect to; an audit hook cannot be removed, so it is only switched off."""
    sys.addaudithook(_watch)
    CONNECTIONS.clear()
    WATCHING[0] = True
    yield CONNECTIONS
    WATCHING[0] = False


def test_the_written_manifest_reads_and_verifies(tiny_outcome: Outcome, tiny_order: Order) -> None:
    """What the optimizer writes, the gateway's reader takes."""
    manifest = load_manifest(tiny_order.out / "manifest.json")

    assert verify_files(manifest) == []
    assert [one.name for one in manifest.variants] == ["fp32", "int8-dyn", "drop1-int8-dyn", "static-32-int8"]
    assert tiny_outcome.broken == {}
    assert manifest.labels == ("bad", "fair", "good")
    assert all(one.max_batch == 32 for one in manifest.variants)


def test_the_heads_learn_the_classes(tiny_outcome: Outcome) -> None:
    """Three classes with words of their own are told apart far above chance by every variant."""
    values = {one["name"]: one["quality"]["value"] for one in tiny_outcome.document["variants"]}

    assert min(values.values()) > 0.7


def test_no_energy_stands_without_its_tier(tiny_outcome: Outcome, power: CpuPower) -> None:
    """Profiles and the run's own energy carry the tier of the power model."""
    tiers = {one["profiles"][0]["tier"] for one in tiny_outcome.document["variants"]}

    assert {power.tier} == tiers | {tiny_outcome.document["run"]["energy_uj"]["tier"]}


def test_unknown_is_null_and_never_zero(tiny_outcome: Outcome) -> None:
    """Carbon without an intensity, memory and held power that nobody measured are null."""
    variant = tiny_outcome.document["variants"][1]

    assert tiny_outcome.document["run"]["emissions_ng"] is None
    assert variant["requires"]["memory_bytes"] is None
    assert variant["profiles"][0]["held_w"] is None
    assert variant["profiles"][0]["rss_bytes"] is None


def test_the_same_seed_gives_the_same_identity_and_opens_no_socket(
    tiny_outcome: Outcome, tiny_order: Order, tmp_path: Path, power: CpuPower, connections: list[str]
) -> None:
    """Files and recipes repeat byte for byte; measurements may not, and the version counts on."""
    stated = StatedIntensity(zone="GB", mg_per_kwh=215_800)
    order = replace(tiny_order, out=tmp_path / "again", intensity=stated)
    steps: list[Step] = []

    again = optimize(order, engine_for=engine_for_file, power=power, clock=SystemClock(), tell=steps.append)

    assert tiny_outcome.document["identity_sha256"] == again.document["identity_sha256"]
    assert tiny_outcome.document["measured_sha256"] != again.document["measured_sha256"]
    assert connections == []
    assert [step.name for step in steps] == ["source", "data", "export", "build", "evaluate", "profile", "publish"]
    energy_uj = again.document["run"]["energy_uj"]["gross"]
    assert round(energy_uj * 215_800 / 3_600_000) == pytest.approx(again.document["run"]["emissions_ng"], abs=1)


def test_another_seed_gives_another_identity_and_replaces_the_folder(
    tiny_order: Order, tmp_path: Path, power: CpuPower
) -> None:
    """A second run into the same folder counts its version up and leaves nothing beside it."""
    order = replace(tiny_order, out=tmp_path / "words", families=("static",), seed=3)

    first = optimize(order, engine_for=engine_for_file, power=power, clock=SystemClock(), tell=lambda _: None)
    second = optimize(
        replace(order, seed=4), engine_for=engine_for_file, power=power, clock=SystemClock(), tell=lambda _: None
    )

    assert first.document["identity_sha256"] != second.document["identity_sha256"]
    assert (first.document["version"], second.document["version"]) == (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_a_run_that_fails_leaves_no_folder(tiny_order: Order, tmp_path: Path, power: CpuPower) -> None:
    """Labels that have nothing to do with the texts stop the run at the head, and nothing is written."""
    rows = [f"w{4 + index} w{(7 * index) % 190 + 4},{'ab'[(index * index) % 7 % 2]}" for index in range(180)]
    data = tmp_path / "noise.csv"
    data.write_text("body,mood\n" + "\n".join(rows) + "\n")
    order = replace(tiny_order, data=str(data), out=tmp_path / "out" / "words")

    with pytest.raises(InvalidRequest, match="always answering the largest class"):
        optimize(order, engine_for=engine_for_file, power=power, clock=SystemClock(), tell=lambda _: None)

    assert list((tmp_path / "out").iterdir()) == []


def test_no_local_path_is_in_any_published_file(tiny_outcome: Outcome, tiny_order: Order, tiny_model: Path) -> None:
    """A folder of variants travels: nothing in it names the machine's folders."""
    folders = {str(tiny_model.parent).encode(), str(tiny_order.out.parent).encode(), b"site-packages", b".py"}
    files = [path for path in tiny_order.out.rglob("*") if path.is_file()]

    assert len(files) == 14
    assert [(path.name, found) for path in files for found in folders if found in path.read_bytes()] == []
    assert tiny_outcome.document["name"] == "words"
