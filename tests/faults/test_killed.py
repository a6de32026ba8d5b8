"""Processes that die without warning: what was answered is recorded, what died comes back."""

import os
import signal

import httpx
import pytest

from tests.faults.conftest import WARM_ANSWERS, Target
from tests.faults.load import Load
from tests.gateway_process import GatewayProcess, wait_until

GATEWAY = "ray::ServeReplica:greenserve:Gateway"
WRITER = "ray::ServeReplica:greenserve-ledger:LedgerWriter"
BACK_S = 15.0
RECORDED_S = 10.0


def kill_one(gateway: GatewayProcess, part: str) -> int:
    """kill -9 of one process; its id."""
    victim = gateway.find(part)[0]
    os.kill(victim, signal.SIGKILL)
    return victim


def is_back(gateway: GatewayProcess, part: str, victim: int, count: int) -> bool:
    """Whether there are `count` such processes again, without the killed one."""
    found = gateway.find(part)
    return len(found) == count and victim not in found


def all_recorded(gateway: GatewayProcess, load: Load) -> bool:
    """Whether the ledger holds every answer."""
    return set(load.answered) <= gateway.recorded_requests()


def test_a_killed_gateway_replica_loses_no_answered_request(target: Target) -> None:
    """Under load: only its own connections fail, it is replaced, and every answer is in a ledger that verifies."""
    gateway, key = target
    with Load(gateway.url, key) as load:
        assert wait_until(lambda: load.count() > WARM_ANSWERS, 10.0)
        victim = kill_one(gateway, GATEWAY)
        after_kill = load.count()

        assert wait_until(lambda: is_back(gateway, GATEWAY, victim, 2), BACK_S)
        assert wait_until(lambda: load.count() > after_kill + WARM_ANSWERS, 10.0)
        assert wait_until(lambda: both_replicas_answer(gateway), BACK_S)

    assert {"RemoteProtocolError", "ReadError", "ConnectError"} >= set(load.failed), load.failed
    assert wait_until(lambda: all_recorded(gateway, load), RECORDED_S)
    assert [] == gateway.document("ledger", "verify")["findings"]


def both_replicas_answer(gateway: GatewayProcess) -> bool:
    """Whether 20 connections in a row, which the kernel spreads, find a replica that is ready."""
    return all(httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code == 200 for _ in range(20))


def test_a_killed_ledger_writer_loses_no_answered_request(target: Target) -> None:
    """The gateways answer on, their spools hold the lines, and the next writer takes each in once."""
    gateway, key = target
    with Load(gateway.url, key) as load:
        assert wait_until(lambda: load.count() > WARM_ANSWERS, 10.0)
        victim = kill_one(gateway, WRITER)
        after_kill = load.count()

        assert wait_until(lambda: load.count() > after_kill + WARM_ANSWERS, 10.0)
        assert wait_until(lambda: is_back(gateway, WRITER, victim, 1), BACK_S)

    assert {} == load.failed
    assert wait_until(lambda: all_recorded(gateway, load), RECORDED_S)
    assert [] == gateway.document("ledger", "verify")["findings"]


@pytest.mark.slow
def test_a_killed_driver_is_cleaned_up_by_stop_and_the_next_start_goes_on(target: Target) -> None:
    """`status` says that it is gone, `stop` ends what it left, a new start takes in what was answered before."""
    gateway, key = target
    with Load(gateway.url, key) as load:
        assert wait_until(lambda: load.count() > WARM_ANSWERS, 10.0)
        gateway.look()
        assert gateway.process is not None
        os.kill(gateway.process.pid, signal.SIGKILL)
        gateway.wait_stopped()

    status, stop = gateway.run("status"), gateway.run("stop")
    left = gateway.left_behind()
    gateway.start()

    assert 6 == status.returncode
    assert "is gone without having stopped" in status.stderr
    assert 0 == stop.returncode, stop.stderr
    assert [] == [one for one in left if not one.startswith("spool")], stop.stderr
    assert wait_until(lambda: all_recorded(gateway, load), RECORDED_S)
