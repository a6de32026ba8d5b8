"""Answers as bytes that another gateway of the deployment can trust: sealed, versioned, nothing in them is executed.

    seal (32 bytes) | length of the head (4 bytes, little endian) | head (JSON) | the arrays' data, one after the other

The seal is BLAKE3 over key, head and data, keyed with a secret of the deployment: what anybody else wrote, moved to
another key or damaged is told from what a gateway wrote before a byte of it is parsed.
"""

import hmac
import struct
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from blake3 import blake3

from greenserve.ports import CachedAnswer
from greenserve.records import Decision

VERSION = 2
SEAL_BYTES = 32
SEAL_CONTEXT = "greenserve 2026-11-22 seal of shared answers"
KINDS = frozenset("biufc")
"""Kinds of numpy data that travel: flags and numbers; texts are Python objects and stay where they are."""

_LENGTH = struct.Struct("<I")


class Unsealed(Exception):
    """Bytes that no gateway of this deployment wrote under this key, or that this version can't read."""


def seal_key(secret: bytes) -> bytes:
    """The key of the seals (32 bytes), from the secret that the digests are keyed with."""
    return blake3(secret, derive_key_context=SEAL_CONTEXT).digest()


def encode(key: bytes, answer: CachedAnswer, seal: bytes, *, until_us: int) -> bytes | None:
    """An answer as bytes for `key`, good until then [us UTC]; None where it holds something else than numbers."""
    if any(array.dtype.kind not in KINDS for array in answer.outputs.values()):
        return None
    made = answer.decision
    head = orjson.dumps(
        {
            "version": VERSION,
            "until_us": until_us,
            "variant": made.variant,
            "digest": answer.variant_digest,
            "region": made.region,
            "zone": made.zone,
            "reason": made.reason,
            "pue_milli": made.pue_milli,
            "emulated": made.emulated,
            "flags": made.flags,
            "energy_j": made.energy_j,
            "outputs": [[name, array.dtype.str, array.shape] for name, array in answer.outputs.items()],
        }
    )
    body = b"".join((_LENGTH.pack(len(head)), head, *(array.tobytes() for array in answer.outputs.values())))
    return _sealed(key, body, seal) + body


def decode(key: bytes, data: bytes, seal: bytes) -> tuple[CachedAnswer, int]:
    """The answer that was encoded for `key`, and until when it is good [us UTC]; raises Unsealed."""
    body = data[SEAL_BYTES:]
    if not hmac.compare_digest(data[:SEAL_BYTES], _sealed(key, body, seal)):
        raise Unsealed(f"{len(data)} bytes without a seal of this deployment for their key")
    try:
        (length,) = _LENGTH.unpack_from(body)
        head = orjson.loads(body[_LENGTH.size : _LENGTH.size + length])
        if head["version"] != VERSION:
            raise Unsealed(f"version {head['version']!r:.40}, this gateway reads {VERSION}")
        answer = CachedAnswer(
            outputs=_arrays(head["outputs"], body, _LENGTH.size + length),
            decision=_decision(head),
            variant_digest=str(head["digest"]),
        )
        return answer, int(head["until_us"])
    except (KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise Unsealed(f"sealed, but not readable: {error!r:.200}") from None


def _sealed(key: bytes, body: bytes, seal: bytes) -> bytes:
    return blake3(key, key=seal).update(body).digest()


def _arrays(described: list[Any], body: bytes, start: int) -> dict[str, npt.NDArray[np.generic]]:
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, kind, shape in described:
        dtype = np.dtype(str(kind))
        count = prod(map(int, shape))
        if dtype.kind not in KINDS or not shape or count < 0:
            raise ValueError(f"output {name!r:.80} of kind {kind!r:.20} and shape {shape!r:.80}")
        arrays[str(name)] = np.frombuffer(body, dtype=dtype, count=count, offset=start).reshape(shape).copy()
        start += dtype.itemsize * count
    if start != len(body):
        raise ValueError(f"{len(body) - start} bytes more than its arrays take")
    return arrays


def _decision(head: dict[str, Any]) -> Decision:
    return Decision(
        region=str(head["region"]),
        zone=str(head["zone"]),
        variant=str(head["variant"]),
        reason=str(head["reason"]),
        latency_s=None,
        energy_j=None if head["energy_j"] is None else float(head["energy_j"]),
        emissions_g=None,
        intensity=None,
        pue_milli=int(head["pue_milli"]),
        emulated=bool(head["emulated"]),
        flags=tuple(map(str, head["flags"])),
    )
