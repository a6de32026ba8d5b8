"""Who else works on a board."""

import threading

import pynvml
import pytest

from greenserve.carbon.meters.foreign import Foreign, ForeignWatch, compare
from greenserve.carbon.meters.nvml import list_boards
from greenserve.clock import ManualClock
from tests.fake_nvml import FakeBoard, FakeNvml


@pytest.mark.parametrize(
    ("running", "flags"),
    [
        ({1, 2}, frozenset()),
        (set(), frozenset()),
        ({1, 7}, {"foreign"}),
        ({1, 99}, {"foreign_unknown"}),
        ({7, 99}, {"foreign", "foreign_unknown"}),
    ],
)
def test_processes_that_are_not_ours_are_foreign(running: set[int], flags: frozenset[str]) -> None:
    """Ids that do not exist on this side may be ours in another namespace: that is said, not guessed."""
    seen = compare(frozenset(running), frozenset({1, 2}), lambda pid: pid < 50, at_ns=5)

    assert flags == seen.flags


def test_what_cannot_be_asked_is_unknown_and_not_nobody() -> None:
    """A failed question never clears a board."""
    clock, board = ManualClock(), FakeBoard(pids=[1])
    nvml = FakeNvml(board, clock=clock)
    watch = ForeignWatch(nvml, list_boards(nvml)[0], ours=lambda: frozenset({1}), clock=clock)
    watch.look()
    assert Foreign(at_ns=clock.monotonic_ns(), processes=0, unmatched=0) == watch.seen("GPU-0000")
    board.lost = pynvml.NVML_ERROR_UNKNOWN

    watch.look()

    seen = watch.seen("GPU-0000")
    assert seen is not None
    assert (None, frozenset({"foreign_unknown"})) == (seen.processes, seen.flags)
    assert "cannot be read" in seen.reason
    assert watch.seen("cpu") is None


def test_the_watch_asks_in_a_thread_of_its_own() -> None:
    """Process lists hold a lock of the driver: never in the sampler."""
    clock, asked = ManualClock(), threading.Event()
    nvml = FakeNvml(FakeBoard(), clock=clock)
    names: list[str] = []

    def ours() -> frozenset[int]:
        names.append(threading.current_thread().name)
        asked.set()
        return frozenset()

    watch = ForeignWatch(nvml, list_boards(nvml)[0], ours=ours, clock=clock)
    watch.start()

    assert asked.wait(10)
    watch.stop()
    assert ["meter-foreign"] == names
