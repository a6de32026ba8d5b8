"""The second tier of answers against a real Redis: there, away, slow, poisoned."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.ports import CachedAnswer
from greenserve.serve.cache import AnswerCache
from greenserve.serve.gateway import Gateway
from greenserve.serve.models import Models
from greenserve.serve.shared_cache import FAILURES, PREFIX, SharedAnswers
from tests.serve.building import HeldEngines, a_call, a_decision, a_gateway, until
from tests.serve.lifecycle import at_work
from tests.serve.redis_serving import Proxy, client_of, proxy_before, redis_server

pytestmark = pytest.mark.redis
SECRET, KEY = b"s" * 32, b"k" * 32
CLOCK = SystemClock()
BUDGET_S = 0.1
"""Tests run on loaded machines: what the budget is matters only where it is measured."""


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    pytest.importorskip("redis", reason="no redis client; install it with `pip install 'greenserve[redis]'`")


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A redis-server's socket."""
    with redis_server() as path:
        yield path


@pytest.fixture
async def proxy(server: Path) -> AsyncIterator[Proxy]:
    """A proxy before the emptied server."""
    async with client_of(server) as client:
        await client.flushall()
    async with proxy_before(server) as running:
        yield running


@pytest.fixture
async def shared(proxy: Proxy) -> AsyncIterator[SharedAnswers]:
    """A started tier that is up."""
    tier = a_tier(proxy)
    tier.start()
    await until(lambda: tier.up)
    yield tier
    await tier.close()


def a_tier(proxy: Proxy, *, secret: bytes = SECRET, timeout_s: float = BUDGET_S) -> SharedAnswers:
    """A tier through the proxy; it is not started."""
    return SharedAnswers(url=f"unix://{proxy.path}", secret=secret, timeout_s=timeout_s, retry_s=0.02)


def an_answer(value: float = 0.5, variant: str = "fp32") -> CachedAnswer:
    """An answer of one output."""
    outputs = {"y": np.full((1, 3), value, dtype=np.float32)}
    return CachedAnswer(outputs=outputs, decision=a_decision(variant=variant, energy_j=0.25), variant_digest="d")


async def written(tier: SharedAnswers, key: bytes = KEY, answer: CachedAnswer | None = None) -> None:
    """Put, and wait until it is in Redis."""
    before = tier.counts().written
    tier.put(key, answer or an_answer(), 60.0)
    await until(lambda: tier.counts().written > before)


async def test_what_one_gateway_puts_another_finds(shared: SharedAnswers, proxy: Proxy) -> None:
    """With all that a hit needs, for as long as it may live."""
    other = a_tier(proxy)
    other.start()
    await until(lambda: other.up)
    await written(shared)

    found = await other.lookup([b"x" * 32, KEY])

    assert [KEY] == list(found)
    answer, left_s = found[KEY]
    assert [[0.5, 0.5, 0.5]] == answer.outputs["y"].tolist()
    assert (0.25, "d") == (answer.decision.energy_j, answer.variant_digest)
    assert 50.0 < left_s <= 60.0
    async with client_of(proxy.path) as client:
        assert 50_000 < await client.pttl(PREFIX + KEY) <= 60_000
    await other.close()


async def test_lookups_at_the_same_time_each_get_their_own(shared: SharedAnswers) -> None:
    """They travel together."""
    for number in range(20):
        await written(shared, number.to_bytes(32), an_answer(float(number)))

    found = await asyncio.gather(*(shared.lookup([number.to_bytes(32)]) for number in range(40)))

    assert [1] * 20 + [0] * 20 == [len(each) for each in found]
    assert [float(number) for number in range(20)] == [
        float(each[number.to_bytes(32)][0].outputs["y"][0, 0]) for number, each in enumerate(found[:20])
    ]


async def test_without_a_redis_nothing_is_found_and_nothing_waits(proxy: Proxy) -> None:
    """From the start: no lookup is sent, no answer kept for later."""
    await proxy.cut()
    tier = a_tier(proxy)
    tier.start()
    started_s = time.monotonic()

    for _ in range(100):
        assert {} == await tier.lookup([KEY])
    tier.put(KEY, an_answer(), 60.0)

    assert time.monotonic() - started_s < BUDGET_S
    assert (False, 0, 1) == (tier.counts().up, tier.counts().asked, tier.counts().dropped)
    await tier.close()


async def test_a_redis_that_dies_is_left_alone_and_found_again(shared: SharedAnswers, proxy: Proxy) -> None:
    """Lookups find nothing and raise nothing; once it is back they find what is there."""
    await written(shared)
    await proxy.cut()
    found = [await shared.lookup([KEY]) for _ in range(3 * FAILURES)]
    down = shared.up
    asked = shared.counts().asked

    await proxy.mend()
    await until(lambda: shared.up)

    assert [{}] * 3 * FAILURES == found
    assert (False, True) == (down, asked <= 1 + FAILURES)
    assert [KEY] == list(await shared.lookup([KEY]))


