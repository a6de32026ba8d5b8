"""Requests that may wait: held for a cleaner grid, few at once, behind the others, and never late."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest, Overloaded
from greenserve.records import Admitted, Hints
from greenserve.routing.defer import Slot
from greenserve.serve.deferral import Deferral
from greenserve.serve.gateway import Gateway
from greenserve.serve.hints import hints_of
from tests.serve.building import HeldEngines, a_call, an_admitted, spooled, until

CLOCK = SystemClock()
MS_NS = 1_000_000
S_US = 1_000_000


class Outlook:
    """A grid that is dirty now and clean `in_ms` from when it was made; forever dirty for None."""

    def __init__(self, in_ms: int | None = None) -> None:
        now_us = CLOCK.unix_us()
        change_us = now_us + 1_000 * (3_600_000 if in_ms is None else in_ms)
        self.slots = [Slot(now_us - S_US, change_us, 400.0), Slot(change_us, change_us + 3_600 * S_US, 40.0)]
        self.asked = 0

    def __call__(self, admitted: Admitted, until_us: int) -> Sequence[Slot]:
        self.asked += 1
        return self.slots


def waiting_s(seconds: float) -> Admitted:
    """A request with so much time."""
    now_ns = CLOCK.monotonic_ns()
    return an_admitted(received_ns=now_ns, deadline_ns=now_ns + int(seconds * 1e9))


def a_deferral(outlook: Outlook, **changes: Any) -> Deferral:
    """Nobody else waits."""
    whole: dict[str, Any] = {"outlook": outlook, "busy": lambda: False, "clock": CLOCK}
    return Deferral(**(whole | changes))


async def entered_ms(deferral: Deferral, admitted: Admitted) -> float:
    """After how long its turn came [ms]."""
    start_ns = CLOCK.monotonic_ns()
    async with deferral.turn(admitted):
        return (CLOCK.monotonic_ns() - start_ns) / MS_NS


async def test_a_request_runs_when_the_grid_gets_cleaner() -> None:
    """Not before, and soon after."""
    took_ms = await entered_ms(a_deferral(Outlook(150)), waiting_s(60.0))

    assert 140 <= took_ms < 1_000


async def test_what_gains_nothing_by_waiting_runs_at_once() -> None:
    """The grid stays as it is, or gets cleaner too late."""
    assert await entered_ms(a_deferral(Outlook()), waiting_s(60.0)) < 1_000
    assert await entered_ms(a_deferral(Outlook(5_000)), waiting_s(5.5)) < 1_000


async def test_time_is_kept_for_the_run() -> None:
    """A tenth of the time, a second at least: a slot that begins later than that is too late."""
    assert 0.3 * 1_000 <= await entered_ms(a_deferral(Outlook(300)), waiting_s(1.4)) < 1_300
    assert await entered_ms(a_deferral(Outlook(500)), waiting_s(1.4)) < 350
    assert await entered_ms(a_deferral(Outlook(400)), waiting_s(0.5)) < 350


async def test_few_run_at_once_the_most_urgent_first() -> None:
    """The next one goes when one is done."""
    deferral = a_deferral(Outlook(), at_once=1)
    order: list[str] = []

    async def run(name: str, seconds: float) -> None:
        async with deferral.turn(waiting_s(seconds)):
            order.append(name)
            await asyncio.sleep(0.01)

    async with deferral.turn(waiting_s(60.0)):
        others = [asyncio.create_task(run(name, seconds)) for name, seconds in (("late", 50.0), ("soon", 40.0))]
        await until(lambda: deferral.held == 2)
        await asyncio.sleep(0.03)
        assert [] == order
    await asyncio.gather(*others)

    assert ["soon", "late"] == order


async def test_who_has_no_time_left_runs_without_a_place() -> None:
    """What was accepted is answered in time, however many run."""
    deferral = a_deferral(Outlook(), at_once=1)
    async with deferral.turn(waiting_s(60.0)):
        took_ms = await entered_ms(deferral, waiting_s(1.2))

    assert 150 <= took_ms < 1_000
    assert await entered_ms(deferral, waiting_s(60.0)) < 1_000


async def test_those_that_do_not_wait_go_first() -> None:
    """Until there is no time left."""
    busy = [True]
    deferral = a_deferral(Outlook(), busy=lambda: busy[0])
    calm = asyncio.create_task(entered_ms(deferral, waiting_s(60.0)))
    forced_ms = await entered_ms(deferral, waiting_s(1.2))
    assert not calm.done()
    busy[0] = False

    assert 150 <= forced_ms < 1_000
    assert await calm > 150


async def test_too_many_are_refused_at_acceptance() -> None:
    """With when to come again; a place that is free again is given."""
    deferral = a_deferral(Outlook(60_000), most_held=2)
    waiting = [asyncio.create_task(entered_ms(deferral, waiting_s(600.0))) for _ in range(2)]
    await until(lambda: deferral.held == 2)

    with pytest.raises(Overloaded, match="2 requests wait for a cleaner grid already") as refused:
        await entered_ms(deferral, waiting_s(600.0))
    waiting[0].cancel()
    await until(lambda: deferral.held == 1)
    third = asyncio.create_task(entered_ms(deferral, waiting_s(600.0)))
    await until(lambda: deferral.held == 2)

    assert 60 == refused.value.retry_after_s
    for task in (waiting[1], third):
        task.cancel()
    await asyncio.gather(*waiting, third, return_exceptions=True)
    assert 0 == deferral.held


async def test_clients_that_leave_give_their_places_back() -> None:
    """While they wait for the grid, for a place, and for others."""
    busy = [False]
    deferral = a_deferral(Outlook(), at_once=1, busy=lambda: busy[0])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(deferral.turn(waiting_s(60.0)))
        queued = asyncio.create_task(entered_ms(deferral, waiting_s(60.0)))
        await until(lambda: deferral.held == 1)
        queued.cancel()
        await asyncio.gather(queued, return_exceptions=True)
    busy[0] = True
    crowded = asyncio.create_task(entered_ms(deferral, waiting_s(60.0)))
    await asyncio.sleep(0.02)
    crowded.cancel()
    await asyncio.gather(crowded, return_exceptions=True)
    busy[0] = False

    assert await entered_ms(deferral, waiting_s(60.0)) < 1_000


async def test_a_replica_that_goes_away_runs_all_of_them() -> None:
    """Those that wait for the grid, for a place and for others, and holds no more."""
    deferral = a_deferral(Outlook(60_000), busy=lambda: True, at_once=1)
    waiting = [asyncio.create_task(entered_ms(deferral, waiting_s(600.0))) for _ in range(3)]
    await until(lambda: deferral.held == 3)

    deferral.hurry()

    assert max(await asyncio.gather(*waiting)) < 1_000
    assert await entered_ms(deferral, waiting_s(600.0)) < 1_000


def in_s(seconds: float) -> Hints:
    """May wait so long."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return hints_of({"greenserve-defer-until": moment.isoformat()})


