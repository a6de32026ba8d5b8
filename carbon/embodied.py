"""Emissions of making the hardware, by the time that a request held it (E10)."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.carbon.terms import PPM, Hardware
from greenserve.units import MILLI, NG_PER_G, NS_PER_S

HALF_WIDTH_BP = 5_000
"""Half width of embodied figures [1/100 %]: product carbon footprints are given to about +-50 %."""


def rates_ng_per_s(hardware: Sequence[Hardware]) -> Mapping[str, int]:
    """E10: ng CO2e per second of each device's life, its parts added before rounding half to even."""
    sums: dict[str, Fraction] = {}
    for part in hardware:
        rate = Fraction(part.embodied_g * NG_PER_G * part.share_ppm, part.life_s * PPM)
        sums[part.device] = sums.get(part.device, Fraction(0)) + rate
    return MappingProxyType({device: round(rate) for device, rate in sums.items()})


def embodied_ng(body: Mapping[str, Any], rates: Mapping[str, int]) -> int | None:
    """E10: a request's share [ng CO2e], rounded down; None where device, rate or occupancy is not known.

    `held_ns` is full-device time, so the request's share of the device is in it. An answer from the cache held no
    device. What ran on boards held them by its weight in each batch.
    """
    if body["cache"] == "hit":
        return 0
    if spans := body.get("spans"):
        return _on_boards([SpanShare.of(members) for members in spans], rates)
    rate, held_ns = rates.get(body["device"] or ""), body["held_ns"]
    if rate is None or held_ns is None:
        return None
    share: int = held_ns * rate // NS_PER_S
    return share


def _on_boards(shares: Sequence[SpanShare], rates: Mapping[str, int]) -> int | None:
    if any(share.device not in rates for share in shares):
        return None
    held = sum(
        (share.end_ns - share.start_ns) * share.share_milli * share.weight_ppb * rates[share.device] for share in shares
    )
    return held // (MILLI * WHOLE_PPB * NS_PER_S)
