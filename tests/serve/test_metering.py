"""The configured meters of a node, read by one reader that journals."""

import os
import threading
from pathlib import Path

import pytest

from greenserve.carbon.meters.foreign import Foreign
from greenserve.carbon.meters.journal import DAY_US, read_day
from greenserve.carbon.meters.known_boards import meters_folder
from greenserve.clock import SystemClock
from greenserve.config import Config, load_config
from greenserve.errors import MeterUnavailable
from greenserve.serve.metering import Metering, foreign_on, pick_configured, pick_configured_node

CONFIG = """
version: 1
models: [{name: sentiment, manifest: manifest.json}]
regions: [{name: north, zone: SE, pue: {value: 1.12, source: a test}}]
intensity: {sources: [{kind: annual, values: {SE: 31gCO2e/kWh}, year: 2025, source: a test}]}
"""


def a_config(folder: Path, energy: str) -> Config:
    file = folder / "greenserve.yaml"
    file.write_text(f'{CONFIG}\nledger: {{url: "sqlite:///{folder}/ledger.db"}}\nenergy: {energy}\n')
    return load_config(file)


def test_what_is_read_to_settle_is_journaled(tmp_path: Path) -> None:
    """Each interval between two readings is a row of the day's file beside the ledger."""
    config = a_config(tmp_path, "{meters: [cpu-time], cpu: {idle_w: 10, max_w: 50}}")
    before_us = SystemClock().unix_us()
    metering = Metering(config, root_pid=os.getpid())

    readings = [metering.cpu.read() for _ in range(5)]
    metering.stop()

    days = {before_us // DAY_US, SystemClock().unix_us() // DAY_US}
    rows = [one.row for day in days for one in read_day(meters_folder(config.ledger.path), "cpu", day)]
    assert readings[-1].energy_uj - readings[0].energy_uj == sum(row.energy_uj or 0 for row in rows)
    assert {"modelled"} == {row.tier for row in rows}
    assert {readings[0].source} == {row.source for row in rows}


def test_the_calibrated_exponent_and_width_reach_the_meter(tmp_path: Path) -> None:
    """What `greenserve meters calibrate` prints is what is metered with."""
    config = a_config(tmp_path, "{meters: [cpu-time], cpu: {idle_w: 10, max_w: 50, alpha: 0.75, half_width_pct: 18}}")

    described = pick_configured(config).meter.describe()

    assert (0.75, 18, "modelled") == (described["alpha"], described["half_width_pct"], described["tier"])


def test_the_reader_ends_with_the_writer(tmp_path: Path) -> None:
    """No thread is left."""
    metering = Metering(a_config(tmp_path, "{meters: [cpu-time]}"), root_pid=os.getpid())
    metering.start()

    metering.stop()

    assert "node-meter" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has an NVIDIA driver")
def test_boards_alone_do_not_settle_what_runs_on_the_cpu(tmp_path: Path) -> None:
    """The message names what to add."""
    with pytest.raises(MeterUnavailable, match="add 'cpu-time'"):
        Metering(a_config(tmp_path, "{meters: [nvml]}"), root_pid=os.getpid())


@pytest.mark.parametrize(
    ("device", "processes", "expected"),
    [
        ("GPU-1", 2, {"foreign"}),
        ("MIG-1", 2, {"foreign_unknown"}),
        ("MIG-1", 0, set()),
        ("MIG-1", None, {"foreign_unknown"}),
    ],
)
def test_a_foreign_process_of_a_divided_board_may_be_on_any_instance(
    device: str, processes: int | None, expected: set[str]
) -> None:
    """The board says that it is there, not where; without one its instances are clean."""
    seen = Foreign(at_ns=1, processes=processes, unmatched=0)

    found = foreign_on(lambda board: {"GPU-1": seen}.get(board), {"MIG-1": "GPU-1"}, device)

    assert found is not None
    assert expected == found.flags
    assert foreign_on(lambda board: None, {"MIG-1": "GPU-1"}, device) is None


def test_an_external_meter_is_journaled_beside_the_cpu_and_named_where_it_fails(tmp_path: Path) -> None:
    """The node's watts from a file are a device of their own; a second one that is not there has its reason."""
    power = tmp_path / "power1_input"
    power.write_text("85000000")
    config = a_config(
        tmp_path,
        "{meters: [external, cpu-time], external: ["
        f"{{name: hwmon, file: {power}, format: number, unit: uW, max_w: 500, half_width_pct: 3}}, "
        f"{{name: pdu, file: {tmp_path}/none, device: cpu, format: number, unit: J, max_w: 500}}]}}",
    )
    metering = Metering(config, root_pid=os.getpid())
    metering.start()

    reading = metering.node.read("node")
    states = {state.device: (state.name, state.tier) for state in metering.node.states()}
    metering.stop()

    assert ("node", "metered", 0) == (reading.device, reading.tier, reading.energy_uj)
    assert {"node": ("external", "metered"), "cpu": ("cpu-time", "class_average")} == states
    assert any("No such file" in reason for _, reason in pick_configured_node(config).rejected)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("meter-external")]
