"""Budgets along the path of a request: what is reserved is given back, what was used is counted, once each."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest

from greenserve.clock import SystemClock
from greenserve.errors import BudgetExhausted, InferenceFailed
from greenserve.records import Hints
from greenserve.serve.batching.flight import Flight, Landed
from greenserve.serve.cache import AnswerCache
from greenserve.serve.call import Answer
from greenserve.serve.gateway import Gateway
from greenserve.serve.models import Models
from tests.serve.admitting import KEY, a_budget, a_tenancy
from tests.serve.building import HeldEngines, a_call, spooled, until

CLOCK = SystemClock()


async def ask(gateway: Gateway, text: str = "good") -> Answer:
    """A question of the tenant with the budget, not from the cache."""
    return await gateway.handle(a_call(text, clock=CLOCK, credential=KEY, hints=Hints(no_store=True)))


async def test_a_budget_of_three_requests_lets_three_through(gateway: Gateway) -> None:
    """Each counts once, though each was first reserved and then settled."""
    gateway.admission.refresh(a_tenancy(a_budget(limit=3)), {})
    for _ in range(3):
        await ask(gateway)

    with pytest.raises(BudgetExhausted, match="3 requests"):
        await ask(gateway)


async def test_a_request_that_failed_gives_its_reservation_back(gateway: Gateway) -> None:
    """The engine raised, nothing was answered: the next one has the whole budget."""
    gateway.admission.refresh(a_tenancy(a_budget(limit=1)), {})
    with pytest.raises(InferenceFailed):
        await ask(gateway, "word99")

    await ask(gateway)

    with pytest.raises(BudgetExhausted):
        await ask(gateway)


async def left(gateway: Gateway, gone: Callable[[], bool]) -> None:
    """A question whose client leaves as soon as that is so."""
    leaving = asyncio.create_task(ask(gateway))
    await until(gone)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)


async def test_a_client_that_leaves_before_its_run_gives_its_reservation_back(
    gateway: Gateway, engines: HeldEngines
) -> None:
    """It waited behind another's batch and used nothing: the next one has the whole budget."""
    gateway.admission.refresh(a_tenancy(a_budget(limit=1)), {})
    engines.hold()
    other = asyncio.create_task(gateway.handle(a_call("bad", clock=CLOCK, hints=Hints(no_store=True))))
    await until(lambda: len(engines.batches) == 1)
    await left(gateway, lambda: len(gateway.batcher.policy) == 1)
    engines.release(9)
    await other

    answer = await ask(gateway)

    assert "acme" == answer.tenant.tenant_id


async def test_a_client_that_leaves_its_run_has_used_its_budget_at_once(gateway: Gateway, engines: HeldEngines) -> None:
    """Before the ledger's balance says so, or leaving early would be a way around a budget."""
    budget = a_budget(limit=1)
    gateway.admission.refresh(a_tenancy(budget), {})
    engines.hold()
    await left(gateway, lambda: len(engines.batches) == 1)
    engines.release(9)
    await until(lambda: gateway.admission.promised(budget.budget_id) == 1)

    with pytest.raises(BudgetExhausted):
        await ask(gateway)


class LeavingCache(AnswerCache):
    """A cache through which a test's client learns in which instant its answer lands, and leaves in the same."""

    leave: "asyncio.Task[Answer]"

    def __init__(self, models: Models) -> None:
        super().__init__(list(models))

    def take_off(self, key: bytes, flight: Flight) -> None:
        """As any cache."""
        super().take_off(key, flight)
        landed = flight.on_landed

        def landed_and_left(result: Landed | None) -> None:
            assert landed is not None
            landed(result)
            self.leave.cancel()

        flight.on_landed = landed_and_left


async def test_a_client_that_leaves_as_its_answer_lands_is_recorded_once(
    gateway: Gateway, models: Models, tmp_path: Path
) -> None:
    """Its share was set a moment before it went: the ledger has it, with what it used, as cancelled."""
    gateway.cache.close()
    gateway.cache = cache = LeavingCache(models)
    cache.leave = asyncio.create_task(gateway.handle(a_call("good", clock=CLOCK)))

    with pytest.raises(asyncio.CancelledError):
        await cache.leave

    def lines() -> Sequence[bytes]:
        return spooled(tmp_path / "spool")

    await until(lambda: len(lines()) == 1)
    line = orjson.loads(lines()[0])
    assert ("cancelled", 1) == (line["outcome"], line["rows"])
    assert line["cpu_ns"] > 0
