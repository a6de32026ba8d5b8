"""What an idempotency key stands for, and its answer as bytes, which all replicas of a node can read. Pure.

    length of the head (4 bytes, little endian) | head (JSON) | the outputs' data, one after the other

An answer is kept without its tenant, the caller's own id and the stages' times: whoever asks again brings its own.
"""

import struct
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
from blake3 import blake3

from greenserve.records import Decision, IntensityReading, Tenant, Usage
from greenserve.serve.call import Answer, Call
from greenserve.serve.tensors import LENGTH as ELEMENT
from greenserve.serve.tensors import Array, Strings, Tensor, raw_of

DTYPE = "dtype"
_LENGTH = struct.Struct("<I")


def name_of(tenant: str, key: str) -> bytes:
    """What one tenant's key is filed under (32 bytes)."""
    return blake3(f"{len(tenant)}:{tenant}{key}".encode()).digest()


def content_of(call: Call) -> bytes:
    """The digest (32 bytes) of what a call asks for: the same over every protocol and in every form of its tensors.

    How long the caller waits, how urgent it is and what it calls its request are no part of it.
    """
    hints = call.hints
    head = (
        call.model,
        call.version,
        call.outputs,
        call.token_rows,
        hints.policy,
        hints.min_quality,
        None if hints.regions is None else sorted(hints.regions),
        hints.variant,
        [(tensor.name, tensor.datatype, tensor.shape) for tensor in call.inputs],
    )
    hasher = blake3(repr(head).encode())
    for tensor in call.inputs:
        raw = raw_of(tensor)
        hasher.update(len(raw).to_bytes(8, "little"))
        hasher.update(raw)
    return hasher.digest()


def encode(answer: Answer) -> bytes:
    """An answer as bytes."""
    made, reading = answer.decision, answer.decision.intensity
    head = orjson.dumps(
        {
            "request_id": answer.request_id,
            "model": answer.model,
            "version": answer.version,
            "tokens": answer.tokens,
            "cache": answer.cache,
            "emissions_ng": answer.emissions_ng,
            "usage": asdict(answer.usage),
            "intensity": None if reading is None else asdict(reading),
            "decision": {
                "region": made.region,
                "zone": made.zone,
                "variant": made.variant,
                "reason": made.reason,
                "pue_milli": made.pue_milli,
                "emulated": made.emulated,
                "flags": made.flags,
            },
            "outputs": [
                {
                    "name": tensor.name,
                    "datatype": tensor.datatype,
                    "shape": tensor.shape,
                    DTYPE: None if isinstance(tensor.data, tuple) else tensor.data.dtype.newbyteorder("<").str,
                }
                for tensor in answer.outputs
            ],
        }
    )
    parts = [raw_of(tensor) for tensor in answer.outputs]
    sizes = struct.pack(f"<{len(parts)}Q", *map(len, parts))
    return b"".join((_LENGTH.pack(len(head)), head, sizes, *parts))


def decode(data: bytes, *, tenant: Tenant, client_id: str | None, times_ns: tuple[tuple[str, int], ...]) -> Answer:
    """The answer that was encoded, for who asks again; raises ValueError for bytes that no answer was encoded to."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        head = orjson.loads(data[_LENGTH.size : _LENGTH.size + length])
        sizes = struct.unpack_from(f"<{len(head['outputs'])}Q", data, _LENGTH.size + length)
        start = _LENGTH.size + length + 8 * len(sizes)
        outputs = []
        for told, size in zip(head["outputs"], sizes, strict=True):
            outputs.append(_tensor(told, data[start : start + size]))
            start += size
        if start != len(data):
            raise ValueError(f"{len(data) - start} bytes more than its outputs take")
        made, reading = head["decision"], head["intensity"]
        return Answer(
            request_id=head["request_id"],
            client_id=client_id,
            model=head["model"],
            version=head["version"],
            outputs=tuple(outputs),
            tokens=head["tokens"],
            decision=Decision(
                **(made | {"flags": tuple(made["flags"])}),
                latency_s=None,
                energy_j=None,
                emissions_g=None,
                intensity=None if reading is None else _reading(reading),
            ),
            usage=Usage(**head["usage"]),
            emissions_ng=head["emissions_ng"],
            tenant=tenant,
            cache=head["cache"],
            times_ns=times_ns,
            replayed=True,
        )
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError(f"no kept answer: {error!r:.200}") from None


def _reading(told: dict[str, Any]) -> IntensityReading:
    other = told.get("counterpart")
    return IntensityReading(**(told | {"counterpart": None if other is None else IntensityReading(**other)}))


def _tensor(told: dict[str, Any], raw: bytes) -> Tensor:
    shape = tuple(told["shape"])
    data: Array | Strings
    data = _texts(raw) if told[DTYPE] is None else np.frombuffer(raw, np.dtype(told[DTYPE])).reshape(shape)
    return Tensor(name=told["name"], datatype=told["datatype"], shape=shape, data=data)


def _texts(raw: bytes) -> tuple[str | bytes, ...]:
    texts: list[str | bytes] = []
    here = 0
    while here < len(raw):
        (length,) = ELEMENT.unpack_from(raw, here)
        here += ELEMENT.size + length
        element = raw[here - length : here]
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            texts.append(element)
    return tuple(texts)
