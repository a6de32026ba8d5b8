"""Unmodified clients of seven projects against one running gateway, and the page that shows how each call went."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.running import GROUPS, ROOT, Outcome, Running, command, start_gateway
from tests.conformance.table import PAGE, page

Told = Callable[[str], Outcome]
CALLS = {"triton": 150, "kserve": 20, "open_inference": 15, "openai": 38, "grpc_standard": 10, "schemathesis": 20}


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that serves the models of these tests."""
    started = start_gateway(tmp_path_factory.mktemp("conformance"))
    yield started
    started.gateway.end()


@pytest.fixture(scope="session")
def told(running: Running) -> Told:
    """What the clients of a group told; each group runs once."""
    seen: dict[str, Outcome] = {}

    def ask(group: str) -> Outcome:
        if group not in seen:
            seen[group] = running.ask(group)
        return seen[group]

    return ask


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_call_of_an_unmodified_client_goes_well(told: Told, group: str) -> None:
    """No call fails, and no call is lost on the way: a script that prints nothing would pass otherwise."""
    outcome = told(group)

    assert [] == outcome.failures
    assert CALLS[group] <= len(outcome.lines)


@pytest.mark.slow
def test_the_page_shows_what_ran(told: Told) -> None:
    """docs/conformance.md is the table of this very run; `make conformance` writes it."""
    assert page(map(told, GROUPS)) == PAGE.read_text()


@pytest.mark.slow
def test_a_health_watch_sees_the_drain(running: Running, told: Told) -> None:
    """Watch tells NOT_SERVING while the gateway drains, before the stream ends. Comes last: it stops the gateway."""
    assert told(GROUPS[-1]).lines
    watching = subprocess.Popen(
        command("grpc_standard", "watch"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert watching.stdin is not None
    assert watching.stdout is not None
    watching.stdin.write(running.target)
    watching.stdin.close()
    first = json.loads(watching.stdout.readline())

    running.gateway.run("stop")
    then = [json.loads(line) for line in watching.stdout]
    watching.stdout.close()

    assert {"state": "SERVING"} == first
    assert {"state": "NOT_SERVING"} == then[0]
    assert 0 == watching.wait(timeout=10)
