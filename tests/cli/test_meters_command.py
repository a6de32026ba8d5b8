"""`greenserve meters`: the meters of this machine, and what it says where there is nothing to probe or calibrate by."""

import time
from pathlib import Path

import pytest

from greenserve.carbon.meters.known_boards import FILE, meters_folder, read_boards, write_board
from greenserve.carbon.meters.nvml import list_boards
from greenserve.carbon.meters.pick import Machine, pick_node
from greenserve.carbon.node_overhead import DeclaredOverhead
from greenserve.cli.meters import described, overhead_of, overhead_w, power_now
from greenserve.cli.sampler import sampling
from greenserve.clock import ManualClock, SystemClock
from greenserve.errors import ConfigInvalid
from tests.carbon.test_boards import a_characterisation
from tests.cli.conftest import Commands
from tests.fake_nvml import FakeBoard, FakeNvml

HAS_BOARD = Path("/proc/driver/nvidia/gpus").exists()
HAS_RAPL = any(Path("/sys/class/powercap").glob("intel-rapl:*"))


def test_the_list_names_each_devices_meter_and_the_rejected_ones(greenserve: Commands, folder: Path) -> None:
    """Tier, half width and power beside the name; each other meter with its reason."""
    document, text = greenserve("meters list --seconds 0.2 --json", "meters list --seconds 0.1")

    devices = {device["device"]: device for device in document.document["devices"]}
    assert "greenserve.meters/1" == document.document["schema"]
    assert {"name", "tier", "half_width_pct", "power_w", "source", "fault"} <= set(devices["cpu"])
    assert devices["cpu"]["power_w"] > 0
    for rejected in document.document["rejected"]:
        assert f"not {rejected['name']}: {rejected['reason']}" in text.out
    assert 0 == text.code


def test_the_list_shows_external_meters_and_the_reason_of_one_that_tells_nothing(
    greenserve: Commands, folder: Path
) -> None:
    """A node's watts as power over the time that was measured; a file that is gone is named."""
    (folder / "watts").write_text("85")
    with (folder / "greenserve.yaml").open("a") as file:
        file.write(
            "energy:\n  external:\n"
            "    - {name: wall, file: watts, format: number, unit: W, max_w: 500}\n"
            "    - {name: pdu, file: gone, device: cpu, format: number, unit: kWh, max_w: 500}\n"
        )

    listed, checked = greenserve("meters list --seconds 0.3 --json", "doctor")

    node = next(device for device in listed.document["devices"] if device["device"] == "node")
    assert ("external", "metered", "external wall, watts") == (node["name"], node["tier"], node["source"])
    assert 85 == pytest.approx(node["power_w"], rel=0.01)
    cpu = next(device for device in listed.document["devices"] if device["device"] == "cpu")
    assert node["power_w"] - cpu["power_w"] == pytest.approx(listed.document["overhead_w"])
    assert any("No such file" in one["reason"] for one in listed.document["rejected"])
    words = " ".join(checked.out.split())
    assert "node by external, tier metered +-5 % (external wall, watts)" in words
    assert "WARN energy: not external pdu, gone" in words


@pytest.mark.skipif(HAS_BOARD, reason="this machine has an NVIDIA board; run `make gpu-check` there")
def test_a_probe_without_a_board_says_what_is_missing(greenserve: Commands) -> None:
    """Exit 6, and nothing is made up."""
    (done,) = greenserve("meters probe")

    assert 6 == done.code
    assert "NVML does not start" in done.err


@pytest.mark.skipif(HAS_RAPL, reason="this machine has RAPL: the calibration would run for four minutes")
def test_a_calibration_without_rapl_says_what_is_missing(greenserve: Commands) -> None:
    """Exit 6 with the reason."""
    (done,) = greenserve("meters calibrate")

    assert 6 == done.code
    assert "no RAPL package" in done.err


def test_the_power_of_a_board_that_fails_is_unknown_with_its_fault() -> None:
    """Never 0 W."""
    clock = ManualClock()
    good, lost = FakeBoard(), FakeBoard(uuid="GPU-1")
    node = pick_node(["nvml"], clock=clock, machine=Machine(nvml=lambda: FakeNvml(good, lost, clock=clock)))
    lost.lost = 15

    found = power_now(node, 0.0)

    assert (None, None) == (found["GPU-0000"]["power_w"], found["GPU-0000"]["fault"])
    assert found["GPU-1"]["power_w"] is None
    assert "GPU is lost" in str(found["GPU-1"]["fault"])


