"""What each request of a batch used, as known before the meter has spoken: estimates from CPU time."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.shapley import BatchCost, split_amounts
from greenserve.records import Span, Usage
from greenserve.units import MILLI


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A request's part of a span.

    `cpu_ns` [ns] is its part of the engine's CPU time, `host_cpu_ns` [ns] what decoding and encoding took beside it,
    `held_ns` [ns] its part of the span's time on a device, counted as time on the whole device. These are what
    settlement weighs. `active_uj`, `held_uj`, `host_uj` [uJ] are estimates, each rounded down by itself.
    """

    request_id: str
    cpu_ns: int
    host_cpu_ns: int
    held_ns: int
    active_uj: int
    held_uj: int
    host_uj: int


def provisional_usages(
    span: Span,
    row_request_ids: Sequence[str],
    cost: BatchCost,
    power: CpuPower,
    host_cpu_ns: Sequence[int],
    share_milli: int,
) -> tuple[Share, ...]:
    """One share per distinct request of the batch, in the order in which they first occur in it.

    `row_request_ids` names the request of each row of `span.lengths`; `host_cpu_ns` [ns] holds one value per distinct
    request in that same order; `share_milli` [1/1000] is the engine's part of the device. CPU time and held time are
    split over rows by Shapley value (E7, E8), each summing to the span's own integer, and added up per request.
    """
    if len(row_request_ids) != len(span.lengths) or not 0 < share_milli <= MILLI:
        raise ValueError(
            f"needs one request id per row and a share in 1..1000, got {len(row_request_ids)} ids for "
            f"{len(span.lengths)} rows and {share_milli}/1000"
        )
    held_ns = (span.end_ns - span.start_ns) * share_milli // MILLI
    cpu_of = dict.fromkeys(row_request_ids, 0)
    held_of = cpu_of.copy()
    if len(host_cpu_ns) != len(cpu_of):
        raise ValueError(f"needs host CPU time per distinct request, got {len(host_cpu_ns)} for {len(cpu_of)}")
    cpu_parts, held_parts = split_amounts((span.cpu_ns, held_ns), span.lengths, cost)
    for request_id, cpu_part, held_part in zip(row_request_ids, cpu_parts, held_parts, strict=True):
        cpu_of[request_id] += cpu_part
        held_of[request_id] += held_part
    active_uj = power.active_uj
    return tuple(
        Share(
            request_id=request_id,
            cpu_ns=cpu_ns,
            host_cpu_ns=own_host_ns,
            held_ns=held_of[request_id],
            active_uj=active_uj(cpu_ns),
            held_uj=power.held_uj(held_of[request_id], MILLI),
            host_uj=active_uj(own_host_ns),
        )
        for (request_id, cpu_ns), own_host_ns in zip(cpu_of.items(), host_cpu_ns, strict=True)
    )


def share_of(request_id: str, *, cpu_ns: int, host_cpu_ns: int, held_ns: int, power: CpuPower) -> Share:
    """The share of a request whose own CPU and held time [ns] are known, with the power model's estimates."""
    return Share(
        request_id=request_id,
        cpu_ns=cpu_ns,
        host_cpu_ns=host_cpu_ns,
        held_ns=held_ns,
        active_uj=power.active_uj(cpu_ns),
        held_uj=power.held_uj(held_ns, MILLI),
        host_uj=power.active_uj(host_cpu_ns),
    )


def usage_of(share: Share, power: CpuPower) -> Usage:
    """The share as a provisional usage, with the power model's tier and 90 % interval."""
    low_uj, high_uj = power.bounds(share.active_uj + share.held_uj + share.host_uj)
    return Usage(
        request_id=share.request_id,
        active_uj=share.active_uj,
        held_uj=share.held_uj,
        host_uj=share.host_uj,
        low_uj=low_uj,
        high_uj=high_uj,
        tier=power.tier,
        state="provisional",
    )
