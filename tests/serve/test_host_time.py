"""Whose the CPU time of the loop is while requests are held, and from when on a request that was held counts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.clock import ManualClock, SystemClock
from greenserve.config import Config
from greenserve.records import Admitted, Hints
from greenserve.routing.defer import Slot
from greenserve.serve.deferral import Deferral
from greenserve.serve.finished import Finished
from greenserve.serve.gateway import Gateway
from greenserve.serve.models import Models
from greenserve.serve.recorder import Recorder
from tests.serve.building import a_batcher, a_call, a_decision, a_gateway, a_recorder, an_admitted, spooled, until
from tests.serve.lifecycle import at_work

CLOCK = SystemClock()
S_US = 1_000_000
MUCH = 10**15
"""CPU time [ns], so much that all else is nothing beside it."""
FRESH = Hints(no_store=True)


class Cpu:
    """The loop's CPU time [ns], as the test says."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def cpu() -> Cpu:
    """None used yet."""
    return Cpu()


@asynccontextmanager
async def recording(folder: Path, cpu: Cpu) -> AsyncIterator[Recorder]:
    """A started recorder."""
    recorder = a_recorder(SpoolWriter(folder / "spool", "recorder"), ManualClock(), cpu)
    recorder.start()
    yield recorder
    await recorder.close()


def a_hit(**changes: Any) -> Finished:
    """A request that the cache answered."""
    whole: dict[str, Any] = {
        "admitted": an_admitted(), "decision": a_decision(), "variant_digest": "0" * 64, "outputs": {}, "run": None,
        "cache": "hit", "outcome": "ok",
    }  # fmt: skip
    return Finished(**(whole | changes))


def host_units(folder: Path) -> list[int]:
    """The host CPU time of each line, in `MUCH`."""
    return [round(orjson.loads(body)["host_cpu_ns"] / MUCH) for body in spooled(folder / "spool")]


async def test_what_goes_by_during_a_pause_is_nobodys(tmp_path: Path, cpu: Cpu) -> None:
    """What the request took before its pause and after it is its own."""
    async with recording(tmp_path, cpu) as recorder:
        recorder.begin()
        cpu.ns += MUCH
        with recorder.paused():
            cpu.ns += 50 * MUCH
        cpu.ns += 2 * MUCH
        await recorder.submit(a_hit())
        recorder.end()

    assert [3] == host_units(tmp_path)


async def test_who_comes_during_a_pause_pays_for_itself(tmp_path: Path, cpu: Cpu) -> None:
    """Neither for the time before it, nor for what the paused one had taken."""
    async with recording(tmp_path, cpu) as recorder:
        recorder.begin()
        cpu.ns += MUCH
        with recorder.paused():
            cpu.ns += 50 * MUCH
            recorder.begin()
            cpu.ns += 4 * MUCH
            await recorder.submit(a_hit())
            recorder.end()
            cpu.ns += 50 * MUCH
        await recorder.submit(a_hit())
        recorder.end()

    assert [4, 1] == host_units(tmp_path)


async def test_a_line_that_is_written_during_a_pause_takes_nothing_of_the_paused_one(tmp_path: Path, cpu: Cpu) -> None:
    """As that of an attempt which was refused, or of a client that left: the time is handed out once."""
    async with recording(tmp_path, cpu) as recorder:
        recorder.begin()
        cpu.ns += MUCH
        with recorder.paused():
            recorder.submit_unanswered(a_hit())
            await until(lambda: len(spooled(tmp_path / "spool")) == 1)
        cpu.ns += 2 * MUCH
        await recorder.submit(a_hit())
        recorder.end()

    assert [0, 3] == host_units(tmp_path)


async def test_a_pause_among_others_loses_nothing(tmp_path: Path, cpu: Cpu) -> None:
    """While another request is in progress the time is shared out as ever."""
    async with recording(tmp_path, cpu) as recorder:
        recorder.begin()
        recorder.begin()
        cpu.ns += MUCH
        with recorder.paused():
            cpu.ns += 2 * MUCH
            await recorder.submit(a_hit())
        cpu.ns += 4 * MUCH
        await recorder.submit(a_hit())
        recorder.end()
        recorder.end()

    assert [3, 4] == host_units(tmp_path)


