"""CPU time of chosen threads of this process: what an engine's worker threads used during a span."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import TypeVar

from greenserve.errors import MeterUnavailable

TASKS = Path("/proc/self/task")
PR_SET_NAME, PR_GET_NAME = 15, 16
NAME_BYTES = 16
_marks = count(1)

Made = TypeVar("Made")


def begun_by(make: Callable[[], Made]) -> tuple[Made, frozenset[int]]:
    """Call `make` on this thread: what it returns, and the kernel ids of the threads that it began and that live.

    Linux gives a new thread the name of the thread that begins it. So this thread has a name of its own during the
    call, and threads that others begin meanwhile are not taken for these. A thread that names itself anew is missed.

    Raises MeterUnavailable where threads have no such names.
    """
    mark = f"begun-{next(_marks):x}".encode()
    usual = _name()
    _rename(mark)
    try:
        made = make()
    finally:
        _rename(usual)
    own = threading.get_native_id()
    return made, frozenset(each for each in thread_ids() if each != own and _name_of(each) == mark)


def thread_ids() -> frozenset[int]:
    """Kernel ids of the threads of this process now."""
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


def cpu_ns_by_thread(ids: Iterable[int]) -> dict[int, int]:
    """CPU time [ns] of each of these threads of this process since it began; those that have ended are left out."""
    found: dict[int, int] = {}
    for thread_id in ids:
        try:
            found[thread_id] = time.clock_gettime_ns((~thread_id << 3) | 6)
        except OSError:
            continue
    return found


def _name() -> bytes:
    buffer = ctypes.create_string_buffer(NAME_BYTES)
    _prctl(PR_GET_NAME, buffer)
    return buffer.value


def _rename(name: bytes) -> None:
    _prctl(PR_SET_NAME, ctypes.create_string_buffer(name, NAME_BYTES))


def _prctl(option: int, buffer: "ctypes.Array[ctypes.c_char]") -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None or prctl(option, buffer, 0, 0, 0) != 0:
        raise MeterUnavailable("this system does not name threads (Linux does); an engine's own can't be told apart")


def _name_of(thread_id: int) -> bytes | None:
    try:
        return (TASKS / str(thread_id) / "comm").read_bytes().rstrip(b"\n")
    except OSError:  # it has ended
        return None
