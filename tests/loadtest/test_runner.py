"""Locust for real, in its child process, against a small real server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenserve.errors import DependencyMissing, GreenServeError, InvalidKey, ModelUnknown
from greenserve.loadtest.plan import Plan, read_plan, write_plan
from greenserve.loadtest.runner import Run, end, probe, run_locust
from greenserve.loadtest.summary import summarise


def a_plan(url: str, folder: Path, **changes: Any) -> Plan:
    members: dict[str, Any] = {
        "url": url,
        "model": "sentiment",
        "key": None,
        "rate_per_s": 40.0,
        "duration_s": 1.5,
        "arrivals": "constant",
        "seed": 0,
        "repeat_share": 0.0,
        "first_text": 0,
        "max_in_flight": 100,
        "timeout_s": 5.0,
        "result_file": str(folder / "result.json"),
        "parent_pid": os.getpid(),
    }
    return Plan(**(members | changes))


def test_a_run_sends_its_schedule_and_sums_the_costs(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    """60 arrivals at 40/s: all sent once, with different texts; every fifth answer states no cost and stays unknown."""
    gateway = start_gateway(key="gs_test", silent_every=5)
    html = tmp_path / "report.html"

    recording = run_locust(Run(plan=a_plan(gateway.url, tmp_path, key="gs_test"), folder=tmp_path, html=html))

    summary = summarise(recording)
    assert (60, 60, 0, 0) == (summary.planned, summary.answered, summary.failed, summary.dropped)
    assert 60 == len(set(gateway.bodies))
    assert {"name": "text", "datatype": "BYTES", "shape": [1]}.items() <= json.loads(gateway.bodies[0])["inputs"][
        0
    ].items()
    assert summary.energy is not None
    assert (48, 48 * 33_120, "modelled") == (summary.energy.answers, summary.energy.total_uj, summary.energy.tier)
    assert {"north/int8-dyn": 48} == summary.routes
    assert {"miss": 48} == summary.cache
    assert recording.complete
    assert [index / 40 for index in range(60)] == pytest.approx([sample.intended_s for sample in recording.samples])
    assert html.is_file()


def test_a_frozen_server_does_not_slow_the_sending(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    """Open loop: with answers a second late, arrivals still go out on time, or count as dropped over the limit."""
    gateway = start_gateway(delay_s=1.0)

    recording = run_locust(Run(plan=a_plan(gateway.url, tmp_path, duration_s=0.5, max_in_flight=15), folder=tmp_path))

    summary = summarise(recording)
    assert (20, 15, 5) == (summary.planned, summary.answered, summary.dropped)
    assert summary.service is not None
    assert summary.service.p50_ms >= 1000
    assert any("5 arrivals were dropped" in why for why in summary.invalid)


def test_a_refusing_server_gives_failures(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    """401 on every request: failures with their status, no latency and no energy."""
    gateway = start_gateway(key="right")

    summary = summarise(
        run_locust(Run(plan=a_plan(gateway.url, tmp_path, key="wrong", duration_s=0.2), folder=tmp_path))
    )

    assert (8, 0, 8) == (summary.requests, summary.answered, summary.failed)
    assert (None, None) == (summary.service, summary.energy)
    assert any("401" in error for error in summary.errors)


def test_a_child_that_breaks_is_reported_with_its_words(tmp_path: Path) -> None:
    """A plan that Locust can't play: the error carries the end of its log."""
    with pytest.raises(GreenServeError, match="allowed are constant, poisson"):
        run_locust(Run(plan=a_plan("http://127.0.0.1:9", tmp_path, arrivals="tidal", duration_s=0.2), folder=tmp_path))


def test_a_stubborn_child_is_ended() -> None:
    """Ending leaves no process behind, even one that ignores the polite signal."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()

    end(process, patience_s=0.1)

    process.stdout.close()
    assert -signal.SIGKILL == process.returncode


def test_the_probe_tells_what_is_wrong(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    """Nobody there, wrong key, unknown model: each has its own error and remedy."""
    gateway = start_gateway(key="right")

    probe(a_plan(gateway.url, tmp_path, key="right"))
    with pytest.raises(InvalidKey, match="greenserve key create"):
        probe(a_plan(gateway.url, tmp_path))
    with pytest.raises(ModelUnknown, match="choose a model with --model"):
        probe(a_plan(gateway.url, tmp_path, key="right", model="other"))
    with pytest.raises(DependencyMissing, match="greenserve serve"):
        probe(a_plan("http://127.0.0.1:9", tmp_path))


def test_the_plan_file_is_private_and_complete(tmp_path: Path) -> None:
    """It holds a key: only its owner may read it; what a report shows of it has none."""
    plan = a_plan("http://127.0.0.1:8080", tmp_path, key="gs_secret")

    write_plan(plan, tmp_path / "plan.json")

    assert plan == read_plan(tmp_path / "plan.json")
    assert 0o600 == (tmp_path / "plan.json").stat().st_mode & 0o777
    assert "gs_secret" not in str(plan.public())
