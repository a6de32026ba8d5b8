"""A divided board's counter split over its MIG instances: a meter for each, and one for what none of them holds.

The counter is the board's; its steps are shared as `carbon/attribution.py` does (`split_instances`,
`static_instances`), so that the instances and the rest sum to the board to the microjoule.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from greenserve.carbon.attribution import split_instances, static_instances
from greenserve.carbon.meters.boards import CounterMeter
from greenserve.carbon.meters.mig import Instance
from greenserve.records import TIERS, Reading, Tier

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

FRESH_NS = 10_000_000
"""Meters of one board that are asked within 10 ms share one call of the driver."""
BY_SLICES_PCT = 80
"""Half width of an instance's energy where nobody says how busy it was: the worst case of a share by size."""
BY_ACTIVITY_PCT = 15
"""SM utilisation is no power (to verify): what instances that run different kernels may be off by."""


class MigSplit:
    """Reads a board and keeps what each instance and the rest have of it.

    State, changed by `update` alone: `_last`, the board's last reading, and when it was asked for; each instance's
    energy and static energy [uJ] since this began, and the rest's; `_tier` of the last step; `_segment`, raised where
    the board's counter fell. Used under one thread at a time: the node's reader.
    """

    def __init__(
        self,
        meter: CounterMeter,
        instances: tuple[Instance, ...],
        *,
        all_slices: int,
        activity: Callable[[], Mapping[str, int] | None],
        clock: "Clock",
    ) -> None:
        self.meter, self.instances = meter, instances
        self._slices = {one.uuid: one.slices for one in instances}
        self._all_slices, self._activity, self._clock = all_slices, activity, clock
        self._last: Reading | None = None
        self._asked_ns = -FRESH_NS
        self._energy_uj = dict.fromkeys([*self._slices, ""], 0)
        self._static_uj = dict.fromkeys([*self._slices, ""], 0)
        self._by_activity = False
        self._segment = 0

    def __repr__(self) -> str:
        return f"<MigSplit of {self.meter!r} over {len(self._slices)} instances>"

    @property
    def by_activity(self) -> bool:
        """Whether the last step was shared by how busy the instances were; otherwise by their slices alone."""
        return self._by_activity

    @property
    def tier(self) -> Tier:
        """The board's while activity is known, modelled otherwise."""
        return self.meter.tier if self._by_activity else max(self.meter.tier, "modelled", key=TIERS.index)

    def source_of(self, board: object) -> str:
        """The source of the shares, given that of the board's counter."""
        return f"{board}, MIG share {self._segment}"

    def reading(self, uuid: str, device: str) -> Reading:
        """The counter of an instance (or "": the rest) as a reading of `device`; MeterUnavailable as the board's."""
        last = self._update()
        return Reading(
            device=device,
            energy_uj=self._energy_uj[uuid],
            static_uj=self._static_uj[uuid],
            at_ns=last.at_ns,
            source=self.source_of(last.source),
            tier=self.tier if uuid else self.meter.tier,
        )

    def _update(self) -> Reading:
        now_ns = self._clock.monotonic_ns()
        if self._last is not None and now_ns - self._asked_ns < FRESH_NS:
            return self._last
        reading, last = self.meter.read(), self._last
        self._asked_ns, self._last = now_ns, reading
        if last is None or reading is last:
            return reading
        energy_uj, static_uj = reading.energy_uj - last.energy_uj, reading.static_uj - last.static_uj
        if energy_uj < 0 or static_uj < 0 or reading.source != last.source:
            self._segment += 1
            return reading
        self._share(energy_uj, min(static_uj, energy_uj))
        return reading

    def _share(self, energy_uj: int, static_uj: int) -> None:
        activity = self._activity()
        self._by_activity = activity is not None and activity.keys() == self._slices.keys()
        weights = activity if activity is not None and self._by_activity else dict.fromkeys(self._slices, 1)
        statics, idle_uj = static_instances(static_uj, self._slices, self._all_slices)
        dynamics = split_instances(energy_uj - static_uj, weights, self._slices)
        for uuid in self._slices:
            self._static_uj[uuid] += statics[uuid]
            self._energy_uj[uuid] += statics[uuid] + dynamics[uuid]
        self._static_uj[""] += idle_uj
        self._energy_uj[""] += idle_uj


class InstanceMeter:
    """The share of one MIG instance in its board's counter."""

    def __init__(self, split: MigSplit, instance: Instance) -> None:
        self._split, self._instance = split, instance

    def __repr__(self) -> str:
        return f"<InstanceMeter {self._instance.uuid} of {self._split!r}>"

    def read(self) -> Reading:
        """The share up to the board's last move; MeterUnavailable as the board's meter raises it."""
        return self._split.reading(self._instance.uuid, self._instance.uuid)

    def describe(self) -> Mapping[str, object]:
        """What the board's meter says, with the instance's identity, its slices, how it is shared, and how sure."""
        board = dict(self._split.meter.describe())
        own = BY_ACTIVITY_PCT if self._split.by_activity else BY_SLICES_PCT
        width = board["half_width_pct"]
        assert isinstance(width, int)
        return board | {
            "device": self._instance.uuid,
            "source": self._split.source_of(board["source"]),
            "mig_parent": self._instance.board,
            "mig_gpu_instance": self._instance.gpu_instance,
            "mig_slices": self._instance.slices,
            "mig_shared_by": "SM activity x slices" if self._split.by_activity else "slices",
            "tier": self._split.tier,
            "half_width_pct": max(width, own),
        }


class RestMeter:
    """What no instance of a divided board holds: the static energy of its free slices."""

    def __init__(self, split: MigSplit, board: str) -> None:
        self._split, self._board = split, board

    def __repr__(self) -> str:
        return f"<RestMeter {self._board} of {self._split!r}>"

    def read(self) -> Reading:
        """The rest up to the board's last move; MeterUnavailable as the board's meter raises it."""
        return self._split.reading("", self._board)

    def describe(self) -> Mapping[str, object]:
        """What the board's meter says, and which instances have the other part."""
        held = {one.uuid: one.slices for one in self._split.instances}
        board = dict(self._split.meter.describe())
        return board | {"source": self._split.source_of(board["source"]), "mig_instances": held}
