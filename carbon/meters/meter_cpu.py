"""What reading the meters costs: the CPU time of their threads, and of calls that others make for them."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

NAMES = ("node-meter", "meter-")
"""How the threads of meters are called, by the beginnings of their names."""
T = TypeVar("T")


class MeterCpu:
    """CPU time of metering in this process.

    State: each meter thread's clock at the last question, by its kernel id; CPU time [ns] of `timed` calls since then,
    which one thread makes, the one that asks. What a thread used between its last question and its end is missing.
    """

    def __init__(self) -> None:
        self._last_ns: dict[int, int] = {}
        self._called_ns = 0

    def __repr__(self) -> str:
        return f"<MeterCpu of {len(self._last_ns)} threads>"

    def timed(self, call: Callable[[], T]) -> Callable[[], T]:
        """The same call, whose CPU time counts as metering."""

        def _timed() -> T:
            start_ns = time.thread_time_ns()
            try:
                return call()
            finally:
                self._called_ns += time.thread_time_ns() - start_ns

        return _timed

    def since_last_ns(self) -> int:
        """CPU time [ns] of metering since it was asked last, or since the threads began."""
        used_ns, self._called_ns = self._called_ns, 0
        now_ns = dict(_clocks_ns())
        used_ns += sum(clock_ns - self._last_ns.get(thread, 0) for thread, clock_ns in now_ns.items())
        self._last_ns = now_ns
        return max(0, used_ns)


def _clocks_ns() -> list[tuple[int, int]]:
    """(kernel id, CPU time [ns]) of the threads of meters that run now."""
    clocks = []
    for thread in threading.enumerate():
        thread_id = thread.native_id
        if thread_id is None or not thread.name.startswith(NAMES):
            continue
        try:
            clocks.append((thread_id, time.clock_gettime_ns((~thread_id << 3) | 6)))
        except OSError:
            continue  # it ended just now
    return clocks
