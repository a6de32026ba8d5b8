"""CPU time of a process and its descendants, those that have ended included."""

import os
from pathlib import Path
from typing import NamedTuple

from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S

PROC = Path("/proc")
PARENT, USER, SYSTEM, WAITED_USER, WAITED_SYSTEM = 1, 11, 12, 13, 14
"""Places behind the name in /proc/PID/stat."""


class _Seen(NamedTuple):
    parent: int
    ticks: int


class FamilyCpu:
    """Cumulative CPU time of `root_pid` and all that descend from it; includes what they used before the start.

    A process that ended stands in its parent's account once that one waited for it, so children that lived shorter
    than the time between two readings count too. A descendant whose parent ended stays ours while it lives.

    State, changed by `read_ns` alone: `_members`, the living family at the last reading; `_lost_ticks`, of those that
    ended without a parent of ours to account for them; `_total_ns`, which never falls.
    """

    def __init__(self, root_pid: int) -> None:
        self._root_pid = root_pid
        self._members: dict[int, _Seen] = {}
        self._lost_ticks = 0
        self._total_ns = 0
        self._tick_ns = NS_PER_S // os.sysconf("SC_CLK_TCK")
        self.read_ns()
        if root_pid not in self._members:
            raise MeterUnavailable(f"no process {root_pid} whose CPU time can be read; give the id of a living one")

    def __repr__(self) -> str:
        return f"<FamilyCpu of process {self._root_pid}: {len(self._members)} living, {self._total_ns} ns>"

    @property
    def living(self) -> frozenset[int]:
        """Process ids of the family at the last reading."""
        return frozenset(self._members)

    def read_ns(self) -> int:
        """CPU time [ns] so far, in clock ticks; raises MeterUnavailable where processes cannot be listed."""
        seen = _all_processes()
        ours = self._family(seen)
        for pid, last in self._members.items():
            if pid not in ours and last.parent not in ours:
                self._lost_ticks += last.ticks
        self._members = {pid: seen[pid] for pid in ours}
        ticks = self._lost_ticks + sum(member.ticks for member in self._members.values())
        # A child that ended and was not waited for yet is missing for a moment: a cumulative reading must not fall.
        self._total_ns = max(self._total_ns, ticks * self._tick_ns)
        return self._total_ns

    def _family(self, seen: dict[int, _Seen]) -> set[int]:
        ours = {pid for pid in (self._root_pid, *self._members) if pid in seen}
        children: dict[int, list[int]] = {}
        for pid, one in seen.items():
            children.setdefault(one.parent, []).append(pid)
        waiting = list(ours)
        while waiting:
            for child in children.get(waiting.pop(), []):
                if child not in ours:
                    ours.add(child)
                    waiting.append(child)
        return ours


def _all_processes() -> dict[int, _Seen]:
    try:
        names = [name for name in os.listdir(PROC) if name.isdigit()]
    except OSError as error:
        raise MeterUnavailable(f"{PROC} cannot be listed ({error}); own CPU times need a Linux /proc") from None
    seen: dict[int, _Seen] = {}
    for name in names:
        try:
            stat = (PROC / name / "stat").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        # The name in parentheses may hold spaces and parentheses itself, so look behind the last one.
        columns = stat[stat.rindex(b")") + 1 :].split()
        used = sum(int(columns[place]) for place in (USER, SYSTEM, WAITED_USER, WAITED_SYSTEM))
        seen[int(name)] = _Seen(int(columns[PARENT]), used)
    return seen
