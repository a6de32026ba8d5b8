"""A gateway for faults, and a tenant of it."""

import signal
from collections.abc import Callable
from typing import NamedTuple

import pytest

from greenserve.records import Tenant
from tests.faults.echoing import Echoing, start_echoing
from tests.faults.load import Load
from tests.gateway_process import GatewayProcess, wait_until

WARM_ANSWERS = 60


class Target(NamedTuple):
    """A running gateway and a key for it."""

    gateway: GatewayProcess
    key: str


class Terminated(NamedTuple):
    """A gateway that ended under load, its exit code, and what it answered and refused meanwhile."""

    gateway: GatewayProcess
    code: int
    load: Load


def started(gateway: GatewayProcess) -> Target:
    """Start a gateway with one tenant."""
    key = gateway.new_key(Tenant(tenant_id="acme", name="Acme"))
    gateway.start()
    return Target(gateway, key)


def ended_by(number: signal.Signals, target: Target) -> Terminated:
    """Send the driver a signal while clients ask, and wait until it has ended."""
    gateway, key = target
    with Load(gateway.url, key) as load:
        assert wait_until(lambda: load.count() > WARM_ANSWERS, 10.0)
        gateway.look()
        assert gateway.process is not None
        gateway.process.send_signal(number)
        return Terminated(gateway, gateway.wait_stopped(), load)


@pytest.fixture(scope="session")
def target(new_gateway: Callable[[], GatewayProcess]) -> Target:
    """A gateway that outlives all faults but the last; whoever kills its driver starts it again."""
    return started(new_gateway())


@pytest.fixture(scope="session")
def echoing(new_gateway: Callable[..., GatewayProcess], tmp_path_factory: pytest.TempPathFactory) -> Echoing:
    """A gateway of echo models that outlives all its faults."""
    return start_echoing(new_gateway, tmp_path_factory.mktemp("echoes"))


@pytest.fixture(scope="session")
def terminated(target: Target) -> Terminated:
    """The same gateway after SIGTERM under load. Tests that take this run last."""
    return ended_by(signal.SIGTERM, target)
