"""The configured meters of a node, read by one reader that journals."""

import os
import threading
from pathlib import Path

import pytest

from greenserve.carbon.meters.journal import DAY_US, read_day
from greenserve.carbon.meters.known_boards import meters_folder
from greenserve.clock import SystemClock
from greenserve.config import Config, load_config
from greenserve.errors import MeterUnavailable
from greenserve.serve.metering import Metering, pick_configured

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
