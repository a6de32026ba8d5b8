"""What a measured block used, device by device, with bounds and evidence: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from greenserve.carbon.sharing import Tally
from greenserve.carbon.uncertainty import bounds
from greenserve.records import TIERS, Tier, weakest_tier
from greenserve.units import joules_from_uj, seconds_from_ns

BP_PER_PCT = 100
MW_NS_PER_UJ = 1_000_000
EDGES = 2
COMPANY = frozenset({"foreign", "foreign_unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFacts:
    """What bounds the figures of a device's meter: its half width [%] (None: unknown), by how much time [ns] a value
    at an edge of a block may be off, and at which power [mW] (None: at the block's own mean)."""

    device: str
    name: str
    half_width_pct: int | None
    edge_ns: int
    edge_mw: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnergy:
    """A block's energy on one device [uJ]; None is unknown, never zero.

    `energy_uj` = `static_uj` (flows when idle) + `active_uj` (our work); `foreign_uj`, the work of other processes, is
    apart. `low_uj` and `high_uj` bound 90 %; None where the meter has no half width. `own_uj` is `energy_uj` without
    the blocks inside this one. `unknown_ns` [ns] is the part of the block's time that no reading covers. Flags:
    docs/metering.md, and `shared` where other blocks ran beside this one.
    """

    device: str
    meter: str
    energy_uj: int | None
    static_uj: int | None
    active_uj: int | None
    foreign_uj: int | None
    own_uj: int | None
    low_uj: int | None
    high_uj: int | None
    half_width_pct: int | None
    tier: Tier | None
    unknown_ns: int
    sources: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReport:
    """What a block used: its devices, and sums over those that are known.

    `start_us` [us UTC]; `parent` is the label of the block around it, whose energy includes this one's; `raised` names
    the exception that left the block. `shared_ns` [ns] is the time in which blocks beside this one took their share.
    `unmetered` names what could not be read, with the reason.
    """

    label: str
    start_us: int
    duration_ns: int
    devices: tuple[DeviceEnergy, ...]
    unmetered: tuple[tuple[str, str], ...] = ()
    parent: str | None = None
    shared_ns: int = 0
    raised: str | None = None

    @property
    def energy_uj(self) -> int | None:
        """Static and active energy [uJ] of the devices that are known; None where none is."""
        return _summed([device.energy_uj for device in self.devices])

    @property
    def own_uj(self) -> int | None:
        """The same without the blocks inside this one [uJ]: these sum over all blocks to what was metered."""
        return _summed([device.own_uj for device in self.devices])

    @property
    def foreign_uj(self) -> int | None:
        """The work of other processes on the same devices [uJ], in no other figure."""
        return _summed([device.foreign_uj for device in self.devices])

    @property
    def low_uj(self) -> int | None:
        """Lower 90 % bound [uJ]; None where a known device has none."""
        return self._bound([device.low_uj for device in self._known])

    @property
    def high_uj(self) -> int | None:
        """Upper 90 % bound [uJ]; None where a known device has none."""
        return self._bound([device.high_uj for device in self._known])

    @property
    def tier(self) -> Tier | None:
        """The weakest tier of the known devices; None where none is."""
        tiers = frozenset(device.tier for device in self._known if device.tier is not None)
        return weakest_tier(tiers) if tiers else None

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags of the devices."""
        return tuple(sorted({flag for device in self.devices for flag in device.flags}))

    def as_dict(self) -> dict[str, object]:
        """All figures with their units in the names, for JSON."""
        totals = ("energy_uj", "low_uj", "high_uj", "own_uj", "foreign_uj", "tier", "flags")
        return asdict(self) | {name: getattr(self, name) for name in totals}

    def __str__(self) -> str:
        lines = [
            f"{self.label}: {shown_joules(self.energy_uj, self.low_uj, self.high_uj)}, {self.tier or 'no tier'}, "
            f"in {seconds_from_ns(self.duration_ns):.3f} s"
        ]
        lines += [
            f"  {device.device} ({device.meter}, {device.tier or 'no tier'}): "
            f"{shown_joules(device.energy_uj, device.low_uj, device.high_uj)}"
            + (f", {', '.join(device.flags)}" if device.flags else "")
            for device in self.devices
        ]
        return "\n".join(lines)

    @property
    def _known(self) -> Sequence[DeviceEnergy]:
        return [device for device in self.devices if device.energy_uj is not None]

    def _bound(self, values: Sequence[int | None]) -> int | None:
        return None if None in values else _summed(values)


def shown_joules(energy_uj: int | None, low_uj: int | None, high_uj: int | None) -> str:
    """Joules with their 90 % interval, for people."""
    if energy_uj is None:
        return "unknown J"
    width = "" if low_uj is None or high_uj is None else f" [{_joules(low_uj)}, {_joules(high_uj)}]"
    return f"{_joules(energy_uj)} J{width or ' [interval unknown]'}"


def device_energy(facts: MeterFacts, tally: Tally | None, duration_ns: int) -> DeviceEnergy:
    """A device's figures from what a block got of it over `duration_ns` [ns].

    The interval is the meter's half width, widened by what both edges may be off. Where other processes were on the
    device and nothing tells their part, all of it may be theirs: the lower bound is then 0 uJ, a bound and no figure.
    """
    if tally is None or not tally.known_ns:
        return DeviceEnergy(
            device=facts.device,
            meter=facts.name,
            energy_uj=None,
            static_uj=None,
            active_uj=None,
            foreign_uj=None,
            own_uj=None,
            low_uj=None,
            high_uj=None,
            half_width_pct=facts.half_width_pct,
            tier=None,
            unknown_ns=duration_ns,
            flags=tuple(sorted(tally.flags)) if tally else (),
        )
    unknown_ns = max(0, duration_ns - tally.known_ns)
    flags = tally.flags | ({"shared"} if tally.shared_ns else set()) | ({"incomplete"} if unknown_ns else set())
    low_uj, high_uj = _interval(facts, tally)
    tier = max(tally.by_tier, key=TIERS.index)
    return DeviceEnergy(
        device=facts.device,
        meter=facts.name,
        energy_uj=tally.energy_uj,
        static_uj=tally.static_uj,
        active_uj=tally.active_uj,
        foreign_uj=tally.foreign_uj,
        own_uj=tally.own_uj,
        low_uj=0 if low_uj is not None and flags & COMPANY else low_uj,
        high_uj=high_uj,
        half_width_pct=facts.half_width_pct,
        tier=tier,
        unknown_ns=unknown_ns,
        sources=tuple(sorted(tally.sources)),
        flags=tuple(sorted(flags)),
    )


def devices_of(
    meters: Sequence[MeterFacts], tallies: Mapping[str, Tally], duration_ns: int
) -> tuple[DeviceEnergy, ...]:
    """The figures of all devices, in the meters' order."""
    return tuple(device_energy(facts, tallies.get(facts.device), duration_ns) for facts in meters)


def _interval(facts: MeterFacts, tally: Tally) -> tuple[int | None, int | None]:
    if "simulated" in tally.by_tier:
        return None, None
    width = bounds(tally.energy_uj, None if facts.half_width_pct is None else facts.half_width_pct * BP_PER_PCT)
    if width is None:
        return None, None
    mean_mw = tally.energy_uj * MW_NS_PER_UJ // tally.known_ns
    edge_mw = mean_mw if facts.edge_mw is None else facts.edge_mw
    edges_uj = -(-EDGES * edge_mw * facts.edge_ns // MW_NS_PER_UJ)
    return max(0, width[0] - edges_uj), width[1] + edges_uj


def _summed(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _joules(energy_uj: int) -> str:
    return f"{joules_from_uj(energy_uj):.4g}"
