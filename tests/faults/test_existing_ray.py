"""A gateway on a Ray that others started: it comes, serves and goes, and that Ray runs on."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenserve.records import Tenant
from greenserve.serve.cluster import ENVIRONMENT
from greenserve.serve.supervisor import processes_below, still_running
from tests.conftest import NewGateway
from tests.faults.conftest import WARM_ANSWERS
from tests.faults.load import Load
from tests.gateway_process import HOST, GatewayProcess, free_ports, wait_until

pytestmark = pytest.mark.soak
UP_S = 60.0
DOWN_S = 60.0


@dataclass
class Head:
    """A Ray head node of the test's own, with token authentication."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "log").read_text()


def a_head(**changes: str) -> Head:
    """Start one; `changes` are environment variables."""
    folder = Path(tempfile.mkdtemp(prefix="gsr-"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = dict(os.environ) | ENVIRONMENT | {"RAY_AUTH_TOKEN_PATH": str(token)} | changes
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--include-dashboard=false"]
    command += [f"--port={port}", "--num-cpus=2", f"--temp-dir={folder / 'ray'}", "--object-store-memory=100000000"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    head = Head(folder, port, process, environment)
    assert wait_until(lambda: "This command will now block" in head.log or process.poll() is not None, UP_S)
    assert process.poll() is None, head.log
    return head


def end(head: Head) -> None:
    """By its own processes' ids."""
    processes = processes_below(head.process.pid)
    head.process.send_signal(signal.SIGTERM)
    try:
        head.process.wait(DOWN_S)
    except subprocess.TimeoutExpired:
        head.process.kill()
        head.process.wait()
    for pid in still_running(processes):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(head.folder, ignore_errors=True)


@pytest.fixture
def head() -> Iterator[Head]:
    """As the gateway needs it."""
    head = a_head()
    yield head
    end(head)


@pytest.fixture
def plain_head() -> Iterator[Head]:
    """As somebody starts it who knows nothing of gateways."""
    head = a_head(OMP_NUM_THREADS="2")
    yield head
    end(head)


def placed_on(head: Head, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Configure a gateway for that Ray; a key for it."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, head.environment[name])
    file = gateway.folder / "greenserve.yaml"
    file.write_text(f"{file.read_text()}ray: {{address: '{HOST}:{head.port}'}}\n")
    return gateway.new_key(Tenant(tenant_id="acme", name="Acme"))


def test_a_gateway_comes_and_goes_and_ray_runs_on(
    head: Head, new_gateway: NewGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves, is scaled, a second one is refused, `stop` removes it alone; its ledger settles everything."""
    gateway = new_gateway()
    key = placed_on(head, gateway, monkeypatch)
    second = new_gateway()
    placed_on(head, second, monkeypatch)

    gateway.start()
    with Load(gateway.url, key) as load:
        assert wait_until(lambda: load.count() > WARM_ANSWERS, 10.0)
        scaled = gateway.run("scale", "1")
    refused = second.run("serve", "greenserve.yaml")
    stopped = gateway.run("stop")

    assert {} == load.failed
    assert 0 == scaled.returncode, scaled.stderr
    assert 4 == refused.returncode
    assert "a cluster holds one gateway" in refused.stderr
    assert 0 == stopped.returncode, stopped.stderr
    assert ([], None) == (gateway.left_behind(), head.process.poll())
    assert set(load.answered) <= gateway.recorded_requests()
    assert [] == gateway.document("ledger", "verify")["findings"]


def test_nodes_that_lack_what_serving_needs_are_named(
    plain_head: Head, new_gateway: NewGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started there: which variable, on which node, and what it should be."""
    gateway = new_gateway()
    placed_on(plain_head, gateway, monkeypatch)

    refused = gateway.run("serve", "greenserve.yaml")

    assert 4 == refused.returncode, refused.stderr
    assert "OMP_NUM_THREADS=1 is needed, it has 2" in refused.stderr
    assert plain_head.process.poll() is None


def test_a_ray_that_is_not_there_is_said_so(new_gateway: NewGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 6, with the address."""
    gateway = new_gateway()
    (port,) = free_ports(1)
    file = gateway.folder / "greenserve.yaml"
    file.write_text(f"{file.read_text()}ray: {{address: '{HOST}:{port}'}}\n")

    refused = gateway.run("serve", "greenserve.yaml")

    assert 6 == refused.returncode, refused.stderr
    assert f"ray.address {HOST}:{port}: no Ray cluster was reached" in refused.stderr
