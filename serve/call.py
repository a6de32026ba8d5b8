"""What a protocol hands to the gateway, and what it gets back."""

from dataclasses import field
from typing import Literal

from greenserve.errors import InvalidRequest
from greenserve.record import record
from greenserve.records import Decision, Hints, Protocol, Tenant, Usage
from greenserve.serve.tensors import Tensor
from greenserve.units import ns_from_seconds

LONGEST_ID = 1_024
CacheResult = Literal["miss", "hit", "joined", "off"]


@record(frozen=True, slots=True, kw_only=True)
class Call:
    """A parsed call of any protocol, not yet authenticated; `received_ns` is monotonic, `timeout_s` the client's.

    `outputs` names those asked for, none for the model's own choice. `token_rows` stands instead of `inputs` where
    the caller has token ids already. `most_tokens` is what the protocol allows in one call, None: as many as fit.
    """

    model: str
    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    protocol: Protocol
    received_ns: int
    credential: str | None = None
    hints: Hints = field(default_factory=Hints)
    timeout_s: float | None = None
    client_id: str | None = None
    token_rows: tuple[tuple[int, ...], ...] | None = None
    most_tokens: int | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None


@record(frozen=True, slots=True, kw_only=True)
class Answer:
    """The outputs in the order asked for, and what they cost; `tokens` counts the inputs', before padding.

    `emissions_ng` is None where no intensity was known; `times_ns` holds (stage, monotonic ns at its end).
    `replayed`: it is the answer to an earlier call with the same idempotency key, and its figures are that one's.
    """

    request_id: str
    client_id: str | None
    model: str
    version: str
    outputs: tuple[Tensor, ...]
    tokens: int
    decision: Decision
    usage: Usage
    emissions_ng: int | None
    tenant: Tenant
    cache: CacheResult
    times_ns: tuple[tuple[str, int], ...]
    replayed: bool = False


def checked_id(client_id: str | None) -> str | None:
    """A caller's own id, which is kept and given back; raises InvalidRequest over 1,024 characters."""
    if client_id is not None and len(client_id) > LONGEST_ID:
        raise InvalidRequest(f"id: up to {LONGEST_ID:,} characters are allowed, got {len(client_id):,}")
    return client_id


def deadline_ns_of(call: Call, *, longest_s: float) -> int:
    """When a call must be answered [monotonic ns]: by what it asks for, at most `longest_s` [s] after it came."""
    wishes = (longest_s, call.timeout_s, call.hints.deadline_s)
    return call.received_ns + ns_from_seconds(min(wish for wish in wishes if wish is not None))
