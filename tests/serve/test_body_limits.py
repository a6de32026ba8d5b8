"""Bodies that try a gateway's patience: slow ones, and those that hide bytes behind their end."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from greenserve.errors import BodyTooLarge, InvalidRequest, ReceiveTimeout
from greenserve.serve.http.body import read_body


async def test_a_client_that_sends_nothing_is_cut_off() -> None:
    """It is told how long it had."""

    async def receive() -> Mapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever comes")

    with pytest.raises(ReceiveTimeout, match=r"within 0\.01 s"):
        await read_body(receive, {}, limit_bytes=1_000, timeout_s=0.01)


async def test_a_client_that_sends_a_byte_now_and_then_is_cut_off_as_well() -> None:
    """The time is the whole body's: nobody holds a place by a byte per pause."""
    given: list[bytes] = []

    async def receive() -> Mapping[str, Any]:
        await asyncio.sleep(0.001)
        given.append(b"x")
        return {"type": "http.request", "body": b"x", "more_body": True}

    async with asyncio.timeout(10.0):
        with pytest.raises(ReceiveTimeout):
            await read_body(receive, {}, limit_bytes=10**9, timeout_s=0.2)

    assert given


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_bytes_behind_the_end_are_not_ignored(encoding: str, pack: Any) -> None:
    """A second member would be half of what the client meant."""

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": pack(b"one") + b"two", "more_body": False}

    with pytest.raises(InvalidRequest, match=f"3 bytes follow the end of the {encoding} body"):
        await read_body(receive, {"content-encoding": encoding}, limit_bytes=1_000)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_bomb_costs_no_more_memory_than_the_limit(encoding: str, pack: Any) -> None:
    """50 MB in 50 kB: what is unpacked ends at the limit."""
    bomb = pack(b"\0" * 50_000_000)

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": bomb, "more_body": False}

    tracemalloc.start()
    with pytest.raises(BodyTooLarge, match="100,000 bytes"):
        await read_body(receive, {"content-encoding": encoding}, limit_bytes=100_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 1_000_000
