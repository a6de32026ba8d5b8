"""Five hundred requests that are given up at random moments: nothing stays taken, and nothing runs for nobody."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import httpx
import pytest

from greenserve.carbon.budgets import Budget
from greenserve.config import Config
from greenserve.loadtest.grpc_client import METHOD
from greenserve.proto.inference_pb2 import ModelInferRequest
from greenserve.records import Tenant
from greenserve.serve.replica import GatewayReplica, spool_folder
from tests.faults.counting import CountingEngines, a_counting_replica, an_echo_config, tenancy_of
from tests.faults.echoes import write_echo
from tests.faults.echoing import post, question
from tests.faults.replicas import until
from tests.gateway_process import HOST
from tests.serve.building import spooled
from tests.serve.building import until as came_true
from tests.serve.listening import Wire

TIMES = 500
AT_ONCE = 20
PLACES = 24
BATCH_S = 0.01
SEED = 20_260_103
PATH = "/v2/models/slow/infer"
BUDGET = Budget(budget_id="hasty.j.day", tenant="hasty", unit="J", limit=20_000_000, per="day", mode="enforce")
"""20 J: far more than all that runs here, less than five hundred reservations that were never given back."""
PATIENT = Tenant(tenant_id="hasty", name="Hasty", concurrency=PLACES)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A model of 10 ms per batch, and a tenant with a few places and a budget."""
    folder = tmp_path_factory.mktemp("cancelled")
    manifest = write_echo(folder / "slow", "slow", batch_s=BATCH_S, max_batch=4)
    tenancy = {"auth": "required", "defaults": {"rate": "100000/s", "burst": 100_000}}
    return an_echo_config({"slow": manifest}, folder, tenancy=tenancy)


@pytest.fixture(scope="module")
def key(config: Config) -> str:
    """The tenant's."""
    with tenancy_of(config) as store:
        store.create_tenant(PATIENT)
        store.set_budget(BUDGET)
        return str(store.create_key("hasty")[0])


@pytest.fixture(scope="module")
def engines() -> CountingEngines:
    """They know what ran."""
    return CountingEngines()


@pytest.fixture(scope="module")
def replica(
    config: Config, key: str, engines: CountingEngines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayReplica]:
    """One replica, so that every count is the whole."""
    with a_counting_replica(config, engines, tmp_path_factory.mktemp("run")) as running:
        yield running


def message(number: int) -> ModelInferRequest:
    """A gRPC request of one item."""
    request = ModelInferRequest(model_name="slow")
    tensor = request.inputs.add(name="x", datatype="INT64", shape=[1, 2])
    tensor.contents.int64_contents.extend([number, 0])
    return request


async def many(leave: Callable[[int], Awaitable[None]]) -> None:
    """Five hundred times, some at once."""
    for start in range(1, TIMES + 1, AT_ONCE):
        await asyncio.gather(*(leave(number) for number in range(start, start + AT_ONCE)))


async def give_up_http(config: Config, key: str) -> None:
    """Close the socket after a random time, half of them while the body is still under way."""
    chance = random.Random(SEED)

    async def leave(number: int) -> None:
        wire = Wire(*await asyncio.open_connection(HOST, config.server.http.port))
        whole = post(PATH, question(number, 0), {"authorization": f"Bearer {key}"})
        wire.writer.write(whole if number % 4 else whole[: chance.randrange(len(whole))])
        with suppress(TimeoutError):
            await asyncio.wait_for(wire.reader.read(1), chance.uniform(0, 4 * BATCH_S))
        if number % 2:
            wire.writer.transport.abort()
        await wire.close()

    await many(leave)


async def give_up_grpc(config: Config, key: str) -> None:
    """Cancel the call after a random time."""
    chance = random.Random(SEED)
    async with grpc.aio.insecure_channel(f"{HOST}:{config.server.grpc.port}") as channel:
        call = channel.unary_unary(METHOD, request_serializer=ModelInferRequest.SerializeToString)

        async def leave(number: int) -> None:
            asked: Any = call(message(TIMES + number), metadata=(("authorization", f"Bearer {key}"),))
            await asyncio.wait([asyncio.ensure_future(asked.code())], timeout=chance.uniform(0, 4 * BATCH_S))
            asked.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await asked

        await many(leave)


def lines_of(config: Config) -> list[dict[str, Any]]:
    """What the replica wrote for the ledger."""
    return [json.loads(body) for body in spooled(spool_folder(config.ledger.path))]


@pytest.mark.parametrize("give_up", [give_up_http, give_up_grpc], ids=["http", "grpc"])
async def test_requests_that_are_given_up_leave_nothing_taken(
    give_up: Callable[[Config, str], Awaitable[None]],
    config: Config,
    key: str,
    replica: GatewayReplica,
    engines: CountingEngines,
) -> None:
    """Afterwards there is no task, row or connection of theirs, all places and the whole budget are free again, and
    every row that ran for somebody who had left has its line."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=f"http://{HOST}:{config.server.http.port}", headers=headers, trust_env=False, timeout=20.0
    ) as client:
        assert 200 == (await client.post(PATH, json=question(0, 0))).status_code
        await until(replica, queued=0, http_connections=1)
        tasks, ran, lines = int(replica.state()["tasks"]), len(engines.numbers("slow")), len(lines_of(config))

        await give_up(config, key)

        await until(replica, queued=0, http_connections=1, tasks=tasks)
        await came_true(lambda: len(engines.numbers("slow")) - ran == len(lines_of(config)) - lines)
        assert 0 < len(lines_of(config)) - lines < TIMES
        asked = [client.post(PATH, json=question(0, 0)) for _ in range(PLACES)]
        told = await asyncio.gather(*asked)
        assert [200] * PLACES == [one.status_code for one in told], told[-1].text
        replica.check()


async def test_each_place_that_is_taken_counts(config: Config, key: str, replica: GatewayReplica) -> None:
    """The limit that the other tests lean on holds: one more than its places at once, and somebody is refused."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=f"http://{HOST}:{config.server.http.port}", headers=headers, trust_env=False, timeout=20.0
    ) as client:
        told = await asyncio.gather(*(client.post(PATH, json=question(0, 0)) for _ in range(3 * PLACES)))

    assert {200: PLACES} != {one.status_code: PLACES for one in told}
    assert "rate-limited" in {one.json().get("code") for one in told}
    await until(replica, queued=0)


async def test_five_hundred_leaked_reservations_would_have_been_seen(config: Config, replica: GatewayReplica) -> None:
    """What is set aside for one request, so many times, is more than the whole budget."""
    reserved_uj = max(int(line["reserved"]) for line in lines_of(config))

    assert reserved_uj * TIMES > BUDGET.limit
