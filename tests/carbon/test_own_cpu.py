"""CPU time of a process tree, read from real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenserve.carbon.meters.own_cpu import OwnCpu
from greenserve.carbon.meters.thread_cpu import thread_ids, threads_cpu_ns
from greenserve.errors import MeterUnavailable

WORK_NS = 20_000_000
# A child that starts a grandchild; the grandchild works for WORK_NS, says so, and ends when its input does.
GRANDCHILD = f"""
import sys, time
while time.process_time_ns() < {WORK_NS}: pass
print("done", flush=True)
sys.stdin.read()
"""
CHILD = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {GRANDCHILD!r}]).returncode)"


@contextmanager
def working_family() -> Iterator[subprocess.Popen[str]]:
    """A child and a grandchild that have done their work and wait."""
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert "done\n" == child.stdout.readline()
        yield child


def test_descendants_of_descendants_count() -> None:
    """A grandchild's work is ours, started before or after the first reading."""
    own = OwnCpu(os.getpid())
    before_ns = own.read_ns()

    with working_family():
        after_ns = own.read_ns()

    assert after_ns - before_ns >= WORK_NS


def test_an_ended_process_keeps_what_it_used() -> None:
    """The count never falls when a process ends."""
    own = OwnCpu(os.getpid())
    with working_family():
        alive_ns = own.read_ns()

    assert own.read_ns() >= alive_ns >= WORK_NS


def test_a_sibling_does_not_count() -> None:
    """Only the tree below the root: the family's root never sees this process's work."""
    with working_family() as child:
        own = OwnCpu(child.pid)
        first_ns = own.read_ns()
        sum(range(2_000_000))
        second_ns = own.read_ns()

    assert "<OwnCpu of process" in repr(own)
    assert first_ns >= WORK_NS
    # Both members wait for input: they use next to nothing.
    assert second_ns - first_ns < 5_000_000


def test_the_own_time_agrees_with_the_process_clock() -> None:
    """Alone, a tree uses at least what its root does."""
    own = OwnCpu(os.getpid())
    floor_ns = threads_cpu_ns(thread_ids())

    assert own.read_ns() >= floor_ns > 0


def test_an_unknown_root_is_refused() -> None:
    """A process that has ended cannot be the root."""
    with working_family() as child:
        ended = child.pid

    with pytest.raises(MeterUnavailable, match=f"no process {ended}"):
        OwnCpu(ended)
