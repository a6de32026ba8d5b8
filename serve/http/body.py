"""Request bodies: read as a bounded, decompressed stream within a time limit."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from greenserve.errors import BodyTooLarge, GreenServeError, InvalidRequest, ReceiveTimeout, UnsupportedEncoding

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
RECEIVE_TIMEOUT_S = 15.0
WINDOW_BITS = {"gzip": 31, "deflate": 15}


class ClientGone(Exception):
    """The client left before its body was whole: there is nobody to answer."""


async def read_body(receive: Receive, headers: Mapping[str, str], *, limit_bytes: int) -> bytes:
    """The decoded body; raises BodyTooLarge, ReceiveTimeout, UnsupportedEncoding or InvalidRequest."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity" and encoding not in WINDOW_BITS:
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r}; allowed are identity, gzip, deflate")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    message = await _next(receive)
    if not message.get("more_body") and encoding == "identity":
        return _within(message["body"], limit_bytes)
    chunks = [message["body"]]
    size = len(chunks[0])
    while message.get("more_body"):
        message = await _next(receive)
        chunks.append(message["body"])
        size += len(message["body"])
        if size > limit_bytes:
            raise _too_large(limit_bytes)
    body = b"".join(chunks)
    return body if encoding == "identity" else _inflated(body, encoding, limit_bytes)


async def _next(receive: Receive) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            message = await receive()
    except TimeoutError:
        raise ReceiveTimeout(f"the body did not arrive within {RECEIVE_TIMEOUT_S:g} s") from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _within(body: bytes, limit_bytes: int) -> bytes:
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    return body


def _inflated(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = inflater.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {encoding}: {error}") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if not inflater.eof:
        raise InvalidRequest(f"the {encoding} body ends too early")
    return plain


def _too_large(limit_bytes: int) -> GreenServeError:
    return BodyTooLarge(f"the body is over {limit_bytes:,} bytes, the limit of this gateway")
