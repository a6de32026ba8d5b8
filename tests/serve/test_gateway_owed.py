"""What ran for a request that then had no answer: no nanosecond of it is lost, and nothing keeps running for it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import InferenceFailed, Overloaded
from greenserve.manifest import Manifest, Variant
from greenserve.ports import Engine
from greenserve.records import Batch, Hints, Span
from greenserve.serve.call import Answer
from greenserve.serve.gateway import Gateway
from tests.serve.building import HeldEngine, HeldEngines, a_call, a_gateway, models_of, spooled, until
from tests.serve.lifecycle import at_work

CLOCK = SystemClock()
FRESH = Hints(no_store=True)
MANY = [f"word{number}" for number in range(10, 30)]


def lines(folder: Path) -> list[dict[str, Any]]:
    """The ledger lines that the gateway has made durable."""
    return [orjson.loads(body) for body in spooled(folder / "spool")]


def asks(gateway: Gateway, *texts: str, **changes: object) -> "asyncio.Task[Answer]":
    """Start a call."""
    return asyncio.create_task(gateway.handle(a_call(*texts, clock=CLOCK, **changes)))


async def crowded(gateway: Gateway, engines: HeldEngines, first: str) -> "list[asyncio.Task[Answer]]":
    """`first` is at the held engine, and the queue has no room for twenty more."""
    engines.hold()
    leader = asks(gateway, first)
    await until(lambda: len(engines.batches) == 1)
    blockers = [asks(gateway, *["bad"] * 32, hints=FRESH), asks(gateway, *["bad"] * 20, hints=FRESH)]
    await until(lambda: gateway.batcher.queued == 52)
    return [leader, *blockers]


async def test_who_joins_a_run_and_is_refused_is_still_accounted(
    gateway: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """Three items' worth of refusals shared a run: their parts are the platform's loss, the sum is the run's."""
    others = await crowded(gateway, engines, "good day")
    for _ in range(3):
        with pytest.raises(Overloaded, match="52 of 64 places are taken and 20 are needed"):
            await asks(gateway, "good day", *MANY)
    engines.release(1_000)
    answers = await asyncio.gather(*others)

    await until(lambda: len(lines(tmp_path)) == 6)
    errors = [line for line in lines(tmp_path) if line["outcome"] == "error"]
    assert [("miss", 1), ("off", 32), ("off", 20)] == [(each.cache, each.outputs[0].size) for each in answers]
    assert [False] * 3 == [line["charged"] for line in errors]
    assert all(line["cpu_ns"] > 0 for line in errors)
    assert gateway.batcher.spans_cpu_ns == sum(line["cpu_ns"] for line in lines(tmp_path))


async def test_who_was_refused_keeps_nothing_in_the_queue(gateway: Gateway, engines: HeldEngines) -> None:
    """The one who asked first leaves: nobody waits for the item any more, and it never runs."""
    others = await crowded(gateway, engines, "nothing")
    leader = asks(gateway, "good day")
    await until(lambda: gateway.batcher.queued == 53)
    with pytest.raises(Overloaded):
        await asks(gateway, "good day", *MANY)

    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)

    assert 52 == gateway.batcher.queued
    engines.release(1_000)
    await asyncio.gather(*others)


class WideEngine(HeldEngine):
    """Its output is as wide as its longest row."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """Zeros."""
        _, span = super().run(batch)
        return {"logits": np.zeros((len(batch.rows), max(map(len, batch.rows))), np.float32)}, span


class WideEngines(HeldEngines):
    """One such engine per variant."""

    def __call__(self, manifest: Manifest, variant: Variant) -> Engine:
        """The variant's."""
        self.by_variant[variant.name] = WideEngine(variant.name)
        return self.by_variant[variant.name]


@pytest.fixture
async def wide(config: Config, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A running gateway of the tiny model on such engines."""
    async with at_work(a_gateway(config, models_of(config, WideEngines()), tmp_path, CLOCK)) as running:
        yield running


async def test_outputs_that_do_not_fit_together_are_an_error_that_is_accounted(wide: Gateway, tmp_path: Path) -> None:
    """Two items of different buckets ran: the message says what differs, the ledger has both runs."""
    with pytest.raises(InferenceFailed, match=r"'logits' has another shape .*\[1\] and \[9\].* one by one"):
        await asks(wide, "good", "good day bad good day bad good day bad", hints=FRESH)

    await until(lambda: len(lines(tmp_path)) == 1)
    (line,) = lines(tmp_path)
    assert ("error", False, wide.batcher.spans_cpu_ns) == (line["outcome"], line["charged"], line["cpu_ns"])
    assert line["cpu_ns"] > 0
