"""Clients that are slow, leave, or send far too much: each is refused or forgotten, and the others notice nothing."""

import asyncio
import contextlib
import gzip
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from greenserve.config import Config
from greenserve.loadtest.grpc_client import METHOD, request_of
from greenserve.serve.replica import GatewayReplica
from tests.faults.replicas import PATIENCE_S, a_gateway_config, a_replica, until
from tests.gateway_process import HOST
from tests.serve.listening import Wire

MIB = 2**20
INFER = "/v2/models/tiny/infer"
SLOW = 100
LEAVING = 500
SEED = 20_260_101


def a_question(text: str = "good day") -> dict[str, object]:
    """A request of one text."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}


@pytest.fixture(scope="module")
def config(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Short times, the usual sizes."""
    folder = tmp_path_factory.mktemp("slow")
    return a_gateway_config(tiny_manifest, folder, header_timeout="1s", body_timeout="1s", max_items=64)


@pytest.fixture(scope="module")
def replica(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayReplica]:
    """One replica for all of them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        with a_replica(config, "only") as running:
            yield running


@pytest.fixture
async def client(config: Config, replica: GatewayReplica) -> AsyncIterator[httpx.AsyncClient]:
    """A good client; after each test it is served at once."""
    base = f"http://{HOST}:{config.server.http.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=PATIENCE_S) as good:
        yield good
        assert 200 == (await good.post(INFER, json=a_question())).status_code


async def test_slow_clients_are_cut_off_and_delay_nobody(client: httpx.AsyncClient, replica: GatewayReplica) -> None:
    """Half of them stop within the head, half within the body; a good client is answered all the time."""
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
    slow = [Wire(*await asyncio.open_connection(HOST, client.base_url.port)) for _ in range(SLOW)]
    for number, each in enumerate(slow):
        each.writer.write(head[:-4] if number % 2 else head + b"{")
    waits_s = []
    for _ in range(50):
        begun_s = time.perf_counter()
        assert 200 == (await client.post(INFER, json=a_question())).status_code
        waits_s.append(time.perf_counter() - begun_s)

    statuses = {(await each.answer())[0] for each in slow}
    for each in slow:
        assert b"" == await each.rest()
        await each.close()

    assert {408} == statuses
    assert max(waits_s) < 0.5
    await until(replica, http_connections=1)


def a_long_body() -> Iterator[bytes]:
    """65 MiB, not all at once."""
    for _ in range(65):
        yield b" " * MIB


async def in_pieces(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A body without a declared length."""
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (a_long_body(), {"content-length": str(65 * MIB)}, 413, "body-too-large"),
        (a_long_body(), {}, 413, "body-too-large"),
        (gzip.compress(b" " * (16 * MIB)), {"content-encoding": "gzip"}, 413, "body-too-large"),
        (b"[" * 10_000 + b"]" * 10_000, {}, 400, "invalid-request"),
        (
            json.dumps(
                {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [10**6], "data": ["a"] * 10**6}]}
            ).encode(),
            {},
            400,
            "invalid-request",
        ),
    ],
    ids=["65 MiB", "65 MiB in chunks", "gzip bomb", "deep", "a million elements"],
)
async def test_what_is_far_too_much_is_refused_soon(
    content: bytes | Iterator[bytes], headers: dict[str, str], status: int, code: str, client: httpx.AsyncClient
) -> None:
    """With a 4xx and its code, within a second, and without the memory that it asks for."""
    before_kib = resident_kib(peak=False)
    begun_s = time.perf_counter()
    body = content if isinstance(content, bytes) else in_pieces(content)

    answer = await client.post(INFER, content=body, headers=headers)

    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert time.perf_counter() - begun_s < 1.5
    assert resident_kib(peak=True) - before_kib < 100 * 1024


def resident_kib(*, peak: bool) -> int:
    """Resident memory of this process [KiB]; asking for the present begins a new peak."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (f"Content-Length: {2**31}\r\n\r\n".encode(), (413, "body-too-large")),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000_000, (400, "invalid-request")),
    ],
    ids=["two GiB declared", "a million chunks"],
)
async def test_what_would_take_long_is_refused_before_it_comes(
    rest: bytes, expected: tuple[int, str], client: httpx.AsyncClient
) -> None:
    """Nothing is allocated for it, and nobody waits for it."""
    wire = Wire(*await asyncio.open_connection(HOST, client.base_url.port))

    status, _, body = await wire.asked(f"POST {INFER} HTTP/1.1\r\n".encode() + rest)
    await wire.close()

    assert expected == (status, json.loads(body)["code"])


async def test_requests_that_are_cancelled_leave_nothing(
    client: httpx.AsyncClient, config: Config, replica: GatewayReplica
) -> None:
    """Hundreds of clients leave at random moments, over both protocols: no task, place or connection stays taken."""
    chance = random.Random(SEED)
    await client.post(INFER, json=a_question())
    await until(replica, queued=0, http_connections=1)
    tasks = int(replica.state()["tasks"])
    async with (
        grpc.aio.insecure_channel(f"{HOST}:{config.server.grpc.port}") as channel,
        httpx.AsyncClient(base_url=client.base_url, trust_env=False) as leaving,
    ):
        call = channel.unary_unary(METHOD, request_serializer=lambda message: message.SerializeToString())

        async def leave_http(number: int) -> None:
            with contextlib.suppress(httpx.TimeoutException):
                await leaving.post(INFER, json=a_question(f"good day {number}"), timeout=chance.uniform(0.001, 0.05))

        async def leave_grpc(number: int) -> None:
            asked = call(request_of("tiny", [f"good day {number}"]))
            await asyncio.sleep(chance.uniform(0, 0.02))
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked

        for start in range(0, LEAVING, 50):
            numbers = range(start, start + 50)
            await asyncio.gather(*((leave_grpc if number % 2 else leave_http)(number) for number in numbers))

    assert 200 == (await client.post(INFER, json=a_question())).status_code
    await until(replica, queued=0, http_connections=1, tasks=tasks)


async def test_a_good_client_stays_connected(client: httpx.AsyncClient, replica: GatewayReplica) -> None:
    """Hundreds of requests, one connection."""
    for _ in range(200):
        assert "connection" not in (await client.post(INFER, json=a_question())).headers

    assert 1 == replica.state()["http_connections"]
