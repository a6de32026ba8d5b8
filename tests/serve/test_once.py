"""`Idempotency-Key` on a whole gateway: one answer, one line in the ledger, however often and by whichever replica."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.ledger.spool import SpoolWriter, start_ticks_of
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import (
    DeadlineExceeded,
    Draining,
    IdempotencyConflict,
    InferenceFailed,
    InvalidKey,
    NotImplementedHere,
    Overloaded,
    RateLimited,
)
from greenserve.records import Hints
from greenserve.sections import TenantDefaults
from greenserve.serve.admission import Admission
from greenserve.serve.gateway import Gateway
from greenserve.serve.kept import KeptAnswers, Wanted
from greenserve.serve.models import Models
from greenserve.serve.once import Once
from tests.serve.building import HeldEngines, a_call, a_gateway, spooled, until
from tests.serve.conftest import POISON
from tests.serve.lifecycle import at_work

CLOCK = SystemClock()
KEY: dict[str, Any] = {"idempotency_key": "order-1"}
OWNER = f"{os.getpid()}:{start_ticks_of(os.getpid())}"


def once_for(gateway: Gateway, folder: Path, name: str, **room: int) -> tuple[Once, list[str]]:
    """Idempotency for a gateway, and what it counts."""
    counted: list[str] = []
    kept = KeptAnswers(folder / "kept.db", owner=f"{OWNER}:{name}", now_ns=CLOCK.monotonic_ns, **room)
    return Once(kept, admission=gateway.admission, clock=CLOCK, counted=counted.append), counted


@pytest.fixture
async def keyed(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A running gateway that keeps answers by key."""
    gateway.once, _ = once_for(gateway, tmp_path, "first")
    yield gateway
    await gateway.once.close()


