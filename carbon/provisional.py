"""What the rows of a batch used, as known before the meter has spoken: estimates from CPU time."""

from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.shapley import BatchCost, split_amounts
from greenserve.records import Span, Usage
from greenserve.units import MILLI


def split_span(span: Span, cost: BatchCost, share_milli: int) -> tuple[list[int], list[int]]:
    """(CPU time, held time) [ns] of each row of the span, by Shapley value (E7, E8), each summing to the span's own.

    Held time is span time times `share_milli` [1/1000], the engine's part of the device: time on the whole device.
    """
    if not 0 < share_milli <= MILLI:
        raise ValueError(f"the share of a device lies in 1..1000 thousandths, got {share_milli}")
    held_ns = (span.end_ns - span.start_ns) * share_milli // MILLI
    cpu_parts, held_parts = split_amounts((span.cpu_ns, held_ns), span.lengths, cost)
    return cpu_parts, held_parts


def provisional_usage(request_id: str, *, cpu_ns: int, host_cpu_ns: int, held_ns: int, power: CpuPower) -> Usage:
    """The usage of a request with these own times [ns]: the power model's estimate, each part rounded down by itself.

    `cpu_ns` is its part of the engine's CPU time, `host_cpu_ns` what decoding and encoding took beside it, `held_ns`
    its time on the device, counted as time on the whole device. These three are what settlement weighs later.
    """
    active_uj, host_uj = power.active_uj(cpu_ns), power.active_uj(host_cpu_ns)
    held_uj = power.held_uj(held_ns, MILLI)
    low_uj, high_uj = power.bounds(active_uj + held_uj + host_uj)
    return Usage(
        request_id=request_id,
        active_uj=active_uj,
        held_uj=held_uj,
        host_uj=host_uj,
        low_uj=low_uj,
        high_uj=high_uj,
        tier=power.tier,
        state="provisional",
    )
