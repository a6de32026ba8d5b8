"""The path of a request in one process: coalescing, clients that leave, and what the ledger gets of it."""

import asyncio
from pathlib import Path

import orjson
import pytest

from greenserve.clock import SystemClock
from greenserve.errors import InferenceFailed, LedgerUnavailable, ModelUnknown
from greenserve.records import Hints
from greenserve.serve.call import Answer
from greenserve.serve.gateway import Gateway
from greenserve.serve.tensors import Tensor
from tests.serve.building import HeldEngines, RememberingCache, a_call, spooled, until

CLOCK = SystemClock()
FRESH = Hints(no_store=True)


def lines(folder: Path) -> list[dict[str, object]]:
    """The ledger lines that the gateway has made durable."""
    return [orjson.loads(body) for body in spooled(folder / "spool")]


def asks(gateway: Gateway, *texts: str, **changes: object) -> "asyncio.Task[Answer]":
    """Start a call."""
    return asyncio.create_task(gateway.handle(a_call(*texts, clock=CLOCK, **changes)))


def shown(tensor: Tensor) -> object:
    """A tensor's content, to compare."""
    return tensor.data if isinstance(tensor.data, tuple) else tensor.data.tolist()


async def test_items_are_looked_up_one_by_one(gateway: Gateway, engines: HeldEngines) -> None:
    """Of three texts one is stored, two are the same: one runs, and the answer keeps their order."""
    (stored,) = (await gateway.handle(a_call("bad", clock=CLOCK))).outputs[1:]
    answer = await gateway.handle(a_call("word99x", "bad", "word99x", clock=CLOCK))
    again = await gateway.handle(a_call("word99x", "bad", "word99x", clock=CLOCK))

    assert ("miss", "hit") == (answer.cache, again.cache)
    assert [1, 1] == [len(batch.rows) for batch in engines.batches]
    rows = answer.outputs[1].data
    assert not isinstance(rows, tuple)
    assert not isinstance(stored.data, tuple)
    assert rows[1].tolist() == stored.data[0].tolist()
    assert rows[0].tolist() == rows[2].tolist() != rows[1].tolist()
    assert [shown(tensor) for tensor in answer.outputs] == [shown(tensor) for tensor in again.outputs]


async def test_an_answer_is_recorded_before_it_leaves(gateway: Gateway, tmp_path: Path) -> None:
    """The line is on disk when `handle` returns, with the answer's own figures."""
    answer = await gateway.handle(a_call("good day", "bad", clock=CLOCK, client_id="mine"))

    (line,) = lines(tmp_path)
    assert (answer.request_id, "anonymous", "ok", 2) == (
        line["request_id"], line["tenant"], line["outcome"], line["rows"],
    )  # fmt: skip
    assert answer.usage.active_uj == line["active_uj"]
    assert answer.emissions_ng == line["loc_lifecycle_ng"]
    assert (2, "mine") == (answer.outputs[0].size, answer.client_id)
    assert [stage for stage, _ in answer.times_ns] == [
        "received",
        "accept",
        "admit",
        "cache",
        "route",
        "queue",
        "model",
        "record",
    ]


async def test_a_hundred_identical_questions_run_once(gateway: Gateway, engines: HeldEngines, tmp_path: Path) -> None:
    """All are answered and recorded, one execution is shared, and its energy is counted once."""
    engines.hold()
    calls = [asks(gateway, "good day") for _ in range(100)]
    await until(lambda: len(engines.batches) == 1)
    engines.release(1_000)

    answers = await asyncio.gather(*calls)

    assert 1 == sum(len(batch.rows) for batch in engines.batches)
    assert {"miss": 1, "joined": 99} == {
        result: [answer.cache for answer in answers].count(result) for result in ("miss", "joined")
    }
    recorded = lines(tmp_path)
    assert 100 == len({line["request_id"] for line in recorded})
    assert gateway.batcher.spans_cpu_ns == sum(int(str(line["cpu_ns"])) for line in recorded)


async def test_what_was_answered_once_comes_from_the_cache(gateway: Gateway, engines: HeldEngines) -> None:
    """No second run; a hit uses no engine, and is priced at the grid of now."""
    first = await gateway.handle(a_call(clock=CLOCK))
    second = await gateway.handle(a_call(clock=CLOCK))

    assert ("miss", "hit", 1) == (first.cache, second.cache, len(engines.batches))
    assert [shown(tensor) for tensor in first.outputs] == [shown(tensor) for tensor in second.outputs]
    assert (0, 0, "cache") == (second.usage.active_uj, second.usage.held_uj, second.decision.reason)
    assert second.usage.host_uj > 0


