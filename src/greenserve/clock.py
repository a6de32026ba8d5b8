"""Clocks: the real one, and one that tests move by hand."""

import time


class SystemClock:
    """Monotonic and civil time of this machine."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC, common to all processes of a node."""
        return time.monotonic_ns()

    def unix_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000


class ManualClock:
    """A clock that stands still until `advance` moves it."""

    def __init__(self, *, monotonic_ns: int = 1_000_000_000, unix_us: int = 1_767_225_600_000_000) -> None:
        self._monotonic_ns = monotonic_ns
        self._unix_us = unix_us

    def monotonic_ns(self) -> int:
        """The hand-set monotonic time [ns]."""
        return self._monotonic_ns

    def unix_us(self) -> int:
        """The hand-set civil time [us since 1970 UTC]."""
        return self._unix_us

    def advance(self, *, duration_ns: int) -> None:
        """Move both times forward by `duration_ns`."""
        if duration_ns < 0:
            raise ValueError(f"a clock only moves forward, got {duration_ns} ns")
        self._monotonic_ns += duration_ns
        self._unix_us += duration_ns // 1_000
