"""Whether a device's intervals say what the requests that were settled with them had. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from greenserve.carbon.entries import BY_SPANS, LATER_POOLS, POOLS, it_uj
from greenserve.carbon.hours import BY_CPU_TIME, PARTS, SettledLines
from greenserve.carbon.ledger.node_check import NodeCheck
from greenserve.carbon.node_overhead import NODE

WASTE = "waste_uj"


class Conservation:
    """Feed it what was settled and the intervals, in order of index.

    State: energy [uJ] settled since a device's last interval, by part; what was pending after that interval; how many
    lines were lost, in all and before each device's last interval; what the intervals have of these by part; what the
    node's own meter is compared with.
    """

    def __init__(self) -> None:
        self._parts: dict[str, Counter[str]] = {}
        self._pending_uj: dict[str, int] = {}
        self._node = NodeCheck()
        self._lost = 0
        self._lost_before: dict[str, int] = {}
        self.missing: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Conservation of {len(self._parts)} devices>"

    def settle(self, part: Mapping[str, Any], *, charged: bool, device: str = BY_CPU_TIME) -> None:
        """A line's part on a device; without one, on that which is settled by CPU time."""
        parts = self._parts.setdefault(device, Counter())
        if charged:
            for name in PARTS:
                parts[name] += part[name]
        else:
            parts[WASTE] += it_uj(part) or 0

    def take_lines(self, settled: SettledLines) -> None:
        """As `settle` for charged lines of the CPU alone, by their sums."""
        parts = self._parts.setdefault(BY_CPU_TIME, Counter())
        for sums in settled.by_tenant.values():
            for name, value_uj in zip(PARTS, sums, strict=False):
                parts[name] += value_uj

    def lose(self) -> None:
        """A settled line was erased: the next interval of any device may hold more than the lines before it."""
        self._lost += 1

    def close(self, body: Mapping[str, Any]) -> Iterator[str]:
        """A device's interval: what in it does not follow."""
        device = body["device"]
        placed = sum(body.get(pool, 0) if pool in LATER_POOLS else body[pool] for pool in POOLS)
        placed += body["pending_after_uj"] + (body.get("overhead_uj") or 0)
        if body["metered_uj"] + body["pending_before_uj"] != placed:
            yield f"metered and pending before are {body['metered_uj'] + body['pending_before_uj']} uJ, placed {placed}"
        before = self._pending_uj.get(device, 0)
        if body["pending_before_uj"] != before:
            yield f"{before} uJ were pending after the interval before it, {body['pending_before_uj']} uJ before it"
        self._pending_uj[device] = body["pending_after_uj"]
        if body.get("over_attributed_uj", 0) < 0:
            yield f"over_attributed_uj is {body['over_attributed_uj']}: what late spans lacked is never negative"
        if device == NODE:
            yield from self._node.beyond(body)
        else:
            self._node.device(body)
        if not 0 <= (body.get("metering_uj") or 0) <= body["background_uj"]:
            yield f"metering_uj is {body['metering_uj']}, it is a part of the background's {body['background_uj']}"
        parts = self._parts.pop(device, Counter())
        if device != NODE and body.get("settled_by") != BY_SPANS:
            parts += self._parts.pop(BY_CPU_TIME, Counter())
        lost = self._lost > self._lost_before.get(device, 0)
        self._lost_before[device] = self._lost
        for part in (*PARTS, WASTE):
            if lost and body[part] > parts[part]:
                self.missing[part] += body[part] - parts[part]
            elif body[part] != parts[part]:
                yield f"{part} is {body[part]}, the requests settled with it sum to {parts[part]}"

    def left(self) -> dict[str, dict[str, int]]:
        """What was settled and no interval holds, by device."""
        return {
            device or "cpu": {name: parts[name] for name in (*PARTS, WASTE) if parts[name]}
            for device, parts in self._parts.items()
            if any(parts.values())
        }
