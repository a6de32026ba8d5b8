"""Request bodies: read as a bounded, decompressed stream."""

import zlib
from collections.abc import Mapping

from greenserve.errors import BodyTooLarge, GreenServeError, InvalidRequest, UnsupportedEncoding
from greenserve.serve.http.message import Receive

WINDOW_BITS = {"gzip": 31, "deflate": 15}


class ClientGone(Exception):
    """The client left before its body was whole: there is nobody to answer."""


async def read_body(receive: Receive, headers: Mapping[str, str], *, limit_bytes: int) -> bytes:
    """The decoded body; raises BodyTooLarge, UnsupportedEncoding or InvalidRequest.

    How long a body may take is the listener's business (guarded.py).
    """
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity" and encoding not in WINDOW_BITS:
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r}; allowed are identity, gzip, deflate")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    body = await _received(receive, limit_bytes)
    return body if encoding == "identity" else _inflated(body, encoding, limit_bytes)


async def _received(receive: Receive, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message["body"])
        size += len(message["body"])
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        more = message.get("more_body", False)
    return b"".join(chunks)


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
    if inflater.unused_data:
        raise InvalidRequest(f"{len(inflater.unused_data)} bytes follow the end of the {encoding} body; send one")
    return plain


def _too_large(limit_bytes: int) -> GreenServeError:
    return BodyTooLarge(f"the body is over {limit_bytes:,} bytes, the limit of this gateway")
