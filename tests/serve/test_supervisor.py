"""Processes of a run: found, told to end, and proved to be gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.serve.run_folder import RunState
from greenserve.serve.supervisor import (
    end_processes,
    left_behind,
    name_of,
    processes_below,
    processes_of,
    still_running,
    wait_until,
)
from tests.gateway_process import free_ports

Spawn = Callable[..., subprocess.Popen[bytes]]
STUBBORN = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
MEEK = "import time; print(flush=True); time.sleep(60)"
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts Python programs, each of which has printed a line; none outlives the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment or dict(os.environ)
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def identity(process: subprocess.Popen[bytes]) -> dict[int, int]:
    ticks = start_ticks_of(process.pid)
    assert ticks is not None
    return {process.pid: ticks}


def test_descendants_are_found_with_their_start(spawn: Spawn) -> None:
    """Children and their children, not the process itself."""
    parent = spawn(PARENT)
    child = int(first_line(parent))

    below = processes_below(parent.pid)

    assert {child: start_ticks_of(child)} == below
    assert parent.pid in processes_below(os.getpid())
    os.kill(child, signal.SIGKILL)


def test_a_recycled_number_is_another_process(spawn: Spawn) -> None:
    """Only the same start is the same process: nobody else's is ever signalled."""
    process = spawn(MEEK)
    first_line(process)
    recycled = {pid: ticks - 1 for pid, ticks in identity(process).items()}

    end_processes(recycled, patience_s=0.1)

    assert {} == still_running(recycled)
    assert identity(process) == still_running(identity(process))
    assert None is process.poll()


@pytest.mark.parametrize("program", [MEEK, STUBBORN])
def test_processes_end_by_term_or_by_kill(program: str, spawn: Spawn) -> None:
    """First time to end by themselves, then SIGTERM, then SIGKILL."""
    process = spawn(program)
    first_line(process)
    running = identity(process)

    end_processes(running, patience_s=0.2)

    assert {} == still_running(running)
    assert (-signal.SIGTERM if program == MEEK else -signal.SIGKILL) == process.wait(timeout=5)


def test_processes_of_a_run_are_known_by_the_token_they_inherited(spawn: Spawn, tmp_path: Path) -> None:
    """Also without a living parent; others, and those of another run folder, are left alone."""
    ours = spawn(MEEK, dict(os.environ) | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "run" / "ray.token")})
    others = spawn(MEEK, dict(os.environ) | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "run2" / "ray.token")})
    first_line(ours)
    first_line(others)

    assert identity(ours) == processes_of(tmp_path / "run")


def test_what_is_left_is_named(spawn: Spawn) -> None:
    """A process that still runs, by its id."""
    process = spawn(MEEK)
    first_line(process)
    http_port, grpc_port = free_ports(2)
    state = RunState(
        run_id="r", pid=1, start_ticks=0, started_us=0, http=f"http://127.0.0.1:{http_port}",
        grpc=f"127.0.0.1:{grpc_port}", replicas=1, config="c", ledger="l", models={}, regions=[], meter={},
        meters_rejected={},
    )  # fmt: skip

    assert [f"process {process.pid} still runs"] == left_behind(state, identity(process))
    assert [] == left_behind(state, {})


def test_the_name_of_a_process(spawn: Spawn) -> None:
    """As the kernel has it; a process that is gone has none."""
    process = spawn(MEEK)
    first_line(process)
    name = name_of(process.pid)
    process.kill()
    process.wait()

    assert name.startswith("python")
    assert "" == name_of(process.pid)


def test_waiting_ends_with_patience() -> None:
    """False after the time that was given, True as soon as it holds."""
    started_s = time.monotonic()

    assert (True, False) == (wait_until(lambda: True, 9.0), wait_until(lambda: False, 0.15))
    assert 0.15 <= time.monotonic() - started_s < 5.0
