"""What a protocol hands to the gateway, and what it gets back."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from greenserve.records import Decision, Hints, Tenant, Usage

CacheResult = Literal["miss", "hit", "joined", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A parsed call of any protocol, not yet authenticated; `received_ns` is monotonic, `timeout_s` the client's."""

    model: str
    version: str
    texts: tuple[str, ...]
    outputs: tuple[str, ...]
    protocol: Literal["http", "grpc"]
    received_ns: int
    credential: str | None = None
    hints: Hints = field(default_factory=Hints)
    timeout_s: float | None = None
    client_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Labels and probabilities [n, classes] of the call's texts, and what they cost.

    `emissions_ng` is None where no intensity was known; `times_ns` holds (stage, monotonic ns at its end).
    """

    request_id: str
    client_id: str | None
    model: str
    version: str
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    decision: Decision
    usage: Usage
    emissions_ng: int | None
    tenant: Tenant
    cache: CacheResult
    times_ns: tuple[tuple[str, int], ...]
