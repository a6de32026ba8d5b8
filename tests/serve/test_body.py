"""Request bodies: bounded, decompressed, and gone clients are nobody's error."""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding
from greenserve.serve.http.body import ClientGone, read_body
from greenserve.serve.http.message import Receive

LIMIT = 1_000
BOMB = gzip.compress(b"\0" * 50_000_000)


def arriving(*chunks: bytes, gone: bool = False) -> Receive:
    """What a server hands over: the chunks, or a disconnect behind them."""

    def messages() -> Iterator[Mapping[str, Any]]:
        for number, chunk in enumerate(chunks):
            yield {"type": "http.request", "body": chunk, "more_body": gone or number < len(chunks) - 1}
        yield {"type": "http.disconnect"}

    waiting = messages()

    async def receive() -> Mapping[str, Any]:
        return next(waiting)

    return receive


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in chunks."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.binary(max_size=LIMIT), st.lists(st.integers(0, LIMIT), max_size=4), st.sampled_from(["", "gzip", "deflate"]))
async def test_a_body_is_whole_however_it_arrives(body: bytes, places: list[int], encoding: str) -> None:
    """In any chunks, plain or compressed."""
    compress: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
    sent = compress[encoding](body)
    headers = {"content-encoding": encoding} if encoding else {}

    assert body == await read_body(arriving(*cut(sent, places)), headers, limit_bytes=LIMIT + 100)


@pytest.mark.parametrize("chunks", [(b"x" * (LIMIT + 1),), (b"x" * LIMIT, b"x"), (b"x" * 600, b"x" * 600)])
async def test_a_body_over_the_limit_is_refused(chunks: tuple[bytes, ...]) -> None:
    """In one piece or in several, without a declared length."""
    with pytest.raises(BodyTooLarge, match="1,000 bytes"):
        await read_body(arriving(*chunks), {}, limit_bytes=LIMIT)


async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    """No byte of it is waited for."""

    async def never() -> Mapping[str, Any]:
        raise AssertionError("nothing should be read")

    with pytest.raises(BodyTooLarge):
        await read_body(never, {"content-length": "1001"}, limit_bytes=LIMIT)


async def test_a_bomb_is_refused_without_being_unpacked() -> None:
    """50 MB of zeros in 50 kB: what is allocated ends at the limit."""
    limit = len(BOMB) + 1

    with pytest.raises(BodyTooLarge):
        await read_body(arriving(BOMB), {"content-encoding": "gzip"}, limit_bytes=limit)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
async def test_an_unknown_encoding_is_refused_with_those_that_are_read(encoding: str) -> None:
    """Before the body is read."""
    with pytest.raises(UnsupportedEncoding, match="identity, gzip, deflate"):
        await read_body(arriving(b"x"), {"content-encoding": encoding}, limit_bytes=LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "body", [b"", b"plain text", gzip.compress(b"x" * 100)[:-9], zlib.compress(b"x" * 100)[:-5]], ids=range(4)
)
async def test_a_body_that_is_not_what_it_says_is_refused(encoding: str, body: bytes) -> None:
    """Cut, empty or of another format."""
    with pytest.raises(InvalidRequest, match=encoding):
        await read_body(arriving(body), {"content-encoding": encoding}, limit_bytes=LIMIT)


@pytest.mark.parametrize("chunks", [(), (b"half",)])
async def test_a_client_that_leaves_is_told_apart(chunks: tuple[bytes, ...]) -> None:
    """There is nobody to answer: not an error of the request."""
    with pytest.raises(ClientGone):
        await read_body(arriving(*chunks, gone=True), {}, limit_bytes=LIMIT)
