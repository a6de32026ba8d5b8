"""The embedded default meter: a node's energy from its CPU time since boot (method: E1)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from greenserve.carbon.power_model import CpuPower
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import Reading
from greenserve.units import MILLI, NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

IDLE_MW_PER_CPU = 750
MAX_MW_PER_CPU = 3_500
MEMORY_MW_PER_GB = 392
BYTES_PER_GB = 1_000_000_000
CLASS_AVERAGE_HALF_WIDTH_PCT = 60
CONFIGURED_HALF_WIDTH_PCT = 35
ALPHA_LEAST, ALPHA_MOST = 0.2, 2.0

# Order of the columns of /proc/stat's first line. `guest` is already inside `user` and `guest_nice` inside `nice`;
# `idle` and `iowait` are not work; `steal` is time in which other virtual machines had this CPU: their energy.
COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
BUSY_COLUMNS = ("user", "nice", "system", "irq", "softirq")


class CpuTimeMeter:
    """Energy of this node since boot: static power times time plus dynamic power times busy CPU time.

    With an `alpha` other than 1, dynamic power follows `u^alpha` of the busy share u, which needs the course of the
    load: its energy counts from the meter's first reading, at a resolution of the readings (one a second).

    State, changed by `read` alone: `_busy_ns`, the largest busy time seen (the kernel's counters may step back by a
    tick, a cumulative reading must not); `_curved_uj` and `_last_ns`, the sum with an alpha and its last time.
    """

    def __init__(
        self,
        power: CpuPower,
        *,
        clock: "Clock",
        stat_file: Path = Path("/proc/stat"),
        alpha: float = 1.0,
        cpus: int | None = None,
    ) -> None:
        """`alpha` is E1's exponent as calibrated here; `cpus`, needed with it, defaults to the whole machine's."""
        count = os.cpu_count() if cpus is None else cpus
        if not ALPHA_LEAST <= alpha <= ALPHA_MOST or not count or count < 1:
            raise ConfigInvalid(
                f"alpha is {alpha} for {count} logical CPUs; it lies in {ALPHA_LEAST}..{ALPHA_MOST} and comes from "
                "`greenserve meters calibrate`"
            )
        self._alpha, self._cpus = alpha, count
        self._curved_uj = 0
        self._last_ns: int | None = None
        self._power = power
        self._clock = clock
        self._stat_file = stat_file
        self._tick_ns = NS_PER_S // os.sysconf("SC_CLK_TCK")
        self._busy_ns = 0
        # A changed model is another counter: intervals refuse to span two sources.
        self._source = f"cpu-time model {power.idle_mw} mW + {power.dynamic_mw_per_cpu} mW per busy CPU"
        if alpha != 1:
            # Its sum begins with this meter: another one, also of the same process, counts something else.
            self._source += f" ^ {alpha:g} since {clock.monotonic_ns()} ns"

    def __repr__(self) -> str:
        return f"<CpuTimeMeter {self._source}, {self._power.tier}>"

    def read(self) -> Reading:
        """The counter now; raises MeterUnavailable where /proc/stat cannot be read."""
        at_ns = self._clock.monotonic_ns()
        before_ns = self._busy_ns
        self._busy_ns = max(before_ns, _busy_ticks(self._stat_file) * self._tick_ns)
        static_uj = self._power.static_uj(at_ns)
        active_uj = self._power.active_uj(self._busy_ns)
        if self._alpha != 1:
            active_uj = self._curved(at_ns, self._busy_ns - before_ns)
        return Reading(
            device="cpu",
            energy_uj=static_uj + active_uj,
            static_uj=static_uj,
            at_ns=at_ns,
            source=self._source,
            tier=self._power.tier,
            busy_ns=self._busy_ns,
        )

    def _curved(self, at_ns: int, busy_ns: int) -> int:
        """The dynamic energy [uJ] since the first reading, `busy_ns` [ns] of CPU time after the last one."""
        last_ns, self._last_ns = self._last_ns, at_ns
        if last_ns is not None and at_ns > last_ns:
            whole_ns = self._cpus * (at_ns - last_ns)
            # A busy share of all CPUs scales the power of all CPUs.
            self._curved_uj += self._power.active_uj(round(whole_ns * min(1.0, busy_ns / whole_ns) ** self._alpha))
        return self._curved_uj

    def describe(self) -> Mapping[str, object]:
        """Source, tier, half width [%], powers [mW] and where they come from."""
        return {
            "device": "cpu",
            "source": self._source,
            "tier": self._power.tier,
            "half_width_pct": self._power.half_width_pct,
            "idle_mw": self._power.idle_mw,
            "dynamic_mw_per_cpu": self._power.dynamic_mw_per_cpu,
            "alpha": self._alpha,
            "parameters": self._power.source,
        }


def host_power(
    *,
    idle_w: float | None = None,
    max_w: float | None = None,
    cpus: int | None = None,
    memory_bytes: int | None = None,
    half_width_pct: int = CONFIGURED_HALF_WIDTH_PCT,
) -> CpuPower:
    """The power model of this machine.

    `idle_w` and `max_w` [W] are the machine's own figures, memory included, at rest and with all CPUs busy (tier
    modelled, `half_width_pct` [%]); without them a class average per logical CPU and GB of memory stands in (tier
    class_average). `cpus`
    and `memory_bytes` default to the whole machine's, since /proc/stat counts the whole machine too.
    """
    count = os.cpu_count() if cpus is None else cpus
    if not count or count < 1:
        raise MeterUnavailable("the number of logical CPUs of this machine is not known; the CPU-time model needs it")
    if idle_w is None and max_w is None:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if memory_bytes is None else memory_bytes
        return CpuPower(
            idle_mw=count * IDLE_MW_PER_CPU + installed * MEMORY_MW_PER_GB // BYTES_PER_GB,
            dynamic_mw_per_cpu=MAX_MW_PER_CPU - IDLE_MW_PER_CPU,
            tier="class_average",
            half_width_pct=CLASS_AVERAGE_HALF_WIDTH_PCT,
            source=f"class average for {count} logical CPUs and {installed / BYTES_PER_GB:.1f} GB of memory",
        )
    if idle_w is None or max_w is None or not 0 <= idle_w < max_w < float("inf"):
        raise ConfigInvalid(
            f"idle_w is {idle_w} and max_w is {max_w}; give both in watts with 0 <= idle_w < max_w "
            "(the whole machine at rest and with all CPUs busy), or neither for a class average"
        )
    idle_mw = round(idle_w * MILLI)
    return CpuPower(
        idle_mw=idle_mw,
        dynamic_mw_per_cpu=(round(max_w * MILLI) - idle_mw) // count,
        tier="modelled",
        half_width_pct=half_width_pct,
        source=f"configured: {idle_w} W idle, {max_w} W with {count} logical CPUs busy",
    )


def _busy_ticks(stat_file: Path) -> int:
    """Busy clock ticks of all CPUs since boot."""
    try:
        with stat_file.open() as file:
            name, *texts = file.readline().split()
        ticks = dict(zip(COLUMNS, map(int, texts), strict=False))
        if name != "cpu" or not any(ticks.values()):
            raise ValueError(f"its first line is no CPU total: {name!r} {texts}")
        return sum(ticks[column] for column in BUSY_COLUMNS)
    except (OSError, ValueError, KeyError) as error:
        raise MeterUnavailable(
            f"{stat_file} cannot be read as CPU times ({error}); the CPU-time model needs a Linux /proc with them"
        ) from None
