"""CPU time of chosen threads of this process: what an engine's worker threads used during a span."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from greenserve.errors import MeterUnavailable

TASKS = Path("/proc/self/task")


def thread_ids() -> frozenset[int]:
    """Kernel ids of the threads of this process now; the difference around a load names an engine's threads."""
    try:
        return frozenset(map(int, os.listdir(TASKS)))
    except OSError as error:
        raise MeterUnavailable(f"{TASKS} cannot be listed ({error}); thread CPU times need a Linux /proc") from None


def threads_cpu_ns(ids: Iterable[int]) -> int:
    """CPU time [ns] that the threads `ids` of this process used since they began, together.

    Raises MeterUnavailable where one has ended: its time can no longer be read, and leaving it out would undercount.
    """
    total_ns = 0
    for thread_id in ids:
        try:
            total_ns += time.clock_gettime_ns((~thread_id << 3) | 6)
        except OSError as error:
            raise MeterUnavailable(
                f"the CPU time of thread {thread_id} cannot be read ({error.strerror}): it has ended or belongs to "
                "another process; list the threads again with thread_ids()"
            ) from None
    return total_ns
