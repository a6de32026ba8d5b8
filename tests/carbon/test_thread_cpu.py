"""CPU time of chosen threads."""

import threading
import time

import pytest

from greenserve.carbon.meters.thread_cpu import thread_ids, threads_cpu_ns
from greenserve.errors import MeterUnavailable

WORK_NS = 10_000_000


def test_a_threads_work_counts_for_that_thread_alone() -> None:
    """The difference of two listings names the thread; its clock holds its own work."""
    before = thread_ids()
    worked, leave = threading.Event(), threading.Event()

    def work() -> None:
        while time.thread_time_ns() < WORK_NS:
            pass
        worked.set()
        leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        worked.wait()
        new = thread_ids() - before
        used_ns = threads_cpu_ns(new)
    finally:
        leave.set()
        thread.join()

    assert {thread.native_id} == new
    assert used_ns >= WORK_NS


def test_no_threads_use_no_time() -> None:
    """An empty sum is truly zero."""
    assert 0 == threads_cpu_ns([])


def test_an_ended_thread_is_no_zero() -> None:
    """Its time is gone, so the sum would be too small: an error instead."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    end_s = time.monotonic() + 5.0
    while thread.native_id in thread_ids() and time.monotonic() < end_s:
        pass  # the kernel removes the entry a moment after the thread has ended

    with pytest.raises(MeterUnavailable, match=f"thread {thread.native_id} cannot be read"):
        threads_cpu_ns([threading.get_native_id(), thread.native_id])
