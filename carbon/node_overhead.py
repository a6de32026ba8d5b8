"""What a node draws beyond its devices: fans, network, disks, supply loss (method: section 6). Pure.

An external meter of the whole node gives it as a difference: its own energy less that of all devices over the same
time. Where none is there it may be declared as a power.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from greenserve.carbon.pools import overhead_uj
from greenserve.errors import ConfigInvalid
from greenserve.records import TIERS, Tier
from greenserve.units import MILLI

NODE = "node"
"""The device whose meter sees all of the machine, and whose hours hold what the others do not explain."""
BY_DIFFERENCE, BY_POWER = "difference", "power"
BELOW_DEVICES = "below_devices"
"""The node's meter has shown less than its devices so far: the overhead of the stretch is unknown, never negative."""
UNCOVERED = "uncovered"
"""A device or the node was not metered all of the time: what lies between them is unknown."""
KEPT = 10_000
"""How many stretches of a device wait for the node's meter, beyond which the oldest are forgotten."""


class Stretch(NamedTuple):
    """A metered stretch of a device's time, monotonic [ns], its energy [uJ], and whether all of it was metered."""

    start_ns: int
    end_ns: int
    energy_uj: int
    whole: bool

    def part_uj(self, start_ns: int, end_ns: int) -> int:
        """The energy [uJ] in [start, end) by time share; parts of stretches that join sum exactly."""
        first_ns, last_ns = max(start_ns, self.start_ns) - self.start_ns, min(end_ns, self.end_ns) - self.start_ns
        length_ns = self.end_ns - self.start_ns
        return self.energy_uj * last_ns // length_ns - self.energy_uj * first_ns // length_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOverhead:
    """What the node is declared to draw beyond its devices [mW]. `half_width_pct` [%] is the half width of its 90 %
    interval, `source` says who measured it, and how."""

    power_mw: int
    half_width_pct: int
    source: str
    tier: Tier = "modelled"

    def __post_init__(self) -> None:
        if self.power_mw < 0 or not 1 <= self.half_width_pct <= 100 or not self.source:
            raise ConfigInvalid(
                f"energy.overhead: {self.power_mw} mW +-{self.half_width_pct} % of {self.source!r}; give power_w >= 0, "
                "half_width_pct of 1 to 100 and who measured it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beyond:
    """What the node drew beyond its devices over [start_ns, end_ns), monotonic [ns].

    `overhead_uj` [uJ] is None where it is unknown; the flags say why. By difference `node_uj` is what the node's meter
    showed, `devices` what each device had in that time; what the devices had more than the node so far is the deficit,
    taken from what comes next, so that the sum over time is the meters' own. By a declared power these are None, empty
    and 0.
    """

    start_ns: int
    end_ns: int
    overhead_uj: int | None
    tier: Tier
    source: str
    node_uj: int | None = None
    devices: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    deficit_before_uj: int = 0
    deficit_after_uj: int = 0
    flags: tuple[str, ...] = ()
    power_mw: int | None = None

    def members(self) -> dict[str, object]:
        """What stands in the interval of the device `node`, beside the usual members."""
        known_uj = self.overhead_uj or 0
        return {
            "device": NODE,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "intervals": 1,
            "metered_uj": known_uj,
            "static_uj": 0,
            "unmetered_ns": self.end_ns - self.start_ns if UNCOVERED in self.flags else 0,
            "pending_before_uj": 0,
            "pending_after_uj": 0,
            "over_attributed_uj": 0,
            "tier": self.tier,
            "source": self.source,
            "flags": list(self.flags),
            "overhead_uj": self.overhead_uj,
            "node_uj": self.node_uj,
            "devices": dict(self.devices),
            "deficit_before_uj": self.deficit_before_uj,
            "deficit_after_uj": self.deficit_after_uj,
            "power_mw": self.power_mw,
            "settled_by": BY_POWER if self.node_uj is None and self.power_mw is not None else BY_DIFFERENCE,
        }


class Stretches:
    """The metered time of devices. State, by `take` and `forget`: the newest stretches of each, in order of time, and
    up to when each was metered [ns]."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Stretch]] = {}
        self._reached_ns: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Stretches of {', '.join(self._of) or 'nothing'}>"

    @property
    def devices(self) -> tuple[str, ...]:
        """Who was metered, by name."""
        return tuple(sorted(self._reached_ns))

    def take(self, device: str, start_ns: int, end_ns: int, energy_uj: int, unmetered_ns: int = 0) -> None:
        """Add a device's next stretch; `unmetered_ns` [ns] has the time since the one before it and any inside.

        A stretch of no time, or of before the newest one, has no place.
        """
        kept = self._of.setdefault(device, deque(maxlen=KEPT))
        reached_ns = self._reached_ns.get(device, start_ns)
        if end_ns <= start_ns or start_ns < reached_ns:
            return
        kept.append(Stretch(start_ns, end_ns, energy_uj, unmetered_ns <= start_ns - reached_ns))
        self._reached_ns[device] = end_ns

    def reach_ns(self, device: str) -> tuple[int, int] | None:
        """From when to when a device was metered [ns]; None where it never was."""
        kept = self._of.get(device)
        return (kept[0].start_ns, kept[-1].end_ns) if kept else None

    def within(self, device: str, start_ns: int, end_ns: int) -> tuple[int, bool]:
        """A device's energy [uJ] in [start, end), and whether all of that time was metered."""
        energy_uj = covered_ns = 0
        whole = True
        for one in self._of.get(device, ()):
            overlap_ns = min(end_ns, one.end_ns) - max(start_ns, one.start_ns)
            if overlap_ns > 0:
                energy_uj += one.part_uj(start_ns, end_ns)
                covered_ns += overlap_ns
                whole &= one.whole
        return energy_uj, whole and covered_ns == end_ns - start_ns

    def forget(self, up_to_ns: int) -> None:
        """Drop what ended by then."""
        for kept in self._of.values():
            while kept and kept[0].end_ns <= up_to_ns:
                kept.popleft()


def difference(
    node: tuple[int, bool], devices: Mapping[str, tuple[int, bool]], deficit_uj: int
) -> tuple[int | None, int, tuple[str, ...]]:
    """(overhead or None [uJ], deficit that is left [uJ], flags) of a stretch from the energy of the node and of each
    device, each with whether it was metered all of the time, and the deficit before it.

    An uncovered stretch leaves the deficit as it is: nothing is known of it.
    """
    if not node[1] or not all(whole for _, whole in devices.values()):
        return None, deficit_uj, (UNCOVERED,)
    beyond_uj = node[0] - sum(energy_uj for energy_uj, _ in devices.values()) - deficit_uj
    return (None, -beyond_uj, (BELOW_DEVICES,)) if beyond_uj < 0 else (beyond_uj, 0, ())


class NodeBalance:
    """The overhead of a node whose meter is read beside those of its devices.

    State, by `device`, `node` and `close` alone: stretches that were not compared yet, up to when they were, the
    deficit, the weakest tier of each, and the node's source.
    """

    def __init__(self, devices: Iterable[str]) -> None:
        self._stretches = Stretches()
        self._tiers: dict[str, Tier] = {}
        self._devices = tuple(sorted(devices))
        self._source = ""
        self._closed_ns: int | None = None
        self._deficit_uj = 0

    def __repr__(self) -> str:
        return f"<NodeBalance of {', '.join(self._devices)} up to {self._closed_ns}>"

    def device(self, device: str, stretch: tuple[int, int], energy_uj: int, *, unmetered_ns: int, tier: Tier) -> None:
        """Take what a device's accounts closed over [start, end) [ns]; tiers only get weaker."""
        self._stretches.take(device, *stretch, energy_uj, unmetered_ns)
        self._tiers[device] = max(tier, self._tiers.get(device, tier), key=TIERS.index)

    def node(self, stretch: tuple[int, int], energy_uj: int, *, tier: Tier, source: str) -> None:
        """Take an interval of the node's meter."""
        self._stretches.take(NODE, *stretch, energy_uj)
        self._tiers[NODE] = max(tier, self._tiers.get(NODE, tier), key=TIERS.index)
        self._source = source

    def close(self, least_ns: int) -> Beyond | None:
        """Compare all that is known of everybody, once it is at least so long; None before."""
        reaches = [self._stretches.reach_ns(name) for name in (NODE, *self._devices)]
        known = [reach for reach in reaches if reach is not None]
        if len(known) < len(reaches):
            return None
        end_ns = min(end for _, end in known)
        if self._closed_ns is None:
            self._closed_ns = max(start for start, _ in known)
        start_ns = self._closed_ns
        if end_ns - start_ns < max(1, least_ns):
            return None
        node = self._stretches.within(NODE, start_ns, end_ns)
        devices = {name: self._stretches.within(name, start_ns, end_ns) for name in self._devices}
        before_uj = self._deficit_uj
        overhead, self._deficit_uj, flags = difference(node, devices, before_uj)
        self._stretches.forget(end_ns)
        self._closed_ns = end_ns
        return Beyond(
            start_ns=start_ns,
            end_ns=end_ns,
            overhead_uj=overhead,
            tier=max(self._tiers.values(), key=TIERS.index),
            source=self._source,
            node_uj=node[0],
            devices={name: energy_uj for name, (energy_uj, _) in devices.items()},
            deficit_before_uj=before_uj,
            deficit_after_uj=self._deficit_uj,
            flags=flags,
        )


def declared_over(declared: DeclaredOverhead, start_ns: int, end_ns: int) -> Beyond:
    """The declared power times the time [ns]."""
    return Beyond(
        start_ns=start_ns,
        end_ns=end_ns,
        overhead_uj=overhead_uj(declared.power_mw, end_ns - start_ns),
        tier=declared.tier,
        source=f"declared {declared.power_mw / MILLI:g} W +-{declared.half_width_pct} %, {declared.source}",
        power_mw=declared.power_mw,
    )
