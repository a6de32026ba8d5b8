"""Grams of a programme: lines that sum, what is unknown, providers on the network, files, what is refused."""

import asyncio
import csv
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.carbon.meters.session import MeterSession
from greenserve.carbon.profiler import EnergyProfiler
from greenserve.carbon.tracker import CarbonTracker, session_from
from greenserve.config import load_config
from greenserve.errors import ConfigInvalid, MeterUnavailable
from tests.cli.conftest import CONFIG

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python-api.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
FRANCE = [{"kind": "annual", "values": {"FR": "56gCO2e/kWh"}, "year": 2025, "source": "a test"}]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A tracker ends with its threads."""
    yield
    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith(("greenserve", "node"))]


def a_tracker(**changes: Any) -> CarbonTracker:
    settings: dict[str, Any] = {"zone": "FR", "sources": FRANCE, "pue": 1.2}
    return CarbonTracker("work", **(settings | changes))


def test_the_lines_are_energy_times_pue_times_intensity() -> None:
    """E9 and E11 line by line; the lines sum to the metered energy to the microjoule."""
    with a_tracker() as tracker:
        tracker.sample()
        sum(range(100_000))
    report = tracker.report

    assert "final" == report.state
    assert 2 == len(report.lines)
    assert report.energy.energy_uj == report.energy_uj == sum(line.energy_uj or 0 for line in report.lines)
    assert report.lines[0].end_us == report.lines[1].start_us
    by_hand = [emissions_ng(facility_uj(line.energy_uj or 0, 1_200), 56_000) for line in report.lines]
    assert sum(by_hand) == report.emissions_ng
    assert (report.low_ng or 0) < (report.emissions_ng or 0) < (report.high_ng or 0)
    assert report.tier == report.energy.tier
    assert 0 == report.uncovered_uj
    assert "56 g/kWh +-40%, annual, lifecycle, a test 2025" in str(report)


def test_without_a_source_emissions_are_unknown_and_not_zero() -> None:
    """The energy is there, and what to do about the rest."""
    with a_tracker(sources=(), zone="DE", pue=None) as tracker:
        pass
    report = tracker.report

    assert (None, None, None) == (report.emissions_ng, report.low_ng, report.high_ng)
    assert report.facility_uj == report.uncovered_uj
    assert (1_560, 3_600) == (report.pue.milli, report.pue.half_width_bp)
    assert "no source of grid intensity was given" in report.remarks[0]


def test_samples_come_by_themselves_and_are_saved(tmp_path: Path) -> None:
    """What a crash leaves is the last whole file."""
    file, seen = tmp_path / "run.json", threading.Event()
    with a_tracker(save_every="50ms", exporters=[file]) as tracker:
        while not file.exists():
            seen.wait(0.01)
        running = json.loads(file.read_text())
    final = json.loads(file.read_text())

    assert ("greenserve.carbon-track/1", "running", "final") == (final["schema"], running["state"], final["state"])
    assert final["emissions_ng"] == tracker.report.emissions_ng == sum(line["emissions_ng"] for line in final["lines"])


def test_a_table_has_a_row_for_each_line(tmp_path: Path) -> None:
    """What is unknown is an empty cell."""
    with a_tracker(exporters=[tmp_path / "run.csv"], sources=()) as tracker:
        pass

    (row,) = csv.DictReader((tmp_path / "run.csv").read_text().splitlines())
    assert ("FR", "", "", str(tracker.report.energy_uj)) == (
        row["zone"],
        row["mg_per_kwh"],
        row["emissions_ng"],
        row["energy_uj"],
    )


def test_a_silent_provider_makes_emissions_unknown_and_stops_nothing() -> None:
    """Nobody listens on that port; the run is tracked all the same."""
    source = {"kind": "neso", "url": "http://127.0.0.1:1"}
    with a_tracker(zone="GB", sources=[source]) as tracker:
        pass

    assert tracker.report.energy_uj
    assert tracker.report.emissions_ng is None
    assert any("no source knows GB" in remark for remark in tracker.report.remarks)


def test_what_is_given_wrong_is_named(tmp_path: Path) -> None:
    """What was given, what is allowed, what may be meant."""
    for changes, message in (
        ({"zone": "FRR"}, "zone is 'FRR': no grid zone.*did you mean"),
        ({"pue": 0.9}, "pue is 0.9; .* lies in 1.0..10"),
        ({"save_every": "1h"}, "save_every is 1h; 50ms to 5m"),
        ({"save_every": "often"}, "save_every: 'often' is not a quantity"),
        ({"exporters": [tmp_path / "x.txt"]}, "is none of csv, json, .* and no file in a folder that exists"),
        ({"sources": [{"kind": "annul"}]}, "sources: .*annul"),
    ):
        with pytest.raises(ConfigInvalid, match=message):
            a_tracker(**changes)


def test_a_tracker_runs_once() -> None:
    """A second start is refused, a second stop tells the same; before the start there is nothing."""
    tracker = a_tracker()
    with pytest.raises(MeterUnavailable, match="'work' was not started"):
        tracker.stop()
    first = tracker.start().stop()

    assert first is tracker.stop() is tracker.sample()
    with pytest.raises(ConfigInvalid, match="was started already"):
        tracker.start()


def test_two_trackers_beside_each_other_share_and_say_so() -> None:
    """One is started in a thread: neither is inside the other."""
    session = MeterSession()
    found: list[CarbonTracker] = []

    def begin() -> None:
        found.append(a_tracker(session=session).start())

    for _ in range(2):
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    reports = [one.stop() for one in reversed(found)]

    assert all(report.energy.shared_ns > 0 for report in reports)
    assert all("other blocks ran beside this one" in report.remarks[-1] for report in reports)


async def test_every_call_of_a_function_is_tracked() -> None:
    """Sync and async, with what they return and raise; a profiler inside is part of it."""
    tracker, inside = a_tracker(), EnergyProfiler("inside")

    @tracker
    def plain() -> int:
        with inside:
            return 3

    @tracker
    async def waiting() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    assert 3 == plain()
    with pytest.raises(KeyError):
        await waiting()

    assert [None, "KeyError"] == [report.energy.raised for report in tracker.reports]
    assert "work" == inside.report.parent
    assert (inside.report.energy_uj or 0) <= (tracker.reports[0].energy_uj or 0)


def test_a_configuration_gives_sources_pue_and_meters(tmp_path: Path) -> None:
    """The gateway's own: its zone's PUE, its annual values."""
    file = tmp_path / "greenserve.yaml"
    file.write_text(CONFIG + "energy: {meters: [cpu-time], cpu: {idle_w: 10, max_w: 50}}\n")
    config = load_config(file)
    with CarbonTracker("work", zone="SE", config=config) as tracker:
        pass

    assert (1_120, "a test", "modelled") == (tracker.report.pue.milli, tracker.report.pue.source, tracker.report.tier)
    assert tracker.report.emissions_ng
    assert session_from(config) is session_from(config.model_copy())


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_page_run(code: str, tmp_path: Path) -> None:
    """As they stand there, in an empty folder."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout
