"""Start, watch and stop a gateway on this machine, and prove that nothing is left behind.

State: the run folder's lock, the processes that the run started; owned by the driver, the process of
`greenserve serve`.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.errors import GreenServeError
from greenserve.serve.ports import is_free
from greenserve.serve.run_folder import TOKEN_FILE, RunFolder, RunState

POLL_S = 0.1


def processes_below(root_pid: int) -> dict[int, int]:
    """{pid: start in clock ticks} of every descendant of a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent_of(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found: dict[int, int] = {}
    waiting = [root_pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            ticks = start_ticks_of(child)
            if ticks is not None and child not in found:
                found[child] = ticks
                waiting.append(child)
    return found


def processes_of(folder: Path) -> dict[int, int]:
    """{pid: start in clock ticks} of every process of this user that inherited the run folder's Ray token, also of
    those whose driver was killed."""
    marker = f"={folder / TOKEN_FILE}\0".encode()
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                ticks = start_ticks_of(int(entry.name))
                if ticks is not None and marker in (entry / "environ").read_bytes():
                    found[int(entry.name)] = ticks
    return found


def still_running(processes: dict[int, int]) -> dict[int, int]:
    """Those that still run: the same process, not another one with its number."""
    return {pid: ticks for pid, ticks in processes.items() if start_ticks_of(pid) == ticks}


def name_of(pid: int) -> str:
    """The command name of a process, empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def end_processes(processes: dict[int, int], *, patience_s: float) -> None:
    """Wait for processes of this run to end by themselves, then terminate, then kill those that did not."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            for pid in still_running(processes):
                _signal(pid, number)
        if wait_until(lambda: not still_running(processes), patience_s):
            return


def stop_driver(state: RunState, *, patience_s: float = 60.0) -> list[str]:
    """Ask the driver to drain and stop; what is left afterwards, empty where nothing is."""
    started = dict(state.processes)
    processes = started | processes_below(state.pid) | {state.pid: state.start_ticks}
    if state.alive:
        _signal(state.pid, signal.SIGTERM)
        wait_until(lambda: not state.alive, patience_s)
    folder = RunFolder(port=int(state.http.rpartition(":")[2])).path
    while found := processes_of(folder):  # a dying Ray may still start a process
        processes |= found
        end_processes(found, patience_s=5.0)
    end_processes(processes, patience_s=5.0)
    return left_behind(state, processes)


def left_behind(state: RunState, processes: dict[int, int]) -> list[str]:
    """Findings about processes and ports of a run that should be gone."""
    findings = [f"process {pid} still runs" for pid in still_running(processes)]
    for address in (state.http, state.grpc):
        host, _, port = address.rpartition("//")[2].rpartition(":")
        if not wait_until(partial(is_free, host, int(port)), 5.0):
            findings.append(f"port {port} is still taken")
    return findings


def wait_until(done: Callable[[], bool], patience_s: float) -> bool:
    """Whether `done` came true within `patience_s` [s]."""
    end_s = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > end_s:
            return False
        time.sleep(POLL_S)
    return True


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise GreenServeError(f"process {pid} belongs to somebody else: {error}") from None


def _parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[1])