def test_the_probes_sampler_reads_while_it_is_entered() -> None:
    """One field call a tick, and none once it is left."""
    nvml = FakeNvml(FakeBoard(), clock=ManualClock())
    (board,), _ = list_boards(nvml)

    with sampling(nvml, board):
        until_s = time.monotonic() + 10
        while not nvml.calls.get("fields") and time.monotonic() < until_s:
            time.sleep(0.01)

    calls = nvml.calls["fields"]
    assert calls >= 1
    assert {"fields", "open"} == set(nvml.calls)


def test_a_characterisation_is_shown_with_what_is_unknown() -> None:
    """No slowdown measured is said so, not 0 %."""
    text = "\n".join(described(a_characterisation(duty_unknown=True)))

    assert "every 100.0 ms" in text
    assert "fits badly" in text
    assert "an unknown part longer" in text
    assert "integrated power unknown" in text


def test_what_a_probe_found_is_kept_by_board_and_driver(tmp_path: Path) -> None:
    """A second probe replaces the first; another board stays."""
    file = meters_folder(tmp_path / "ledger.db") / FILE
    first, second = a_characterisation(idle_mw=1), a_characterisation(idle_mw=2)

    write_board(file, first)
    write_board(file, second)

    assert (second,) == read_boards(file)
    assert () == read_boards(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": "other/1"}', '{"schema": "greenserve.boards/1", "boards": [{}]}']
)
def test_a_damaged_file_of_boards_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    """Never read as if nothing were known."""
    file = tmp_path / FILE
    file.write_text(text)

    with pytest.raises(ConfigInvalid, match=r"boards\.json.*(probe again|run `greenserve meters probe` again)"):
        read_boards(file)


def test_the_models_power_follows_the_clock() -> None:
    """At least the power at rest."""
    node = pick_node(["cpu-time"], clock=SystemClock())

    power_w = power_now(node, 0.05)["cpu"]["power_w"]

    assert isinstance(power_w, float)
    assert power_w > 0


@pytest.mark.parametrize(
    ("powers", "expected"),
    [
        ({"node": 180.0, "cpu": 40.0, "GPU-1": 100.0}, 40.0),
        ({"node": 30.0, "cpu": 40.0}, -10.0),
        ({"node": 180.0, "cpu": 40.0, "GPU-1": None}, None),
        ({"node": None, "cpu": 40.0}, None),
        ({"cpu": 40.0}, None),
    ],
)
def test_overhead_is_what_the_devices_do_not_explain(powers: dict[str, float | None], expected: float | None) -> None:
    """Unknown where one of them is; a negative one shows that the meters disagree."""
    assert expected == overhead_w(powers)


def test_the_list_tells_a_declared_overhead_or_why_there_is_none(greenserve: Commands, folder: Path) -> None:
    """Watts, source and half width; without a declaration and a node meter unknown, never 0."""
    config = folder / "greenserve.yaml"
    bare, bare_json = greenserve("meters list --seconds 0.1", "meters list --seconds 0.1 --json")
    config.write_text(config.read_text() + "energy: {overhead: {power_w: 38, source: 'wall meter, May'}}\n")
    text, document = greenserve("meters list --seconds 0.1", "meters list --seconds 0.1 --json")

    assert "overhead unknown: no node meter, no energy.overhead" in bare.out
    assert (None, "no node meter, no energy.overhead") == (
        bare_json.document["overhead_w"],
        bare_json.document["overhead"]["reason"],
    )
    assert "overhead 38.0 W declared (wall meter, May, +-35 %)" in text.out
    assert (38.0, "declared", 35) == tuple(
        document.document["overhead"][name] for name in ("power_w", "by", "half_width_pct")
    )


def test_a_node_meter_goes_before_what_is_declared() -> None:
    """Also where it is silent for the moment: then the overhead is unknown, and the line says of whom."""
    declared = DeclaredOverhead(power_mw=38_000, half_width_pct=35, source="wall")

    assert (20.0, "difference") == (
        (told := overhead_of({"node": 100.0, "cpu": 80.0}, declared)).power_w,
        told.by,
    )
    assert "overhead unknown: no power is known of node" == overhead_of({"node": None, "cpu": 80.0}, declared).said()
    assert "less than the devices" in overhead_of({"node": 10.0, "cpu": 80.0}, None).said()
