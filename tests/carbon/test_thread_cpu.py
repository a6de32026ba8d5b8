"""CPU time of chosen threads."""

import threading
import time

import pytest

from greenserve.carbon.meters.thread_cpu import TASKS, begun_by, cpu_ns_by_thread, thread_ids, threads_cpu_ns
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


def an_ended_thread() -> int:
    """Its id, which the kernel forgets a moment after the thread has ended."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    end_s = time.monotonic() + 5.0
    while thread.native_id in thread_ids() and time.monotonic() < end_s:
        time.sleep(0.001)
    return thread.native_id


def test_an_ended_thread_is_no_zero() -> None:
    """Its time is gone, so the sum would be too small: an error instead."""
    ended = an_ended_thread()

    with pytest.raises(MeterUnavailable, match=f"thread {ended} cannot be read"):
        threads_cpu_ns([threading.get_native_id(), ended])


def test_threads_that_others_begin_meanwhile_are_not_ones_own() -> None:
    """Two pairs of threads that begin at the same time: each knows its own, and keeps its name."""
    leave, both_begin = threading.Event(), threading.Barrier(2, timeout=10.0)
    seen: list[tuple[frozenset[int], frozenset[int]]] = []

    def begin() -> list[threading.Thread]:
        both_begin.wait()
        threads = [threading.Thread(target=leave.wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        both_begin.wait()
        return threads

    def load() -> None:
        threads, own = begun_by(begin)
        seen.append((own, frozenset(thread.native_id or 0 for thread in threads)))

    loaders = [threading.Thread(target=load) for _ in range(2)]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
    leave.set()

    assert 2 == len(seen)
    assert [begun for _, begun in seen] == [own for own, _ in seen]
    assert 6 == len(seen[0][0] | seen[1][0])


def test_a_thread_has_its_name_back_afterwards_whatever_happens() -> None:
    """What it begins later is not taken for what it began then."""
    names = []

    def fail() -> None:
        names.append(name_of_this_thread())
        raise RuntimeError("it does not load")

    before = name_of_this_thread()
    with pytest.raises(RuntimeError, match="does not load"):
        begun_by(fail)

    assert before == name_of_this_thread() != names[0]
    assert (None, frozenset()) == begun_by(lambda: None)


def name_of_this_thread() -> str:
    """As the kernel shows it."""
    return (TASKS / str(threading.get_native_id()) / "comm").read_text()


def test_the_times_of_ended_threads_are_left_out_by_thread() -> None:
    """Those that live are told."""
    ended, own = an_ended_thread(), threading.get_native_id()

    times_ns = cpu_ns_by_thread([own, ended])

    assert [own] == list(times_ns)
    assert 0 < times_ns[own] <= threads_cpu_ns([own])