async def test_a_leader_that_leaves_hands_its_flight_over(
    gateway: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """The one who joined is answered by the same run; both shares are recorded, the leader's as cancelled."""
    engines.hold()
    blocker = asks(gateway, "nothing", hints=FRESH)
    await until(lambda: len(engines.batches) == 1)
    leader = asks(gateway, "good day")
    await until(lambda: gateway.batcher.queued == 1)
    joined = asks(gateway, "good day")
    await asyncio.sleep(0)
    leader.cancel()
    engines.release(9)

    answer = await joined
    await blocker
    await until(lambda: len(lines(tmp_path)) == 3)

    assert ("joined", 2) == (answer.cache, len(engines.batches))
    assert leader.cancelled()
    assert ["cancelled", "ok", "ok"] == sorted(str(line["outcome"]) for line in lines(tmp_path))
    assert gateway.batcher.spans_cpu_ns == sum(int(str(line["cpu_ns"])) for line in lines(tmp_path))


async def test_a_client_that_leaves_while_its_batch_runs_is_still_accounted(
    gateway: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """Its energy was used: a line with outcome `cancelled`, and the next caller is answered."""
    engines.hold()
    leaves = asks(gateway, "good day", hints=FRESH)
    await until(lambda: len(engines.batches) == 1)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    engines.release(9)
    answer = await gateway.handle(a_call("bad", clock=CLOCK, hints=FRESH))

    await until(lambda: len(lines(tmp_path)) == 2)

    outcomes = {line["request_id"]: line["outcome"] for line in lines(tmp_path)}
    assert "ok" == outcomes.pop(answer.request_id)
    assert ["cancelled"] == list(outcomes.values())


async def test_a_client_that_leaves_the_queue_costs_nothing(
    gateway: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """It never ran: no line, and nobody who asks the same afterwards waits for a run that will not come."""
    engines.hold()
    blocker = asks(gateway, "nothing", hints=FRESH)
    await until(lambda: len(engines.batches) == 1)
    leaves = asks(gateway, "good day")
    await until(lambda: gateway.batcher.queued == 1)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    again = asks(gateway, "good day")
    engines.release(9)

    answer = await again
    await blocker

    assert "miss" == answer.cache
    assert ["ok", "ok"] == [line["outcome"] for line in lines(tmp_path)]


async def test_no_store_neither_reads_nor_leaves_an_answer(gateway: Gateway, engines: HeldEngines) -> None:
    """Each such call runs; a later one that allows the cache finds nothing of it."""
    caches = [(await gateway.handle(a_call(clock=CLOCK, hints=hints))).cache for hints in (FRESH, FRESH, Hints())]

    assert ["off", "off", "miss"] == caches
    assert 3 == len(engines.batches)


async def test_a_model_that_fails_is_an_error_that_names_the_item(gateway: Gateway, tmp_path: Path) -> None:
    """The poisoned item is not stored; what ran beside it is, and its cost is the platform's, not the tenant's."""
    for _ in range(2):
        with pytest.raises(InferenceFailed, match=r"\[1\]"):
            await gateway.handle(a_call("good", "word99", clock=CLOCK))

    await until(lambda: len(lines(tmp_path)) == 1)
    assert "hit" == (await gateway.handle(a_call("good", clock=CLOCK))).cache
    assert [("error", False), ("ok", True)] == [(line["outcome"], line["charged"]) for line in lines(tmp_path)]


async def test_no_answer_leaves_without_its_record(gateway: Gateway, tmp_path: Path) -> None:
    """While the spool cannot be written every call ends with `ledger-unavailable`; afterwards all is well."""
    spool = tmp_path / "spool"
    spool.rmdir()
    spool.write_text("in the way")

    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="no answer leaves without it") as refused:
            await gateway.handle(a_call("good", clock=CLOCK))
        assert 1 == refused.value.retry_after_s
    spool.unlink()
    spool.mkdir()
    answer = await gateway.handle(a_call("good", clock=CLOCK))

    assert [answer.request_id] == [line["request_id"] for line in lines(tmp_path)]


async def test_an_unknown_model_is_refused_with_those_that_are_served(gateway: Gateway) -> None:
    """Name and version are checked."""
    with pytest.raises(ModelUnknown, match=r"'nobody'.*tiny"):
        await gateway.handle(a_call(clock=CLOCK, model="nobody"))
    with pytest.raises(ModelUnknown, match="version 1 here, not '2'"):
        await gateway.handle(a_call(clock=CLOCK, version="2"))


async def test_a_client_that_leaves_in_the_instant_its_run_lands_is_still_accounted(
    gateway: Gateway, engines: HeldEngines, tmp_path: Path
) -> None:
    """Its future is set and its task cancelled before it wakes: the run was made, so there is a line."""
    gateway.cache.close()
    gateway.cache = cache = RememberingCache(gateway.models)
    engines.hold()
    leaves = asks(gateway, "good day")
    await until(lambda: len(engines.batches) == 1)
    landed = cache.flights[-1].on_landed
    assert landed is not None
    cache.flights[-1].on_landed = lambda result: (landed(result), leaves.cancel())[0]

    engines.release(9)
    await asyncio.gather(leaves, return_exceptions=True)
    await until(lambda: len(lines(tmp_path)) == 1)

    assert leaves.cancelled()
    assert ["cancelled"] == [line["outcome"] for line in lines(tmp_path)]
