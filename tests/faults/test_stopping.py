"""A signal under load, ports that are taken, and files that changed."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from greenserve.cli.serve import PORT_PATIENCE_S
from tests.faults.conftest import Target, Terminated
from tests.faults.ending import assert_ended_well
from tests.gateway_process import HOST, GatewayProcess
from tests.tiny_model import write_tiny_model


def test_sigterm_under_load_drains_and_leaves_nothing(terminated: Terminated) -> None:
    """After kills and disconnects too: admitted requests are answered, everything is settled, nothing is left."""
    assert_ended_well(terminated)


@pytest.mark.slow
def test_sigterm_while_ray_starts_ends_it_soon(new_gateway: Callable[[], GatewayProcess]) -> None:
    """Nothing is served yet, so nothing is waited for: not even the minute that Ray's clients wait for Ray."""
    gateway = new_gateway()
    gateway.begin()
    assert gateway.process is not None
    while not gateway.find("gcs_server"):
        assert gateway.process.poll() is None, gateway.log

    gateway.process.terminate()
    status = gateway.process.wait(45.0)

    assert 0 != status
    assert "draining" in gateway.log
    assert [] == gateway.left_behind()


def test_a_second_gateway_on_the_same_port_is_refused(target: Target) -> None:
    """At once, naming the two commands that help; the first one goes on."""
    gateway, _ = target

    second = gateway.run("serve", "greenserve.yaml", timeout_s=20.0)

    assert 4 == second.returncode
    assert "runs here already" in second.stderr
    assert "greenserve status" in second.stderr
    assert 0 == gateway.run("status").returncode


@pytest.mark.slow
def test_a_foreign_listener_is_named(new_gateway: Callable[[], GatewayProcess]) -> None:
    """Who holds the port, and which option chooses another one; at once, and nothing is started."""
    gateway = new_gateway()
    with socket.socket() as foreign:
        foreign.bind((HOST, 0))
        foreign.listen()
        taken = foreign.getsockname()[1]
        begun_s = time.monotonic()

        done = gateway.run("serve", "greenserve.yaml", "--grpc-port", str(taken), timeout_s=40.0)

        took_s = time.monotonic() - begun_s
    assert 4 == done.returncode
    assert f"server.grpc: {HOST}:{taken} is taken by pid {os.getpid()} " in done.stderr
    assert "--grpc-port" in done.stderr
    assert took_s < PORT_PATIENCE_S
    assert [] == gateway.left_behind()


def test_a_changed_model_file_is_never_served(new_gateway: Callable[..., GatewayProcess], tmp_path: Path) -> None:
    """The digest in the manifest decides: the start ends with the file's name, and nothing is left."""
    gateway = new_gateway(write_tiny_model(tmp_path / "changed"))
    file = tmp_path / "changed" / "fp32" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")

    done = gateway.run("serve", "greenserve.yaml", timeout_s=60.0)

    assert 5 == done.returncode, done.stderr
    assert "fp32/model.onnx" in done.stderr
    assert [] == gateway.left_behind()