async def test_a_deferred_request_is_answered_and_marked(
    gateway: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """It runs when the grid is cleaner; the ledger line has the flag, the answer the time that it was held."""
    gateway.deferral = a_deferral(Outlook(200))
    task = asyncio.create_task(gateway.handle(a_call("good day", clock=CLOCK, hints=in_s(60.0))))
    await until(lambda: gateway.deferral.held == 1)
    assert [] == engines.batches

    answer = await task

    (line,) = [orjson.loads(body) for body in spooled(tmp_path / "spool")]
    times = dict(answer.times_ns)
    assert ["deferred"] == [flag for flag in line["flags"] if flag == "deferred"]
    assert 150 * MS_NS < times["defer"] - times["admit"] < 2_000 * MS_NS
    assert "deferred" in answer.decision.flags


async def test_a_refusal_for_the_load_is_tried_again_while_there_is_time(
    gateway: Gateway, engines: HeldEngines
) -> None:
    """The batcher has no room; once it has, the deferred request is answered."""
    engines.hold()
    gateway.deferral = a_deferral(Outlook())
    soon = replace(in_s(60.0), no_store=True)
    fresh: dict[str, Any] = {"clock": CLOCK, "hints": Hints(no_store=True)}
    blockers = [asyncio.create_task(gateway.handle(a_call(*["bad"] * 32, **fresh))) for _ in range(2)]
    await until(lambda: gateway.batcher.queued >= 56)
    held = asyncio.create_task(gateway.handle(a_call(*["good day"] * 32, clock=CLOCK, hints=soon)))
    await asyncio.sleep(0.1)
    assert not held.done()
    engines.release(1_000)

    answer = await held

    assert 32 == answer.outputs[0].size
    await asyncio.gather(*blockers, return_exceptions=True)


@pytest.mark.parametrize(("seconds", "words"), [(-5.0, "s ago"), (1_000.0, "s from now")])
async def test_a_time_that_is_not_to_come_soon_is_refused(gateway: Gateway, seconds: float, words: str) -> None:
    """The message says what is allowed and how far it is."""
    with pytest.raises(InvalidRequest, match=rf"GreenServe-Defer-Until: .* within the next 900 s .*{words}"):
        await gateway.handle(a_call("good day", clock=CLOCK, hints=in_s(seconds)))


async def test_a_shorter_deadline_holds_for_what_may_wait_too(gateway: Gateway) -> None:
    """Hints only narrow."""
    gateway.deferral = a_deferral(Outlook(60_000))
    answer = await gateway.handle(a_call("good day", clock=CLOCK, hints=in_s(600.0), timeout_s=2.0))

    assert answer.outputs


async def test_the_outlook_of_the_router_is_that_of_the_regions_allowed(gateway: Gateway) -> None:
    """Intensity times PUE of the cleanest region that tenant and hints allow."""
    now_us = CLOCK.unix_us()
    (anywhere,) = gateway.router.outlook(an_admitted(), now_us + S_US)
    (here,) = gateway.router.outlook(an_admitted(hints=Hints(regions=frozenset({"here"}))), now_us + S_US)

    assert (44_000.0, 600_000.0) == (anywhere.mg_per_kwh, here.mg_per_kwh)


async def test_a_refused_request_waits_no_longer_than_it_has_time() -> None:
    """Whatever the refusal says, it is tried once more in time; after that it is refused."""
    deferral, admitted = a_deferral(Outlook()), waiting_s(1.2)

    assert await deferral.again(admitted, 3_600.0)
    assert not await deferral.again(admitted, 3_600.0)
