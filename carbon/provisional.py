"""What the rows of a batch used, as known before the meter has spoken: estimates from CPU time and time on boards."""

from collections.abc import Sequence

from greenserve.carbon.board_power import BoardPowers
from greenserve.carbon.power_model import MW_NS_PER_UJ, CpuPower
from greenserve.carbon.shapley import BatchCost, split_amounts
from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.records import TIERS, Span, Usage
from greenserve.units import MILLI

CPU = "cpu"
NOTHING_DECLARED = BoardPowers()


def split_span(span: Span, cost: BatchCost, share_milli: int) -> tuple[list[int], list[int]]:
    """(CPU time, held time) [ns] of each row of the span, by Shapley value (E7, E8), each summing to the span's own.

    Held time is span time times `share_milli` [1/1000], the engine's part of the device: time on the whole device.
    """
    if not 0 < share_milli <= MILLI:
        raise ValueError(f"the share of a device lies in 1..1000 thousandths, got {share_milli}")
    held_ns = (span.end_ns - span.start_ns) * share_milli // MILLI
    cpu_parts, held_parts = split_amounts((span.cpu_ns, held_ns), span.lengths, cost)
    return cpu_parts, held_parts


def share_rows(span: Span, cost: BatchCost, work_class: str) -> list[SpanShare | None]:
    """Each row's part of a batch by Shapley value (E7), for a device that is settled by spans; None on the CPU.

    Work is the batch's padded tokens or elements. The batch has the whole device: batches that run beside it share
    what is static by their time.
    """
    rows = len(span.lengths)
    if span.device == CPU:
        return [None] * rows
    (weights,) = split_amounts((WHOLE_PPB,), span.lengths, cost)
    return [
        SpanShare(
            batch_id=span.batch_id,
            device=span.device,
            work_class=work_class,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            work=rows * span.padded_length,
            share_milli=MILLI,
            weight_ppb=weight,
        )
        for weight in weights
    ]


def provisional_usage(
    request_id: str,
    *,
    cpu_ns: int,
    host_cpu_ns: int,
    held_ns: int,
    power: CpuPower,
    spans: Sequence[SpanShare] = (),
    boards: BoardPowers = NOTHING_DECLARED,
) -> Usage:
    """The usage of a request with these own times [ns]: the power model's estimate, each part rounded down by itself.

    `cpu_ns` is its part of the engine's CPU time, `host_cpu_ns` what decoding and encoding took beside it, `held_ns`
    its time on the device, counted as time on the whole device. These three are what settlement weighs later.
    Its parts of batches on boards (`spans`) are added at what `boards` says of each: the declared power (modelled), or
    190 W of work and 60 W of rest, +-60 %, class average; the meter replaces both within seconds (decision 0030).
    """
    active_uj, host_uj = power.active_uj(cpu_ns), power.active_uj(host_cpu_ns)
    held_uj = power.held_uj(held_ns, MILLI)
    low_uj, high_uj = power.bounds(active_uj + held_uj + host_uj)
    tier = power.tier
    for device in sorted({share.device for share in spans}):
        own = [share for share in spans if share.device == device]
        board_ns = sum((share.end_ns - share.start_ns) * share.weight_ppb for share in own) // WHOLE_PPB
        board = boards.of(device)
        board_active_uj = board.active_mw * board_ns // MW_NS_PER_UJ
        board_held_uj = board.held_mw * board_ns // MW_NS_PER_UJ
        active_uj, held_uj = active_uj + board_active_uj, held_uj + board_held_uj
        low_uj += (board_active_uj + board_held_uj) * (100 - board.half_width_pct) // 100
        high_uj -= -(board_active_uj + board_held_uj) * (100 + board.half_width_pct) // 100
        tier = max(tier, board.tier, key=TIERS.index)
    return Usage(
        request_id=request_id,
        active_uj=active_uj,
        held_uj=held_uj,
        host_uj=host_uj,
        low_uj=low_uj,
        high_uj=high_uj,
        tier=tier,
        state="provisional",
    )
