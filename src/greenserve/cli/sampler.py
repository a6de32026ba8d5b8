"""The sampler as a node runs it, beside a load whose slowdown by it is measured."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from greenserve.carbon.meters.boards import CounterMeter
from greenserve.carbon.meters.nvml import Board, FieldReader
from greenserve.carbon.meters.pace import board_period_ns
from greenserve.clock import SystemClock
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S


@contextmanager
def sampling(nvml: Any, board: Board) -> Iterator[None]:
    """Read the board's counter at an uncharacterised board's pace while entered; no thread is left behind."""
    meter = CounterMeter(board, FieldReader(nvml, board, clock=SystemClock()))
    stopping = threading.Event()

    def sample() -> None:
        while not stopping.wait(board_period_ns(None) / NS_PER_S):
            with suppress(MeterUnavailable):  # what a reading costs is measured here, not what it says
                meter.read()

    thread = threading.Thread(target=sample, name="probe-sampler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
