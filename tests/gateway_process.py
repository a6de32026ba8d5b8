"""A real gateway of the tests: `greenserve serve` in a process of its own, with a ledger and run folder of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.clock import SystemClock
from greenserve.records import Entry, Tenant
from greenserve.serve.ports import is_free
from greenserve.serve.supervisor import processes_below, still_running

HOST = "127.0.0.1"
READY_S = 60.0
STOP_S = 60.0
CONFIG = """
version: 1
server:
  replicas: 2
  limits: {{request_timeout: 10s, max_body: 64KiB, max_queued: 64, max_items: 32}}
  http: {{port: {http_port}}}
  grpc: {{port: {grpc_port}}}
models:
  - name: tiny
    manifest: {manifest}
    objective: {{p95: 500ms, quality_floor: 0.6}}
    batching: {{max_batch: 8}}
regions:
  - {{name: here, zone: ZZ-HERE, pue: {{value: 1.5, source: a test}}}}
  - {{name: north, zone: ZZ-NORTH, emulated: true, pue: {{value: 1.1, source: a test}}}}
intensity:
  sources:
    - {{kind: annual, values: {{ZZ-HERE: 400gCO2e/kWh, ZZ-NORTH: 40gCO2e/kWh}}, year: 2025, source: invented for tests}}
tenancy: {{auth: required, defaults: {{rate: 5000/s, burst: 10000}}}}
ledger: {{url: "sqlite:///ledger.db"}}
"""


@dataclass
class GatewayProcess:
    """One gateway; `folder` holds configuration, ledger and log, `runtime` its run folder (short: UNIX sockets)."""

    folder: Path
    manifest: Path
    runtime: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gs-")))
    http_port: int = 0
    grpc_port: int = 0
    process: subprocess.Popen[bytes] | None = None
    seen: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http_port, self.grpc_port = free_ports(2)
        text = CONFIG.format(http_port=self.http_port, grpc_port=self.grpc_port, manifest=self.manifest)
        (self.folder / "greenserve.yaml").write_text(text)

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        """Where gRPC answers."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def run_folder(self) -> Path:
        """The gateway's own run folder."""
        return self.runtime / f"greenserve-{os.getuid()}-{self.http_port}"

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.folder / "ledger.db"

    @property
    def log(self) -> str:
        """What the gateway has printed."""
        return (self.folder / "serve.log").read_text()

    def begin(self) -> None:
        """Start the gateway."""
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("serve", "greenserve.yaml"),
                cwd=self.folder,
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the gateway and wait until every replica takes requests."""
        self.begin()
        assert self.process is not None
        end_s = time.monotonic() + READY_S
        while not self.ready:
            assert self.process.poll() is None, f"the gateway ended:\n{self.log}"
            assert time.monotonic() < end_s, f"the gateway is not ready after {READY_S:g} s:\n{self.log}"
            time.sleep(0.05)
        self.look()

    @property
    def ready(self) -> bool:
        """Whether every replica takes requests."""
        file = self.run_folder / "run.json"
        return file.exists() and bool(json.loads(file.read_text())["ready"])

    def look(self) -> dict[int, int]:
        """{pid: start} of all processes of the gateway that run now; those of the whole run are kept in `seen`."""
        assert self.process is not None
        now = processes_below(self.process.pid)
        self.seen |= now
        return now

    def find(self, part: str) -> list[int]:
        """The processes whose command line holds `part`."""
        found = []
        for pid in self.look():
            with contextlib.suppress(OSError):
                if part in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                    found.append(pid)
        return found

    def command(self, *words: str) -> list[str]:
        """The command line of a `greenserve` command."""
        return [sys.executable, "-m", "greenserve.cli.main", *words]

    def environment(self) -> dict[str, str]:
        """This process's environment with the gateway's own runtime folder."""
        return dict(os.environ) | {"XDG_RUNTIME_DIR": str(self.runtime)}

    def run(self, *words: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run a `greenserve` command in the gateway's folder to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def document(self, *words: str) -> Any:
        """The JSON document that a command prints, which must go well."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def tenancy(self) -> Iterator[TenancyStore]:
        """Tenants, keys and budgets of this gateway's ledger."""
        ledger = SqliteLedger(self.ledger_path)
        try:
            yield TenancyStore(ledger, SystemClock())
        finally:
            ledger.close()

    def new_key(self, tenant: Tenant) -> str:
        """Make a tenant with a key; the gateway knows both within a second."""
        with self.tenancy() as store:
            store.create_tenant(tenant)
            return store.create_key(tenant.tenant_id)[0]

    def entries(self) -> list[Entry]:
        """All lines of the ledger."""
        ledger = SqliteLedger(self.ledger_path, must_exist=True)
        try:
            return [entry for _, entry in ledger.entries()]
        finally:
            ledger.close()

    def recorded_requests(self) -> set[str]:
        """The ids of all requests in the ledger."""
        return {entry.key for entry in self.entries() if entry.kind == "usage"}

    def wait_stopped(self, patience_s: float = STOP_S) -> int:
        """Wait until the driver has ended; its exit code."""
        assert self.process is not None
        return self.process.wait(timeout=patience_s)

    def left_behind(self) -> list[str]:
        """What the gateway left: processes, ports, files of the run folder."""
        found = [f"process {pid}" for pid in still_running(self.seen)]
        found += [f"port {port}" for port in (self.http_port, self.grpc_port) if not is_free(HOST, port)]
        if self.run_folder.exists():
            found += [f"file {path.name}" for path in self.run_folder.iterdir() if path.name != "lock"]
        return found + [f"spool {path.name}" for path in self.folder.glob("ledger.db.spool/*")]

    def end(self) -> None:
        """Whatever happened: leave no process of this gateway, and remove its run folder."""
        if self.process is not None:
            self.look()
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout=STOP_S)
            for pid in [self.process.pid, *still_running(self.seen)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.runtime, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(done: Callable[[], bool], patience_s: float) -> bool:
    """Whether `done` came true within `patience_s` [s]: for what another process does in its own time."""
    end_s = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True
