"""One poisoned item among thirty-two requests at once: the others get their answers, and no joule is lost."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.faults.conftest import Terminated
from tests.faults.echoes import POISON
from tests.faults.echoing import Echoing, question
from tests.faults.load import Load
from tests.gateway_process import GatewayProcess, wait_until
from tests.tiny_model import LABELS

AT_ONCE = 32
PLACE = 11
BUSY_NS = 10_000_000
"""What each run of the model burns."""


async def all_at_once(echoing: Echoing, model: str, questions: list[dict[str, object]]) -> list[httpx.Response]:
    """Single requests that wait for one another."""
    async with httpx.AsyncClient(
        base_url=echoing.gateway.url, headers=echoing.headers(), trust_env=False, timeout=30.0
    ) as client:
        return await asyncio.gather(*(client.post(f"/v2/models/{model}/infer", json=one) for one in questions))


def text(word: int) -> dict[str, object]:
    """A request of one word; its label is that of its number."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [f"word{word}"]}]}


def ids_of(told: list[httpx.Response]) -> set[str]:
    """The requests that were answered."""
    return {one.json()["parameters"]["greenserve_request_id"] for one in told if one.status_code == 200}


def usage_lines(gateway: GatewayProcess, ids: set[str]) -> list[Any]:
    """Their first lines in the ledger."""
    return [entry.body for entry in gateway.entries() if entry.kind == "usage" and entry.key in ids]


def test_an_item_that_makes_the_engine_raise_fails_alone(echoing: Echoing) -> None:
    """Thirty-one right answers and one error that names the item; the rows of each run have lines, whose parts make up
    all that the run burned."""
    numbers = [POISON if place == PLACE else place for place in range(AT_ONCE)]

    told = asyncio.run(all_at_once(echoing, "poison", [question(number, 0) for number in numbers]))

    failed = told.pop(PLACE)
    numbers.pop(PLACE)
    assert (500, "inference-failed") == (failed.status_code, failed.json()["code"]), failed.text
    assert "input [0]" in failed.json()["error"]
    assert "Traceback" not in failed.text
    assert [200] * (AT_ONCE - 1) == [one.status_code for one in told]
    assert [[number, 0] for number in numbers] == [one.json()["outputs"][0]["data"] for one in told]
    assert max(one.json()["parameters"]["greenserve_energy_uj"] for one in told) > 0
    assert wait_until(lambda: ids_of(told) <= echoing.gateway.recorded_requests(), 10.0)
    batches: dict[str, list[Any]] = {}
    for line in usage_lines(echoing.gateway, ids_of(told)):
        batches.setdefault(line["batch_id"], []).append(line)
    assert [lines[0]["n_rows"] for lines in batches.values()] == [len(lines) for lines in batches.values()]
    assert all(sum(line["cpu_ns"] for line in lines) >= BUSY_NS for lines in batches.values())


def test_an_answer_that_is_not_a_number_fails_alone(echoing: Echoing) -> None:
    """The same for a row of which the model makes nothing: its neighbours in the batch are right."""
    words = [POISON if place == PLACE else place + 10 for place in range(AT_ONCE)]

    told = asyncio.run(all_at_once(echoing, "odd", [text(word) for word in words]))

    failed = told.pop(PLACE)
    words.pop(PLACE)
    assert (500, "inference-failed") == (failed.status_code, failed.json()["code"]), failed.text
    assert "not a finite number" in failed.json()["error"]
    assert [LABELS[word % len(LABELS)] for word in words] == [one.json()["outputs"][0]["data"][0] for one in told]


@pytest.fixture(scope="session")
def stopped(echoing: Echoing) -> Terminated:
    """The gateway of echo models after all its faults and `greenserve stop`. Tests that take this run last."""
    gateway = echoing.gateway
    gateway.look()
    said = gateway.run("stop")
    assert 0 == said.returncode, said.stderr + gateway.log
    return Terminated(gateway, gateway.wait_stopped(), Load(gateway.url, echoing.keys["modest"]))


def test_after_all_faults_the_ledger_still_sums_to_the_meter(stopped: Terminated) -> None:
    """Overload, bombs, poison and a hung engine later: nothing is left behind, all is settled, and the tenants' parts
    and the platform's own make up the metered energy to the last microjoule."""
    gateway = stopped.gateway

    assert [] == gateway.left_behind()
    assert [] == gateway.document("ledger", "verify")["findings"]
    for tenant in ("greedy", "modest"):
        statement = gateway.document("report", "--tenant", tenant)["statement"]
        assert 0 == statement["totals"]["provisional_requests"]
        assert 0 == float(statement["reconciliation"]["difference_joules"])
