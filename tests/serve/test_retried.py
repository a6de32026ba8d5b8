"""Deferred requests that are tried again: each attempt has a ledger line of its own under the request's one id."""

import asyncio
from pathlib import Path

import orjson

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.intake import Intake
from greenserve.carbon.ledger.lookup import lines_of
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.receipt import receipt_document
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import Overloaded
from greenserve.records import Hints
from greenserve.serve.call import Answer
from greenserve.serve.gateway import Gateway
from tests.serve.admitting import KEY, a_budget, a_tenancy
from tests.serve.building import HeldEngines, RememberingCache, a_call, spooled, until

CLOCK = SystemClock()
LONG = "good day bad good day bad good day bad"
"""A text of another bucket than "good day"."""


async def retried(gateway: Gateway, engines: HeldEngines) -> Answer:
    """A deferred request of two items: one ran while the other was dropped for the load; both are then answered."""
    gateway.cache.close()
    gateway.cache = cache = RememberingCache(gateway.models)
    engines.hold()
    hints = Hints(defer_until_us=CLOCK.unix_us() + 60_000_000)
    call = a_call("good day", LONG, clock=CLOCK, hints=hints, credential=KEY)
    asked = asyncio.create_task(gateway.handle(call))
    await until(lambda: len(engines.batches) == 1)
    (waits,) = [flight for flight in cache.flights if flight.item not in engines.batches[0].rows]
    waits.fail(Overloaded("more arrives than can be answered in time", retry_after_s=1))
    engines.release(9)
    return await asked


def taken(ledger: SqlLedger, folder: Path, lines: int) -> None:
    """The writer takes the next lines of the spool in."""
    waiting = Intake(folder / "spool", ledger.cursors()).look()
    ledger.append_lines(waiting.lines[:lines])


async def test_each_attempt_has_a_line_of_its_own(
    gateway: Gateway, engines: HeldEngines, config: Config, tmp_path: Path
) -> None:
    """What ran for the first is the platform's loss, the second is charged; the ledger takes both, once each."""
    gateway.admission.refresh(a_tenancy(), {})
    answer = await retried(gateway, engines)

    await until(lambda: len(spooled(tmp_path / "spool")) == 2)
    lines = [orjson.loads(body) for body in spooled(tmp_path / "spool")]
    assert {answer.request_id} == {line["request_id"] for line in lines}
    assert [(0, "error", False), (1, "ok", True)] == [
        (line["attempt"], line["outcome"], line["charged"]) for line in lines
    ]
    assert gateway.batcher.spans_cpu_ns == sum(line["cpu_ns"] for line in lines)

    ledger = open_ledger(config.ledger.url, config.ledger.path)
    for _ in range(2):
        taken(ledger, tmp_path, 2)
    receipt = receipt_document(lines_of(ledger, answer.request_id), rounded=False)
    findings, size = ledger.verify(), len(lines_of(ledger, answer.request_id))
    ledger.close()

    assert ([], 2, 1, "ok") == (findings, size, receipt["attempt"], receipt["outcome"])


async def test_a_retried_request_counts_once_in_a_budget(
    gateway: Gateway, engines: HeldEngines, config: Config, tmp_path: Path
) -> None:
    """It stays promised until its charged line is in the ledger: the line of what was lost before does not do."""
    budget = a_budget(limit=3)
    gateway.admission.refresh(a_tenancy(budget), {})
    answer = await retried(gateway, engines)
    await until(lambda: len(spooled(tmp_path / "spool")) == 2)
    ledger = open_ledger(config.ledger.url, config.ledger.path)
    seen = []
    for lines in (1, 2):
        taken(ledger, tmp_path, lines)
        seen.append((ledger.holds_usage(answer.request_id), ledger.used(budget, CLOCK.unix_us())))
    ledger.close()

    assert (answer.request_id,) == gateway.admission.watched
    assert [(False, 0), (True, 1)] == seen
    assert 1 == gateway.admission.promised(budget.budget_id)
