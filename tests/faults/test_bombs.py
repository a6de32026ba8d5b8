"""Requests that would take all memory or time: each ends soon with its 4xx, and the replica stays as small as it was.

`test_slow_clients.py` has the same inputs within one process; here they meet real replicas, and gRPC's forms of them.
"""

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from greenserve.loadtest.grpc_client import METHOD
from tests.faults.echoing import Echoing
from tests.serve.listening import Wire, wire

MIB = 2**20
LIMIT_KIB = 4 * 8 * 1024
"""Four times the largest body that is taken [KiB]: a million numbers are larger as objects than as text."""
SOON_S = 3.0
"""One second, and what a busy machine adds."""
PATH = "/v2/models/quick/infer"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def small_and_alive(echoing: Echoing) -> Iterator[None]:
    """After each bomb every replica is the same process, answers, and never held much more than the largest body."""
    replicas = sorted(echoing.replicas)
    for pid in replicas:
        forget_peak(pid)
    before = {pid: resident_kib(pid, "VmRSS:") for pid in replicas}

    yield

    grown = {pid: resident_kib(pid, "VmHWM:") - before[pid] for pid in replicas}
    print(f"peak growth [KiB] {sorted(grown.values())}")
    assert replicas == sorted(echoing.replicas)
    assert all(echoing.answers() for _ in range(8))
    assert max(grown.values()) < LIMIT_KIB


def forget_peak(pid: int) -> None:
    """From now on a new peak is counted."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def resident_kib(pid: int, name: str) -> int:
    """A figure of a process's memory [KiB]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def in_pieces() -> Iterator[bytes]:
    """65 MiB of which nobody knows the length."""
    for _ in range(65):
        yield b" " * MIB


def elements() -> bytes:
    """A million of them in one tensor."""
    tensor = {"name": "x", "datatype": "INT64", "shape": [1, 10**6], "data": [1] * 10**6}
    return json.dumps({"inputs": [tensor]}).encode()


def nested(depth: int) -> bytes:
    """A tensor whose data are one number in so many lists."""
    return (
        b'{"inputs":[{"name":"x","datatype":"INT64","shape":[1,2],"data":' + b"[" * depth + b"1" + b"]" * depth + b"}]}"
    )


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (in_pieces, {}, 413, "body-too-large"),
        (lambda: gzip.compress(bytes(64 * MIB)), {"content-encoding": "gzip"}, 413, "body-too-large"),
        (
            lambda: gzip.compress(gzip.compress(bytes(512 * MIB), 9)),
            {"content-encoding": "gzip"},
            400,
            "invalid-request",
        ),
        (lambda: nested(10_000), {}, 400, "invalid-request"),
        (elements, {}, 400, "invalid-request"),
        (lambda: b'{"inputs":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, {}, 400, "invalid-request"),
    ],
    ids=["65 MiB in chunks", "gzip 1:1000", "gzip in gzip", "nested lists", "a million elements", "nested objects"],
)
def test_an_http_bomb_is_refused_soon(
    content: Callable[[], Any], headers: dict[str, str], status: int, code: str, echoing: Echoing
) -> None:
    """With its 4xx and code."""
    bomb = content()
    with echoing.client() as client:
        begun_s = time.perf_counter()

        told = client.post(PATH, content=bomb, headers=headers)

        took_s = time.perf_counter() - begun_s
    assert (status, code) == (told.status_code, told.json()["code"])
    assert took_s < SOON_S


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (f"Content-Length: {65 * MIB}\r\n\r\n".encode(), 413),
        (f"Content-Length: {2**31}\r\n\r\n".encode(), 413),
        (f"Content-Length: {10**30}\r\n\r\n".encode(), 400),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n", 400),
    ],
    ids=["65 MiB declared", "2 GiB declared", "no number of this world", "a million chunks"],
)
async def test_what_is_too_long_is_refused_before_it_is_read(rest: bytes, status: int, echoing: Echoing) -> None:
    """Nothing is allocated for what was only declared."""
    async with wire(echoing.gateway.http_port) as bomber:
        begun_s = time.perf_counter()

        told = await answered(
            bomber, HEAD.encode() + f"Authorization: {echoing.headers()['authorization']}\r\n".encode() + rest
        )

        assert time.perf_counter() - begun_s < SOON_S
    assert status == told


async def answered(bomber: Wire, request: bytes) -> int:
    """The status that comes back while the request may still be under way."""
    bomber.writer.write(request)
    status, _, _ = await bomber.answer()
    return status


def raw_call(echoing: Echoing, message: bytes, compression: grpc.Compression | None = None) -> grpc.StatusCode:
    """How the gateway ends a call with these bytes as its message."""
    with grpc.insecure_channel(echoing.gateway.grpc_address) as channel:
        call = channel.unary_unary(METHOD)
        metadata = tuple(echoing.headers().items())
        try:
            call(message, timeout=10.0, metadata=metadata, compression=compression)
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
    return grpc.StatusCode.OK


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, length = len(content), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize(
    ("message", "compression"),
    [
        (lambda: bytes(65 * MIB), None),
        (lambda: bytes(64 * MIB), grpc.Compression.Gzip),
        (lambda: field(1, b"quick") + field(5, field(1, b"x") + field(2, b"INT64")) * 200_000, None),
        (lambda: field(1, b"quick") + field(7, b"\0" * 4 * MIB), None),
    ],
    ids=["65 MiB", "gzip 1:1000", "two hundred thousand inputs", "bytes that no tensor asks for"],
)
def test_a_grpc_bomb_is_refused_soon(
    message: Callable[[], bytes], compression: grpc.Compression | None, echoing: Echoing
) -> None:
    """As an argument that is not valid, or as more than is taken."""
    bomb = message()
    begun_s = time.perf_counter()

    status = raw_call(echoing, bomb, compression)

    assert status in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert time.perf_counter() - begun_s < SOON_S


async def test_thirty_bombs_at_once_are_no_more_than_one(echoing: Echoing) -> None:
    """Their sizes add up to two gigabytes; a good client is answered meanwhile."""
    bomb = gzip.compress(bytes(64 * MIB))
    async with httpx.AsyncClient(
        base_url=echoing.gateway.url, headers=echoing.headers(), trust_env=False, timeout=30.0
    ) as client:
        asked = [client.post(PATH, content=bomb, headers={"content-encoding": "gzip"}) for _ in range(30)]
        told = await asyncio.gather(*asked)

    assert {413} == {one.status_code for one in told}
