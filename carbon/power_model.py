"""Power of a node from the CPU time it spends (method: E1), in integers."""

from dataclasses import dataclass

from greenserve.records import TIERS, Tier
from greenserve.units import MILLI

MW_NS_PER_UJ = 1_000_000
"""1 mW for 1 ns is a picojoule; so many of them make a microjoule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPower:
    """E1 with alpha = 1: `P = idle + dynamic x busy CPUs`.

    `idle_mw` [mW] is the static power of the whole node, memory included; `dynamic_mw_per_cpu` [mW] is what one busy
    logical CPU adds. `half_width_pct` [%] is the half width of the 90 % interval, `source` says where the parameters
    come from. Linear in the busy time, energy follows from the counters since boot alone, so a restart of the meter
    loses nothing; another alpha needs the course of the load and comes with calibration.
    """

    idle_mw: int
    dynamic_mw_per_cpu: int
    tier: Tier
    half_width_pct: int
    source: str

    def __post_init__(self) -> None:
        if min(self.idle_mw, self.dynamic_mw_per_cpu, self.half_width_pct) < 0 or self.tier not in TIERS:
            raise ValueError(f"powers and the half width are >= 0 and the tier is one of {TIERS}, got {self!r}")

    def active_uj(self, cpu_ns: int) -> int:
        """Dynamic energy [uJ] of `cpu_ns` [ns] of CPU time, rounded down."""
        return self.dynamic_mw_per_cpu * cpu_ns // MW_NS_PER_UJ

    def static_uj(self, duration_ns: int) -> int:
        """Static energy [uJ] of the whole node over `duration_ns` [ns], rounded down."""
        return self.idle_mw * duration_ns // MW_NS_PER_UJ

    def held_uj(self, duration_ns: int, share_milli: int) -> int:
        """Static energy [uJ] of `share_milli` [1/1000] of the node over `duration_ns` [ns], rounded down."""
        return self.idle_mw * duration_ns * share_milli // (MW_NS_PER_UJ * MILLI)

    def bounds(self, energy_uj: int) -> tuple[int, int]:
        """The 90 % interval [uJ] around `energy_uj`: low rounded down and never negative, high rounded up."""
        low = energy_uj * max(0, 100 - self.half_width_pct) // 100
        high = -(-energy_uj * (100 + self.half_width_pct) // 100)
        return low, high