async def test_a_slow_redis_costs_each_lookup_its_budget_and_soon_nothing(proxy: Proxy) -> None:
    """Two milliseconds, and a little for this machine; after a few of them the circuit is open."""
    tier = a_tier(proxy, timeout_s=0.002)
    tier.start()
    for _ in range(20):
        await until(lambda: tier.up)
        proxy.delay_s = 0.2
        took_s: list[float] = []
        while tier.up and len(took_s) < 200:
            started_s = time.perf_counter()
            assert {} == await tier.lookup([KEY])
            took_s.append(time.perf_counter() - started_s)
        proxy.delay_s = 0.0
        if sorted(took_s)[len(took_s) // 2] < 0.004:
            break

    assert sorted(took_s)[len(took_s) // 2] < 0.004
    assert (True, True) == (len(took_s) < 200, tier.counts().late > 0)
    await tier.close()


async def test_a_redis_that_answers_late_stays_down(proxy: Proxy) -> None:
    """It is up once a round trip takes less than the budget, which is tried outside any request."""
    proxy.delay_s = 0.05
    tier = a_tier(proxy, timeout_s=0.02)
    tier.start()
    await until(lambda: proxy.replies >= 10)
    assert {} == await tier.lookup([KEY])
    slow = (tier.up, tier.counts().asked)

    proxy.delay_s = 0.0
    await until(lambda: tier.up)

    assert (False, 0) == slow
    await tier.close()


async def test_answers_past_the_budget_count_as_failures(proxy: Proxy) -> None:
    """Also where they come before the connection is given up: what is always late is of no use."""
    tier = a_tier(proxy, timeout_s=0.02)
    tier.start()
    await until(lambda: tier.up)
    proxy.delay_s = 0.05

    for _ in range(100):
        assert {} == await tier.lookup([KEY])

    assert (False, FAILURES) == (tier.up, tier.counts().failures)
    await tier.close()


@pytest.mark.parametrize("poison", [b"", b"\0" * 31, b"\x80\x04cos\nsystem\n", b"x" * 500])
async def test_poison_is_ignored_and_counted(poison: bytes, shared: SharedAnswers, proxy: Proxy) -> None:
    """Whoever may write to Redis can take answers away, and not give wrong ones."""
    async with client_of(proxy.path) as client:
        await client.set(PREFIX + KEY, poison)

    found = await shared.lookup([KEY])

    assert ({}, 1, True) == (found, shared.counts().refused, shared.up)


async def test_answers_of_another_deployment_and_of_other_keys_are_ignored(shared: SharedAnswers, proxy: Proxy) -> None:
    """The first has another secret; the second is copied by somebody who can read and write Redis."""
    stranger = a_tier(proxy, secret=b"x" * 32)
    stranger.start()
    await until(lambda: stranger.up)
    await written(stranger)
    await written(shared, b"o" * 32)
    async with client_of(proxy.path) as client:
        await client.execute_command("COPY", PREFIX + b"o" * 32, PREFIX + b"p" * 32)

    found = await shared.lookup([KEY, b"o" * 32, b"p" * 32])

    assert ([b"o" * 32], 2) == (list(found), shared.counts().refused)
    await stranger.close()


async def test_a_value_of_another_kind_is_an_error_of_redis_and_no_more(shared: SharedAnswers, proxy: Proxy) -> None:
    """A list under the key: MGET says it is not there."""
    async with client_of(proxy.path) as client:
        await client.delete(PREFIX + KEY)
        await client.rpush(PREFIX + KEY, "a", "b")

    assert {} == await shared.lookup([KEY])


async def test_a_lookup_that_is_cancelled_leaves_the_others_theirs(shared: SharedAnswers, proxy: Proxy) -> None:
    """A client leaves while its keys travel together with those of others."""
    await written(shared)
    proxy.delay_s = 0.02
    leaves, stays = (asyncio.create_task(shared.lookup([KEY])) for _ in range(2))
    await asyncio.sleep(0)

    leaves.cancel()

    assert [KEY] == list(await stays)
    assert leaves.cancelled() or leaves.cancelling()


async def test_a_tier_that_is_closed_ends_those_who_wait(proxy: Proxy) -> None:
    """Draining does not hang on Redis."""
    tier = a_tier(proxy, timeout_s=30.0)
    tier.start()
    await until(lambda: tier.up)
    proxy.delay_s = 30.0
    asked = asyncio.create_task(tier.lookup([KEY]))
    await until(lambda: tier.counts().asked == 1)
    queued = asyncio.create_task(tier.lookup([KEY]))
    await asyncio.sleep(0)

    await tier.close()

    assert [{}, {}] == [await asyncio.wait_for(each, 5.0) for each in (asked, queued)]


async def with_tier(gateway: Gateway, models: Models, tier: SharedAnswers) -> None:
    """Give a gateway a cache with a second tier."""
    gateway.cache.close()
    gateway.cache = AnswerCache(list(models), secret=SECRET, shared=tier)


@pytest.fixture
async def other(config: Config, engines: HeldEngines, models: Models, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A second gateway with the same models."""
    async with at_work(a_gateway(config, models, tmp_path / "other", CLOCK), engines) as running:
        yield running


async def test_a_gateway_answers_from_what_another_has_run(
    gateway: Gateway, other: Gateway, models: Models, engines: HeldEngines, shared: SharedAnswers, proxy: Proxy
) -> None:
    """A hit there too, and from its own memory the next time."""
    second = a_tier(proxy)
    second.start()
    await until(lambda: second.up)
    await with_tier(gateway, models, shared)
    await with_tier(other, models, second)
    first = await gateway.handle(a_call("good", "bad", clock=CLOCK))
    await until(lambda: shared.counts().written == 2)
    ran = len(engines.batches)

    answers = [await other.handle(a_call("good", "bad", clock=CLOCK)) for _ in range(2)]

    assert ("miss", ["hit", "hit"]) == (first.cache, [answer.cache for answer in answers])
    assert (ran, 2, 2) == (len(engines.batches), second.counts().found, second.counts().asked)
    assert [first.outputs[0].data] * 2 == [answer.outputs[0].data for answer in answers]
    await second.close()


async def test_identical_requests_at_once_still_run_once(
    gateway: Gateway, models: Models, engines: HeldEngines, shared: SharedAnswers
) -> None:
    """While one of them waited for Redis, another took off: it is joined."""
    await with_tier(gateway, models, shared)

    answers = await asyncio.gather(*(gateway.handle(a_call("good", clock=CLOCK)) for _ in range(30)))

    assert 1 == sum(len(batch.rows) for batch in engines.batches)
    assert {"miss", "joined", "hit"} >= {answer.cache for answer in answers}
    assert 1 == [answer.cache for answer in answers].count("miss")


async def test_an_item_in_flight_is_not_looked_up(
    gateway: Gateway, models: Models, engines: HeldEngines, shared: SharedAnswers
) -> None:
    """Its answer cannot be there yet, and who joins should not wait for Redis."""
    await with_tier(gateway, models, shared)
    engines.hold()
    first = asyncio.create_task(gateway.handle(a_call("good", clock=CLOCK)))
    await until(lambda: len(engines.batches) == 1)

    second = asyncio.create_task(gateway.handle(a_call("good", clock=CLOCK)))
    await asyncio.sleep(0.02)
    engines.release(9)

    assert ["miss", "joined"] == [(await each).cache for each in (first, second)]
    assert 1 == shared.counts().asked


async def test_a_client_that_leaves_while_redis_is_asked_leaves_nothing(
    gateway: Gateway, models: Models, engines: HeldEngines, proxy: Proxy
) -> None:
    """Nothing was started for it yet, so nothing runs and nothing is owed."""
    tier = a_tier(proxy, timeout_s=30.0)
    tier.start()
    await until(lambda: tier.up)
    await with_tier(gateway, models, tier)
    proxy.delay_s = 30.0
    leaves = asyncio.create_task(gateway.handle(a_call("good", clock=CLOCK)))
    await until(lambda: tier.counts().asked == 1)

    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)

    assert leaves.cancelled()
    assert ([], 0) == (engines.batches, gateway.batcher.queued)
    await tier.close()


async def test_a_gateway_goes_on_without_its_redis(
    gateway: Gateway, models: Models, shared: SharedAnswers, proxy: Proxy
) -> None:
    """Killed between two requests: no request fails."""
    await with_tier(gateway, models, shared)
    await gateway.handle(a_call("good", clock=CLOCK))
    await proxy.cut()

    answers = [await gateway.handle(a_call("good " * number, clock=CLOCK)) for number in range(2, 14)]

    assert ["miss"] * 12 == [answer.cache for answer in answers]
    assert not shared.up


async def test_answers_that_this_gateway_does_not_serve_are_ignored(
    gateway: Gateway, models: Models, shared: SharedAnswers, proxy: Proxy
) -> None:
    """Another digest, as of a gateway whose manifest is newer: sealed and right, and not ours."""
    await with_tier(gateway, models, shared)
    first = await gateway.handle(a_call("good", clock=CLOCK))
    await until(lambda: shared.counts().written == 1)
    async with client_of(proxy.path) as client:
        (name,) = await client.keys(PREFIX + b"*")
    await written(shared, bytes(name).removeprefix(PREFIX), an_answer(9.0))
    await with_tier(gateway, models, shared)

    again = await gateway.handle(a_call("good", clock=CLOCK))

    assert ("miss", "miss") == (first.cache, again.cache)
