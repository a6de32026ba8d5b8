"""Put a request's parts from several devices together: it is settled when each of them has spoken."""

from collections.abc import Iterable
from dataclasses import dataclass

from greenserve.carbon.closed import Closed, Settled
from greenserve.carbon.cuts import Slots, summed
from greenserve.records import TIERS, Tier


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PartName:
    """A part of a request: the device, and the batch on a device that is settled by spans."""

    device: str
    span_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A request with all of its parts, in the order of their names.

    Energies [uJ] are sums over the parts; None where no meter saw any of them. `tier` is the weakest of the parts,
    `flags` all of theirs, and `gap` where a part is missing: the energy is then a lower bound. `charged` is what was
    charged: parts that the platform lost are waste on their device and not in the sums. `over_attributed_uj` is
    modelled and stands beside them. `cut` is the energy by piece where the run crosses grid slots.
    """

    request_id: str
    active_uj: int | None
    held_uj: int | None
    host_uj: int | None
    over_attributed_uj: int
    tier: Tier | None
    flags: tuple[str, ...]
    parts: tuple[tuple[PartName, Settled], ...]
    unmetered: tuple[PartName, ...]
    cut: Slots = ()


class Gatherer:
    """State: which parts each open request still waits for, and those that came; changed by `expect` and `take`."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[PartName]] = {}
        self._came: dict[str, dict[PartName, Settled | None]] = {}

    def __repr__(self) -> str:
        return f"<Gatherer: {len(self._waiting)} requests wait for parts>"

    def expect(self, request_id: str, parts: Iterable[PartName]) -> Whole | None:
        """Name a request's parts, once. The request itself where all of them have come before."""
        names = set(parts)
        if request_id in self._waiting or not names:
            raise ValueError(f"request {request_id} waits already or has no part; name all of its parts once")
        self._waiting[request_id] = names - self._came.setdefault(request_id, {}).keys()
        return self._whole(request_id)

    def take(self, closed: Closed) -> list[Whole]:
        """Take what a device settled; the requests that it completes, in the order of their ids."""
        device, touched = closed.device.device, set()
        for one in closed.settled:
            self._came.setdefault(one.request_id, {})[PartName(device=device, span_id=one.span_id or "")] = one
            touched.add(one.request_id)
        missing = [(request_id, "") for request_id in closed.unmetered] + list(closed.unmetered_parts)
        for request_id, span_id in missing:
            self._came.setdefault(request_id, {})[PartName(device=device, span_id=span_id)] = None
            touched.add(request_id)
        wholes = []
        for request_id in sorted(touched & self._waiting.keys()):
            self._waiting[request_id] -= self._came[request_id].keys()
            whole = self._whole(request_id)
            if whole is not None:
                wholes.append(whole)
        return wholes

    def miss(self, request_id: str, part: PartName) -> Whole | None:
        """A part of an open request never comes; the request itself where that was the last one."""
        self._came[request_id][part] = None
        self._waiting[request_id].discard(part)
        return self._whole(request_id)

    def waiting(self) -> list[str]:
        """The requests that wait for parts, in the order of their ids."""
        return sorted(self._waiting)

    def give_up(self, request_id: str) -> Whole:
        """The request with what came of it: every other part is missing. ValueError for one that does not wait."""
        if request_id not in self._waiting:
            raise ValueError(f"request {request_id} does not wait for a part")
        for part in self._waiting[request_id]:
            self._came[request_id][part] = None
        self._waiting[request_id].clear()
        whole = self._whole(request_id)
        assert whole is not None
        return whole

    def _whole(self, request_id: str) -> Whole | None:
        if self._waiting[request_id]:
            return None
        del self._waiting[request_id]
        came = self._came.pop(request_id)
        parts = tuple((name, part) for name, part in sorted(came.items()) if part is not None)
        unmetered = tuple(sorted(name for name, part in came.items() if part is None))
        charged = [part for _, part in parts if part.charged]
        flags = {flag for _, part in parts for flag in part.flags} | ({"gap"} if parts and unmetered else set())
        return Whole(
            request_id=request_id,
            active_uj=sum(part.active_uj for part in charged) if parts else None,
            held_uj=sum(part.held_uj for part in charged) if parts else None,
            host_uj=sum(part.host_uj for part in charged) if parts else None,
            over_attributed_uj=sum(part.over_attributed_uj for part in charged),
            tier=max((part.tier for _, part in parts), key=TIERS.index) if parts else None,
            flags=tuple(sorted(flags)),
            parts=parts,
            unmetered=unmetered,
            cut=summed([part.cut for _, part in parts]),
        )
