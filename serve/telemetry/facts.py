"""What telemetry keeps of a request: plain values, none of its payload or its key. Pure."""

from typing import NamedTuple

from greenserve.serve.call import Answer, Call
from greenserve.units import NS_PER_S

OK = "ok"
QUOTING = frozenset({"invalid-request", "invalid-key", "model-unknown", "not-found"})
"""Errors whose messages may quote what the client sent: their words stay out of the logs."""


class Facts(NamedTuple):
    """One request that is over; times are monotonic [ns]. None or empty where it did not come so far.

    A tuple, because one is made for every request: a frozen dataclass takes three times as long.
    """

    model: str
    version: str
    protocol: str
    code: str
    times_ns: tuple[tuple[str, int], ...]
    client_id: str | None
    traceparent: str | None
    request_id: str = ""
    tenant: str = ""
    variant: str = ""
    region: str = ""
    cache: str = ""
    tokens: int | None = None
    energy_uj: int | None = None
    emissions_ng: int | None = None
    tier: str = ""
    state: str = ""
    message: str = ""

    @property
    def duration_s(self) -> float:
        """From its receipt to its end [s]."""
        return (self.times_ns[-1][1] - self.times_ns[0][1]) / NS_PER_S

    def stages_s(self) -> list[tuple[str, float]]:
        """(stage, its duration [s])."""
        stages, before_ns = [], self.times_ns[0][1]
        for stage, at_ns in self.times_ns[1:]:
            stages.append((stage, (at_ns - before_ns) / NS_PER_S))
            before_ns = at_ns
        return stages


def answered(call: Call, answer: Answer) -> Facts:
    """The facts of an answered request."""
    return Facts(
        answer.model,
        answer.version,
        call.protocol,
        OK,
        answer.times_ns,
        call.client_id,
        call.traceparent,
        answer.request_id,
        answer.tenant.tenant_id,
        answer.decision.variant,
        answer.decision.region,
        answer.cache,
        answer.tokens,
        answer.usage.energy_uj,
        answer.emissions_ng,
        answer.usage.tier,
        answer.usage.state,
    )


def refused(call: Call, code: str, message: str, *, known_model: bool, now_ns: int) -> Facts:
    """The facts of a refused request; a model that is not served here keeps its name out of the labels."""
    return Facts(
        call.model if known_model else "",
        call.version if known_model else "",
        call.protocol,
        code,
        (("received", call.received_ns), ("refused", now_ns)),
        call.client_id,
        call.traceparent,
        message="" if code in QUOTING else message,
    )
