"""Bodies that hide bytes behind their end, or more than they seem to hold."""

import gzip
import tracemalloc
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from greenserve.errors import BodyTooLarge, InvalidRequest
from greenserve.serve.http.body import read_body


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