async def test_a_pause_ends_with_its_request(tmp_path: Path, cpu: Cpu) -> None:
    """A client that leaves meanwhile leaves nothing behind: the next request begins with what is its own."""
    async with recording(tmp_path, cpu) as recorder:
        recorder.begin()
        with pytest.raises(TimeoutError), recorder.paused():
            raise TimeoutError
        recorder.end()
        cpu.ns += 50 * MUCH
        recorder.begin()
        cpu.ns += MUCH
        await recorder.submit(a_hit())
        recorder.end()

    assert [1] == host_units(tmp_path)


async def test_a_hit_that_was_held_counts_from_when_it_began(tmp_path: Path, cpu: Cpu) -> None:
    """Its line covers its own time, not the hour that it waited; any other begins when it is received."""
    now_ns = ManualClock().monotonic_ns()
    admitted = an_admitted(received_ns=now_ns - 600 * 10**9)
    async with recording(tmp_path, cpu) as recorder:
        await recorder.submit(a_hit(admitted=admitted, began_ns=now_ns - 5))
        await recorder.submit(a_hit(admitted=admitted))

    starts = [orjson.loads(body)["start_ns"] for body in spooled(tmp_path / "spool")]
    assert [now_ns - 5, now_ns - 600 * 10**9] == starts


@pytest.fixture
async def counted(config: Config, models: Models, tmp_path: Path, cpu: Cpu) -> AsyncIterator[Gateway]:
    """A running gateway with room for one item, whose loop uses as much CPU time as the test says."""
    running = a_gateway(config, models, tmp_path, CLOCK)
    await running.recorder.close()
    running.recorder = a_recorder(SpoolWriter(tmp_path / "spool", "counted"), CLOCK, cpu)
    running.batcher = a_batcher(models, CLOCK, max_queued=1)
    async with at_work(running):
        yield running


async def test_a_held_request_does_not_bill_the_loops_idle_time_to_others(
    counted: Gateway, tmp_path: Path, cpu: Cpu
) -> None:
    """Neither those that come meanwhile nor itself; from the cache it counts from its turn on."""
    await counted.handle(a_call("good day", clock=CLOCK))
    now_us = CLOCK.unix_us()
    slots = [Slot(now_us - S_US, now_us + 30 * S_US, 400.0), Slot(now_us + 30 * S_US, now_us + 60 * S_US, 40.0)]
    counted.deferral = Deferral(outlook=lambda admitted, until_us: slots, busy=lambda: False, clock=CLOCK)
    hints = Hints(defer_until_us=now_us + 60 * S_US)
    held = asyncio.create_task(counted.handle(a_call("good day", clock=CLOCK, hints=hints)))
    await until(lambda: counted.deferral.held == 1)
    cpu.ns += 50 * MUCH
    await counted.handle(a_call("bad", clock=CLOCK, hints=FRESH))
    cpu.ns += 50 * MUCH
    turn_ns = CLOCK.monotonic_ns()
    counted.deferral.hurry()
    answer = await held

    line = orjson.loads(spooled(tmp_path / "spool")[-1])
    assert ("hit", answer.request_id) == (answer.cache, line["request_id"])
    assert [0, 0, 0] == host_units(tmp_path)
    assert turn_ns <= dict(answer.times_ns)["defer"] <= line["start_ns"]


class ToldDeferral(Deferral):
    """Says when a request was refused for the load."""

    refused = False

    async def again(self, admitted: Admitted, after_s: float) -> bool:
        """As ever."""
        self.refused = True
        return await super().again(admitted, after_s)


async def test_the_time_between_two_attempts_is_nobodys(counted: Gateway, tmp_path: Path, cpu: Cpu) -> None:
    """Two items have no room and are tried again; meanwhile each was asked for alone, so that the cache has them."""
    told = counted.deferral = ToldDeferral(outlook=counted.router.outlook, busy=lambda: False, clock=CLOCK)
    hints = Hints(defer_until_us=CLOCK.unix_us() + 60 * S_US)
    asked = asyncio.create_task(counted.handle(a_call("good", "bad", clock=CLOCK, hints=hints)))
    await until(lambda: told.refused)
    for text in ("good", "bad"):
        cpu.ns += 50 * MUCH
        await counted.handle(a_call(text, clock=CLOCK))
    cpu.ns += 50 * MUCH

    assert "hit" == (await asked).cache
    assert [0, 0, 0] == host_units(tmp_path)