@pytest.fixture
async def twin(config: Config, models: Models, engines: HeldEngines, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Another replica of the same node."""
    running = a_gateway(config, models, tmp_path, CLOCK, spool=SpoolWriter(tmp_path / "spool", "twin"))
    running.once, _ = once_for(running, tmp_path, "second")
    async with at_work(running, engines):
        yield running
        engines.release(1_000)
        await running.once.close()


async def test_the_second_call_gets_the_first_ones_answer(keyed: Gateway, tmp_path: Path) -> None:
    """The same id, outputs and figures, said to be replayed; one line in the ledger. The caller's own id is its own."""
    first = await keyed.handle(a_call("good day", clock=CLOCK, client_id="a", **KEY))
    second = await keyed.handle(a_call("good day", clock=CLOCK, client_id="b", protocol="grpc", **KEY))

    assert (first.request_id, False, True) == (second.request_id, first.replayed, second.replayed)
    assert ("a", "b") == (first.client_id, second.client_id)
    assert (first.usage, first.emissions_ng) == (second.usage, second.emissions_ng)
    assert first.outputs[0].data == second.outputs[0].data
    assert 1 == len(spooled(tmp_path / "spool"))


async def test_another_replica_gives_the_kept_answer(keyed: Gateway, twin: Gateway, tmp_path: Path) -> None:
    """A client that connects again may reach any of them."""
    first = await keyed.handle(a_call("good day", clock=CLOCK, **KEY))
    second = await twin.handle(a_call("good day", clock=CLOCK, **KEY))

    assert (first.request_id, True) == (second.request_id, second.replayed)
    assert 1 == len(spooled(tmp_path / "spool"))


async def test_twins_in_flight_wait_for_one_answer(
    keyed: Gateway, twin: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """On the same replica and on another one: one run, one line, the same id for all."""
    engines.hold()
    calls = [
        asyncio.create_task(one.handle(a_call("good day", clock=CLOCK, hints=Hints(no_store=True), **KEY)))
        for one in (keyed, keyed, twin)
    ]
    await until(lambda: len(engines.batches) == 1)
    engines.release(9)

    answers = await asyncio.gather(*calls)

    assert 1 == len({answer.request_id for answer in answers})
    assert 1 == sum(not answer.replayed for answer in answers)
    assert (1, 1) == (len(engines.batches), len(spooled(tmp_path / "spool")))


async def test_another_body_is_a_conflict(keyed: Gateway, twin: Gateway, engines: HeldEngines, tmp_path: Path) -> None:
    """While the first is under way and after its answer, on every replica; nothing is run."""
    engines.hold()
    first = asyncio.create_task(keyed.handle(a_call("good day", clock=CLOCK, **KEY)))
    await until(lambda: len(engines.batches) == 1)
    for one in (keyed, twin):
        with pytest.raises(IdempotencyConflict, match="stands for another request"):
            await one.handle(a_call("bad day", clock=CLOCK, **KEY))
    engines.release(9)
    await first

    with pytest.raises(IdempotencyConflict):
        await twin.handle(a_call("bad day", clock=CLOCK, **KEY))

    assert (1, 1) == (len(engines.batches), len(spooled(tmp_path / "spool")))


async def test_a_client_that_leaves_finds_its_answer_when_it_comes_again(
    keyed: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """The work goes on without it: one run, one line with outcome ok, not a cancelled and an answered one."""
    engines.hold()
    left = asyncio.create_task(keyed.handle(a_call("good day", clock=CLOCK, **KEY)))
    await until(lambda: len(engines.batches) == 1)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    engines.release(9)

    answer = await keyed.handle(a_call("good day", clock=CLOCK, **KEY))

    (line,) = spooled(tmp_path / "spool")
    assert answer.replayed
    assert answer.request_id.encode() in line
    assert b'"outcome":"ok"' in line


async def test_what_failed_may_be_tried_again_under_its_key(keyed: Gateway, twin: Gateway) -> None:
    """Only answers are kept; the key is free at once, for another content too."""
    poisoned = {"inputs": (), "token_rows": ((POISON, 0),)}
    with pytest.raises(InferenceFailed):
        await keyed.handle(a_call(clock=CLOCK, **poisoned, **KEY))

    answer = await twin.handle(a_call("good day", clock=CLOCK, **KEY))

    assert not answer.replayed


async def test_who_waits_has_its_own_deadline(keyed: Gateway, twin: Gateway, engines: HeldEngines) -> None:
    """Nobody waits longer than it asked for, and the one who is patient is not cut short by who is not."""
    engines.hold()
    brief = asyncio.create_task(keyed.handle(a_call("good day", clock=CLOCK, timeout_s=0.3, **KEY)))
    await until(lambda: len(engines.batches) == 1)
    patient = asyncio.create_task(keyed.handle(a_call("good day", clock=CLOCK, timeout_s=9.0, **KEY)))
    for one in (keyed, twin):
        with pytest.raises(DeadlineExceeded):
            await one.handle(a_call("good day", clock=CLOCK, timeout_s=0.05, **KEY))
    with pytest.raises(DeadlineExceeded):
        await brief
    engines.release(1_000)

    assert "tiny" == (await patient).model


async def test_tenants_keys_do_not_meet(config: Config, keyed: Gateway, tmp_path: Path) -> None:
    """A key belongs to its tenant; without a good credential nothing is said about it."""
    await keyed.handle(a_call("good day", clock=CLOCK, **KEY))

    with pytest.raises(InvalidKey):
        await keyed.handle(a_call("good day", clock=CLOCK, credential="gs_none", **KEY))


async def test_an_answer_that_is_given_again_counts_against_the_rate(gateway: Gateway, tmp_path: Path) -> None:
    """Or a kept answer would be a way around it."""
    slow: Any = {"rate": "0.01/s", "burst": 2}
    gateway.admission = Admission(
        auth="anonymous", defaults=TenantDefaults(**slow), replicas=1, timeout_s=10.0, clock=CLOCK
    )
    gateway.once, _ = once_for(gateway, tmp_path, "slow")
    await gateway.handle(a_call("good day", clock=CLOCK, **KEY))
    await gateway.handle(a_call("good day", clock=CLOCK, **KEY))

    with pytest.raises(RateLimited):
        await gateway.handle(a_call("good day", clock=CLOCK, **KEY))

    await gateway.once.close()


async def test_where_no_room_is_left_a_new_key_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """With the time until some is; what is kept stays kept. What was known is counted."""
    gateway.once, counted = once_for(gateway, tmp_path, "small", most_keys=2)
    await gateway.handle(a_call("good day", clock=CLOCK, **KEY))

    with pytest.raises(Overloaded, match="no room is left for idempotency keys") as refused:
        await gateway.handle(a_call("good day", clock=CLOCK, idempotency_key="order-2"))

    assert 590 < (refused.value.retry_after_s or 0) <= 600
    assert (await gateway.handle(a_call("good day", clock=CLOCK, **KEY))).replayed
    with pytest.raises(IdempotencyConflict):
        await gateway.handle(a_call("bad day", clock=CLOCK, **KEY))
    assert ["kept", "conflict"] == counted
    await gateway.once.close()


async def test_what_cannot_be_ended_in_time_is_told_to_come_again(
    keyed: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """A replica that ends lets what is under way end; what does not is given up, and its key is free."""
    once, _ = once_for(keyed, tmp_path, "ending")
    once.closing_s = 0.05
    keyed_once, keyed.once = keyed.once, once
    engines.hold()
    waiting = asyncio.create_task(keyed.handle(a_call("good day", clock=CLOCK, **KEY)))
    await until(lambda: len(engines.batches) == 1)

    await once.close()

    with pytest.raises(Draining, match="same Idempotency-Key"):
        await waiting
    keyed.once = keyed_once
    engines.release(9)
    assert not (await keyed.handle(a_call("good day", clock=CLOCK, **KEY))).replayed


async def test_a_gateway_without_a_store_says_so(gateway: Gateway) -> None:
    """A key that would not be kept is refused, not ignored."""
    with pytest.raises(NotImplementedHere, match="Idempotency-Key"):
        await gateway.handle(a_call("good day", clock=CLOCK, **KEY))


class Reluctant(KeptAnswers):
    """A store that cannot write answers until `mended`."""

    mended = False

    def keep(self, wanted: Wanted, answer: bytes) -> None:
        if not self.mended:
            raise OSError(28, "No space left on device")
        super().keep(wanted, answer)


async def test_an_answer_that_cannot_be_stored_is_given_again_and_stored_once_that_works(
    gateway: Gateway, twin: Gateway, tmp_path: Path
) -> None:
    """From memory here, later from the store on every replica; it is recorded once."""
    kept = Reluctant(tmp_path / "kept.db", owner=f"{OWNER}:first", now_ns=CLOCK.monotonic_ns)
    gateway.once = Once(kept, admission=gateway.admission, clock=CLOCK)
    gateway.once.keep_again_s = 0.01
    first = await gateway.handle(a_call("good day", clock=CLOCK, **KEY))
    again = await gateway.handle(a_call("good day", clock=CLOCK, **KEY))
    with pytest.raises(IdempotencyConflict):
        await gateway.handle(a_call("bad day", clock=CLOCK, **KEY))

    kept.mended = True
    other = await twin.handle(a_call("good day", clock=CLOCK, **KEY))
    await gateway.once.close()

    assert ({first.request_id}, True, True) == ({again.request_id, other.request_id}, again.replayed, other.replayed)
    assert 1 == len(spooled(tmp_path / "spool"))


async def test_conflicts_count_against_the_rate(gateway: Gateway, tmp_path: Path) -> None:
    """A key that is kept for another request is looked up no faster than requests may be sent."""
    slow: Any = {"rate": "0.01/s", "burst": 2}
    gateway.admission = Admission(
        auth="anonymous", defaults=TenantDefaults(**slow), replicas=1, timeout_s=10.0, clock=CLOCK
    )
    gateway.once, _ = once_for(gateway, tmp_path, "slow")
    await gateway.handle(a_call("good day", clock=CLOCK, **KEY))
    with pytest.raises(IdempotencyConflict):
        await gateway.handle(a_call("bad day", clock=CLOCK, **KEY))

    with pytest.raises(RateLimited):
        await gateway.handle(a_call("bad day", clock=CLOCK, **KEY))

    await gateway.once.close()
