"""What a second of CPU time and of holding the node costs, learned from settled requests (method: section 4). Pure.

Answers estimate by it until the meter has spoken: the slope of E1 that the meter shows, not the one of an average.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from greenserve.carbon.entries import UNMETERED
from greenserve.carbon.power_model import MW_NS_PER_UJ, CpuPower
from greenserve.carbon.settlement import METER_GAP
from greenserve.carbon.uncertainty import METER_BP, PROVISIONAL_REQUEST_BP, HalfWidths, energy_half_width_bp
from greenserve.records import TIERS, Tier
from greenserve.units import NS_PER_S

HALF_LIFE_NS = 300 * NS_PER_S
"""After so long a settled request counts half: long against noise, short against a changed governor."""
LEAST_LINES, LEAST_CPU_NS = 20, NS_PER_S // 20
"""Before so many requests and so much of their CPU time [ns] nothing is learned."""
LEAST_HELD_NS = NS_PER_S // 200
UNFIT = frozenset({UNMETERED, METER_GAP, "gap", "late"})
"""Lines with one of these flags do not tell what their time cost."""
BP_PER_PERCENT = 100


class CpuUse(NamedTuple):
    """What settled requests had of the CPU: the last one's end [monotonic ns] and their tier, CPU energy [uJ] and time
    [ns], energy [uJ] and time [ns] of holding the node, how many they are."""

    end_ns: int
    tier: Tier
    cpu_uj: int
    cpu_ns: int
    held_uj: int
    held_ns: int
    lines: int = 1


class CpuLearner:
    """State, by `take` alone: sums over settled requests, halved every five minutes of their own time: CPU energy [uJ]
    and time [ns], energy [uJ] and time [ns] of holding the node; how many; the last one's end and tier."""

    def __init__(self, configured: CpuPower) -> None:
        """`configured` is what holds for a part that no request tells anything of."""
        self._configured = configured
        self._cpu_uj = self._cpu_ns = self._held_uj = self._held_ns = 0.0
        self._lines = 0
        self._end_ns: int | None = None
        self._tier: Tier = configured.tier

    def __repr__(self) -> str:
        return f"<CpuLearner of {self._lines} requests, {self._cpu_ns / NS_PER_S:.1f} s of CPU time>"

    def take(self, use: CpuUse) -> None:
        """Learn from settled requests; a simulated meter teaches nothing about this machine."""
        if METER_BP[use.tier] is None:
            return
        if self._end_ns is not None and use.end_ns > self._end_ns:
            kept = 0.5 ** ((use.end_ns - self._end_ns) / HALF_LIFE_NS)
            self._cpu_uj, self._cpu_ns = self._cpu_uj * kept, self._cpu_ns * kept
            self._held_uj, self._held_ns = self._held_uj * kept, self._held_ns * kept
        self._end_ns = max(use.end_ns, self._end_ns or use.end_ns)
        self._cpu_uj += use.cpu_uj
        self._cpu_ns += use.cpu_ns
        self._held_uj += use.held_uj
        self._held_ns += use.held_ns
        self._lines += use.lines
        self._tier = use.tier

    def power(self, meter_half_width_pct: int | None = None) -> CpuPower | None:
        """The learned power, `meter_half_width_pct` [%] being the meter's own (None: its tier's); None before enough
        was settled. Modelled at best: it is an estimate of what the meter will show."""
        if self._lines < LEAST_LINES or self._cpu_ns < LEAST_CPU_NS:
            return None
        idle_mw = self._configured.idle_mw
        if self._held_ns >= LEAST_HELD_NS:
            idle_mw = round(self._held_uj * MW_NS_PER_UJ / self._held_ns)
        meter_bp = METER_BP[self._tier] if meter_half_width_pct is None else BP_PER_PERCENT * meter_half_width_pct
        width_bp = energy_half_width_bp(HalfWidths(meter=meter_bp, request=PROVISIONAL_REQUEST_BP))
        assert width_bp is not None
        return CpuPower(
            idle_mw=idle_mw,
            dynamic_mw_per_cpu=round(self._cpu_uj * MW_NS_PER_UJ / self._cpu_ns),
            tier=max(self._tier, "modelled", key=TIERS.index),
            half_width_pct=-(-width_bp // BP_PER_PERCENT),
            source="learned from settled requests",
        )


def cpu_use_of(body: Mapping[str, Any]) -> CpuUse | None:
    """Of a request's settled line merged over its first one; None where it does not say what its time cost."""
    part = _on_cpu(body)
    if part is None or body["cpu_ns"] is None or body["host_cpu_ns"] is None:
        return None
    return CpuUse(
        end_ns=body["end_ns"],
        tier=tier_of(part["tier"]),
        cpu_uj=part["active_uj"] + part["host_uj"],
        cpu_ns=body["cpu_ns"] + body["host_cpu_ns"],
        held_uj=part["held_uj"],
        held_ns=body["held_ns"] or 0,
    )


def tier_of(name: str) -> Tier:
    """The tier of that name; StopIteration for none."""
    return next(one for one in TIERS if one == name)


def _on_cpu(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The part of a settled line that the CPU's meter told; None where it does not say what the line's time cost."""
    if body["revision"] != 1 or body["active_uj"] is None or not UNFIT.isdisjoint(body["flags"]):
        return None
    if "devices" not in body:
        return body
    return next((part for part in body["devices"] if part["batch"] is None), None)
