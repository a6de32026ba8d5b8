"""Compression of answers: what the client takes, and whether it is worth it."""

import zlib
from functools import lru_cache

WORTH_BYTES = 1_024
WINDOW_BITS = {"gzip": 31, "deflate": 15}
FASTEST = 1


def compressed(body: bytes, accepted: str | None) -> tuple[bytes, str | None]:
    """(body, its encoding): compressed where it is over 1 KiB and `accepted`, an Accept-Encoding, asks for that."""
    if accepted is None or len(body) <= WORTH_BYTES:
        return body, None
    encoding = chosen(accepted)
    if encoding is None:
        return body, None
    packer = zlib.compressobj(FASTEST, zlib.DEFLATED, WINDOW_BITS[encoding])
    return packer.compress(body) + packer.flush(), encoding


@lru_cache(maxsize=128)
def chosen(accepted: str) -> str | None:
    """gzip, deflate, or None for the body as it is: the one with the highest q, gzip before deflate before none."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        weights[name.strip()] = _weight(parameters)
    best, most = None, 0.0
    for encoding in ("gzip", "deflate"):
        weight = weights.get(
            "x-gzip" if encoding == "gzip" and "gzip" not in weights else encoding, weights.get("*", 0.0)
        )
        if weight > most:
            best, most = encoding, weight
    return None if weights.get("identity", 0.0) > most else best


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
