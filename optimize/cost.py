"""What the run itself costs: CPU time of this process and its share of the node's static power."""

import time
from dataclasses import dataclass

from greenserve.carbon.emissions import emissions_ng
from greenserve.carbon.power_model import CpuPower
from greenserve.records import Tier
from greenserve.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedIntensity:
    """A grid intensity that the user gave [mg/kWh], for the zone that the user named (None: not named)."""

    zone: str | None
    mg_per_kwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """Wall time [s], dynamic and idle energy [uJ] with their tier; emissions [ng], None where no intensity is known."""

    wall_s: float
    dynamic_uj: int
    idle_uj: int
    tier: Tier
    emissions_ng: int | None
    intensity: StatedIntensity | None

    @property
    def gross_uj(self) -> int:
        """Dynamic plus idle energy [uJ]."""
        return self.dynamic_uj + self.idle_uj


class RunMeter:
    """Counts from its creation on. State: the two start times, never changed."""

    def __init__(self, *, power: CpuPower, intensity: StatedIntensity | None) -> None:
        self._power = power
        self._intensity = intensity
        self._start_ns = time.monotonic_ns()
        self._start_cpu_ns = time.process_time_ns()

    def read(self) -> RunCost:
        """The cost so far; the whole node's static power counts, as nothing else is known to use it."""
        wall_ns = time.monotonic_ns() - self._start_ns
        dynamic_uj = self._power.active_uj(time.process_time_ns() - self._start_cpu_ns)
        idle_uj = self._power.static_uj(wall_ns)
        stated = self._intensity
        return RunCost(
            wall_s=wall_ns / NS_PER_S,
            dynamic_uj=dynamic_uj,
            idle_uj=idle_uj,
            tier=self._power.tier,
            emissions_ng=None if stated is None else emissions_ng(dynamic_uj + idle_uj, stated.mg_per_kwh),
            intensity=stated,
        )
