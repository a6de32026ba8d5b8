"""CPU time of a process and all that descend from it: what of a node's work is ours."""

import os
import time
from pathlib import Path

from greenserve.errors import MeterUnavailable

PROC = Path("/proc")


class OwnCpu:
    """Cumulative CPU time of the process `root_pid` and its descendants; counts what they used before the start too.

    State, changed by `read_ns` alone: `_last_ns`, each living descendant's clock at the last reading; `_strangers`,
    living processes known not to descend from the root; `_total_ns`, the sum of all steps. A process that ended keeps
    what was read of it; what it used after its last reading is missing here, so read every second or so. A descendant
    whose parent ended stays ours.
    """

    def __init__(self, root_pid: int) -> None:
        self._root_pid = root_pid
        self._last_ns: dict[int, int] = {}
        self._strangers: set[int] = set()
        self._total_ns = 0
        if _clock_ns(root_pid) is None:
            raise MeterUnavailable(f"no process {root_pid} whose CPU time can be read; give the id of a living one")

    def __repr__(self) -> str:
        return f"<OwnCpu of process {self._root_pid}: {len(self._last_ns)} living, {self._total_ns} ns>"

    @property
    def living(self) -> frozenset[int]:
        """Process ids that were ours and alive at the last reading."""
        return frozenset(self._last_ns)

    def read_ns(self) -> int:
        """CPU time [ns] so far; never falls."""
        living = _process_ids()
        self._strangers &= living
        self._last_ns = {pid: last_ns for pid, last_ns in self._last_ns.items() if pid in living}
        self._classify(living)
        for pid, last_ns in list(self._last_ns.items()):
            now_ns = _clock_ns(pid)
            if now_ns is None:
                del self._last_ns[pid]
            elif now_ns < last_ns:
                # The number went to a new process: forget it, the next reading asks again whose it is.
                del self._last_ns[pid]
            else:
                self._total_ns += now_ns - last_ns
                self._last_ns[pid] = now_ns
        return self._total_ns

    def _classify(self, living: set[int]) -> None:
        """Sort processes not seen before into ours and strangers by following their parents."""
        unknown = living - self._strangers - self._last_ns.keys()
        parents = {pid: _parent_of(pid) for pid in unknown}
        for pid in unknown:
            line = [pid]
            while (head := line[-1]) != self._root_pid and head not in self._last_ns:
                parent = parents.get(head)
                if not parent or parent in line:
                    break
                line.append(parent)
            if line[-1] == self._root_pid or line[-1] in self._last_ns:
                for member in line:
                    self._last_ns.setdefault(member, 0)
        self._strangers |= unknown - self._last_ns.keys()


def _process_ids() -> set[int]:
    try:
        return {int(name) for name in os.listdir(PROC) if name.isdigit()}
    except OSError as error:
        raise MeterUnavailable(f"{PROC} cannot be listed ({error}); own CPU times need a Linux /proc") from None


def _parent_of(pid: int) -> int | None:
    """The parent's id, or None where the process has ended meanwhile."""
    try:
        stat = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses itself, so look behind the last one.
    return int(stat[stat.rindex(b")") + 1 :].split()[1])


def _clock_ns(pid: int) -> int | None:
    """CPU time [ns] of all threads of a process, ended ones included; None where it has ended."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return None
