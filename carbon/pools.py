"""What of a device's hour nobody's request caused, and who carries it (method: section 6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from greenserve.carbon.apportion import apportion
from greenserve.carbon.power_model import MW_NS_PER_UJ
from greenserve.carbon.slots import US_PER_HOUR

Pool = Literal["idle", "load", "waste", "background", "foreign", "gap", "overhead"]
Rule = Literal["reserved", "busy", "unused", "platform"]
METERED_POOLS: tuple[Pool, ...] = ("idle", "load", "waste", "background", "foreign", "gap")
SHARED_POOLS: tuple[Pool, ...] = ("idle", "load", "overhead")
"""Closed to tenants; `waste` goes to the platform, background, foreign and gap to nobody."""
PLATFORM = "_platform"
CLOSE_AFTER_US = 600_000_000
"""An hour closes ten minutes after its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHour:
    """A device's pools [uJ] in a UTC hour (counted from 1970). `overhead` None = unknown, never 0."""

    device: str
    hour: int
    idle_uj: int = 0
    load_uj: int = 0
    waste_uj: int = 0
    background_uj: int = 0
    foreign_uj: int = 0
    gap_uj: int = 0
    overhead_uj: int | None = None

    def __post_init__(self) -> None:
        if any(amount is not None and amount < 0 for amount in (*self.metered().values(), self.overhead_uj)):
            raise ValueError(f"pools are >= 0 uJ, got {self!r}")

    def metered(self) -> dict[Pool, int]:
        """The pools that the device's meter saw, by name."""
        return {
            "idle": self.idle_uj,
            "load": self.load_uj,
            "waste": self.waste_uj,
            "background": self.background_uj,
            "foreign": self.foreign_uj,
            "gap": self.gap_uj,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Who needed a device in an hour, in whole-device time [ns]: `capacity_ns` is all there was, `reserved_ns` by
    tenant what was kept for them, `busy_ns` by tenant the time of their spans times share on models resident there."""

    capacity_ns: int
    reserved_ns: Mapping[str, int] = field(default_factory=dict)
    busy_ns: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.capacity_ns < 1 or any(ns < 0 for part in (self.reserved_ns, self.busy_ns) for ns in part.values()):
            raise ValueError(f"a device has capacity and times are >= 0 ns, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A tenant's part [uJ] of a device's pool in an hour, and the rule that gave it: the content of a `share` entry."""

    tenant: str
    device: str
    hour: int
    pool: Pool
    rule: Rule
    energy_uj: int


def overhead_uj(other_mw: int | None, duration_ns: int) -> int | None:
    """Energy [uJ] of what no device meter sees (fans, NIC, SSD, supply loss): P_other [mW] x time [ns], rounded down.

    None where P_other was not calibrated against an external meter: unknown, and the boundary says so.
    """
    if duration_ns < 0 or (other_mw is not None and other_mw < 0):
        raise ValueError(f"needs a power >= 0 mW or None and a time >= 0 ns, got {other_mw} and {duration_ns}")
    return None if other_mw is None else other_mw * duration_ns // MW_NS_PER_UJ


def close_hour(pools: PoolHour, demand: Demand) -> list[Share]:
    """Who carries a device's pools of an hour; each pool's shares sum to it exactly.

    Idle, load and overhead: (1) the part that is reserved, to tenants by reserved time; (2) the rest by busy time; (3)
    without any, to the platform. Waste is the platform's. Background, foreign and gap are nobody's: they have no
    share, and neither has an overhead that is unknown. Parts of 0 uJ make no share.
    """
    shares = []
    for pool in SHARED_POOLS:
        energy_uj = pools.overhead_uj if pool == "overhead" else pools.metered()[pool]
        if energy_uj:
            for rule, tenant, part_uj in _carried(energy_uj, demand):
                shares.append((tenant, pool, rule, part_uj))
    if pools.waste_uj:
        shares.append((PLATFORM, "waste", "platform", pools.waste_uj))
    return [
        Share(tenant=tenant, device=pools.device, hour=pools.hour, pool=pool, rule=rule, energy_uj=part_uj)
        for tenant, pool, rule, part_uj in shares
        if part_uj
    ]


def closes_at_us(hour: int) -> int:
    """When an hour closes [us UTC]."""
    return (hour + 1) * US_PER_HOUR + CLOSE_AFTER_US


def _carried(energy_uj: int, demand: Demand) -> list[tuple[Rule, str, int]]:
    reserved_ns = sum(demand.reserved_ns.values())
    reserved_uj = energy_uj * min(reserved_ns, demand.capacity_ns) // demand.capacity_ns
    carried: list[tuple[Rule, str, int]] = []
    if reserved_uj:
        parts = apportion(reserved_uj, demand.reserved_ns)
        carried += [("reserved", tenant, parts[tenant]) for tenant in sorted(parts)]
    rest_uj = energy_uj - reserved_uj
    if any(demand.busy_ns.values()):
        parts = apportion(rest_uj, demand.busy_ns)
        carried += [("busy", tenant, parts[tenant]) for tenant in sorted(parts)]
    else:
        carried.append(("unused", PLATFORM, rest_uj))
    return carried
