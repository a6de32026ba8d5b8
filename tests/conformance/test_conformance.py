"""Unmodified clients of seven projects against one running gateway, and the page that shows how each call went."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.running import GROUPS, ROOT, Line, Outcome, Running, command, start_gateway
from tests.conformance.table import PAGE, page

Told = Callable[[str], Outcome]


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


def test_a_missing_environment_is_an_error_that_says_how_to_make_it() -> None:
    """A client that can't run fails the tests instead of leaving the table."""
    with pytest.raises(FileNotFoundError, match="make clients"):
        command("no-such-group", "client")


def test_a_failed_call_and_a_crashed_client_both_count_as_failures() -> None:
    """What the page shows as NO is named with its detail; a process that dies early is never a success."""
    went = Line(client="one", call="infer", ok=True, detail="")
    failed = Line(client="one", call="stream", ok=False, detail="expected 1, got 2")
    outcome = Outcome(group="openai", lines=(went, failed), exit_code=3, errors="no such module")

    assert [
        "one, stream: expected 1, got 2",
        "the process of openai ended with 3: no such module",
    ] == outcome.failures
    assert "| call | one |\n| --- | --- |\n| infer | yes |\n| stream | NO |\n" in page([outcome])


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_call_of_an_unmodified_client_goes_well(told: Told, group: str) -> None:
    """No call fails; that none was lost on the way is what the page's test sees."""
    outcome = told(group)

    assert [] == outcome.failures
    assert outcome.lines


@pytest.mark.slow
def test_the_page_shows_what_ran(told: Told) -> None:
    """docs/conformance.md is the table of this very run, call by call; `make conformance` writes it."""
    assert page(map(told, GROUPS)) == PAGE.read_text()


@pytest.mark.slow
def test_a_health_watch_sees_the_drain(running: Running) -> None:
    """Watch tells NOT_SERVING while the gateway drains, before the stream ends. Comes last: it stops the gateway."""
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
    assert {"state": "NOT_SERVING"} == then[-1]
    assert 0 == watching.wait(timeout=10)
