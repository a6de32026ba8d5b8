"""Deadlines of 1 to 50 ms, given in each of the three ways: kept, or refused before any engine time is spent."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import grpc
import httpx
import pytest

from greenserve.config import Config
from greenserve.loadtest.grpc_client import METHOD
from greenserve.proto.inference_pb2 import ModelInferRequest
from greenserve.serve.replica import GatewayReplica
from tests.faults.counting import CountingEngines, a_counting_replica, an_echo_config
from tests.faults.echoes import POISON, write_echo
from tests.faults.echoing import question
from tests.faults.replicas import until
from tests.gateway_process import HOST

BATCH_S = 0.01
HANG_S = 1.0
EACH = 100
AT_ONCE = 10
SLACK_S = 0.5
"""What a busy machine may add on both sides of the socket; the gateway's own share is 5 ms."""
SEED = 20_260_104
WAYS = ("hint", "timeout", "grpc")
GRPC_CODES = MappingProxyType({"RESOURCE_EXHAUSTED": "overloaded", "DEADLINE_EXCEEDED": "deadline-exceeded"})
IN_TIME = frozenset({"ok", "deadline-exceeded", "overloaded"})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A model of 10 ms per batch, and one that takes a second where its profile says nothing of it."""
    folder = tmp_path_factory.mktemp("hurried")
    manifests = {
        "slow": write_echo(folder / "slow", "slow", batch_s=BATCH_S, max_batch=4),
        "stuck": write_echo(folder / "stuck", "stuck", hang_on=POISON, hang_s=HANG_S, batch_s=0.001),
    }
    return an_echo_config(manifests, folder)


@pytest.fixture(scope="module")
def engines() -> CountingEngines:
    """They know what ran."""
    return CountingEngines()


@pytest.fixture(scope="module")
def replica(
    config: Config, engines: CountingEngines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayReplica]:
    """One replica."""
    with a_counting_replica(config, engines, tmp_path_factory.mktemp("run")) as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A request's number, its deadline, how it ended, in which words, and after what time [s]."""

    number: int
    deadline_s: float
    code: str
    message: str
    took_s: float


class Hurried:
    """Clients that give a deadline in their own way."""

    def __init__(self, config: Config, model: str) -> None:
        self.model = model
        self._http = httpx.AsyncClient(
            base_url=f"http://{HOST}:{config.server.http.port}", trust_env=False, timeout=20.0
        )
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{config.server.grpc.port}")

    async def close(self) -> None:
        """Leave."""
        await self._http.aclose()
        await self._channel.close()

    async def ask(self, way: str, number: int, deadline_s: float) -> Ended:
        """One request."""
        begun_s = time.perf_counter()
        ways = {"hint": self._hint, "timeout": self._timeout, "grpc": self._grpc}
        code, message = await ways[way](number, deadline_s)
        took_s = time.perf_counter() - begun_s
        return Ended(number=number, deadline_s=deadline_s, code=code, message=message, took_s=took_s)

    async def _hint(self, number: int, deadline_s: float) -> tuple[str, str]:
        headers = {"greenserve-deadline-ms": f"{1e3 * deadline_s:g}"}
        return _code(await self._http.post(self._path, json=question(number, 0), headers=headers))

    async def _timeout(self, number: int, deadline_s: float) -> tuple[str, str]:
        return _code(await self._http.post(self._path, json=question(number, 0, timeout=round(1e6 * deadline_s))))

    async def _grpc(self, number: int, deadline_s: float) -> tuple[str, str]:
        request = ModelInferRequest(model_name=self.model)
        request.inputs.add(name="x", datatype="INT64", shape=[1, 2]).contents.int64_contents.extend([number, 0])
        call = self._channel.unary_unary(METHOD, request_serializer=ModelInferRequest.SerializeToString)
        try:
            await call(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            name = error.code().name
            return GRPC_CODES.get(name, name), error.details() or ""
        return "ok", ""

    @property
    def _path(self) -> str:
        return f"/v2/models/{self.model}/infer"


def _code(response: httpx.Response) -> tuple[str, str]:
    document = response.json()
    return ("ok", "") if response.status_code == 200 else (document["code"], document["error"])


@pytest.mark.parametrize("way", WAYS)
async def test_a_short_deadline_is_kept_or_told_and_what_is_dropped_never_runs(
    way: str, config: Config, replica: GatewayReplica, engines: CountingEngines
) -> None:
    """Whatever is not answered by its deadline ends with the code soon after it; where the answer says that nothing
    was run, the engine has not seen the row, and it has seen no row twice."""
    chance = random.Random(SEED)
    first = 1_000 * (1 + WAYS.index(way))
    hurried = Hurried(config, "slow")
    ended: list[Ended] = []
    for start in range(first, first + EACH, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        ended += await asyncio.gather(*(hurried.ask(way, n, chance.uniform(0.001, 0.05)) for n in numbers))
    await hurried.close()
    await until(replica, queued=0)

    assert {one.code for one in ended} <= IN_TIME
    assert {"ok", "deadline-exceeded"} <= {one.code for one in ended}
    late = [one for one in ended if one.took_s > one.deadline_s + SLACK_S]
    assert [] == late
    ran = engines.numbers("slow")
    assert all(one.number in ran for one in ended if one.code == "ok")
    dropped = {one.number for one in ended if "nothing was run" in one.message}
    print(f"{way}: {len(dropped)} of {EACH} dropped, {sum(one.code == 'ok' for one in ended)} answered")
    assert way == "grpc" or dropped
    assert set() == dropped & set(ran)
    assert 1 == max(ran.count(one.number) for one in ended if one.number in ran)


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_waits_for_a_run_beyond_the_deadline(
    way: str, config: Config, replica: GatewayReplica, engines: CountingEngines
) -> None:
    """A run that takes far longer than it should, and what waits behind it: both end with the code when their
    deadline passes, and what waited is not run any more."""
    hurried = Hurried(config, "stuck")
    held = asyncio.create_task(hurried.ask(way, POISON, 0.2))
    seen = engines.numbers("stuck").count(POISON)
    while engines.numbers("stuck").count(POISON) == seen:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    behind = 10_000 + WAYS.index(way)
    waited = await hurried.ask(way, behind, 0.1)
    stuck = await held
    await until(replica, queued=0)
    await hurried.ask("timeout", 1, 5.0)
    await hurried.close()

    assert ["deadline-exceeded"] * 2 == [stuck.code, waited.code]
    assert stuck.took_s < 0.2 + SLACK_S
    assert waited.took_s < 0.1 + SLACK_S
    assert behind not in engines.numbers("stuck")
