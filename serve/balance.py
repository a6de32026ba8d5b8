"""Connections spread evenly over the replicas of a node.

The kernel spreads connections to a shared port by a hash, so one of two replicas may hold 20 of 32 for good. Each
replica writes how many it holds to its slot of one file that all of the node map, and one that holds too many asks
some of its clients to connect again. State: the file; each replica writes its own slot alone.
"""

import contextlib
import fcntl
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenserve.ports import Clock
from greenserve.units import NS_PER_S

SLOTS = 256
WORDS = 4
SIZE = SLOTS * WORDS * 8
STALE_NS = 5 * NS_PER_S
TOLERANCE = 1.1
SLACK = 1
"""Measured with two replicas at 8, 32 and 64 connections: the fuller one ends at 1.25, 1.12 and 1.12 of the mean at
worst, for about one closed connection; left to the kernel at 1.75, 1.44 and 1.19. 1.25 and 2 would leave 20 of 32."""
SHARE_PER_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one replica holds: open connections, and requests that are being answered."""

    pid: int
    connections: int
    in_flight: int
    heartbeat_ns: int


def surplus(own: int, everybody: Sequence[int]) -> int:
    """How many connections to close in the next second, given those of all replicas, `own` among them.

    None up to 1.1 times the mean and 1 more, so that chance is left alone; else 5 % of its own, at least one, and
    never more than lie above the mean.
    """
    mean = sum(everybody) / len(everybody)
    if own <= TOLERANCE * mean + SLACK:
        return 0
    return min(math.ceil(SHARE_PER_S * own), math.floor(own - mean))


class Board:
    """The file in which the replicas of a node tell each other what they hold."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Open or make the file and take a slot: one that is free, or whose replica is gone."""
        self._path = path
        self._clock = clock
        with _locked(path) as descriptor:
            os.ftruncate(descriptor, SIZE)
            self._map = mmap.mmap(descriptor, SIZE)
            self._words = memoryview(self._map).cast("q")
            now_ns = clock.monotonic_ns()
            free = (slot for slot in range(SLOTS) if not _is_live(self._at(slot), now_ns))
            self._slot = next(free, None)
            self.report(connections=0, in_flight=0)

    def __repr__(self) -> str:
        return f"<Board {self._path} slot {self._slot} of {len(self.everybody())} replicas>"

    def report(self, *, connections: int, in_flight: int) -> None:
        """Write what this replica holds. With all slots taken it says nothing, and is not balanced."""
        if self._slot is None:
            return
        start = self._slot * WORDS
        for word, value in enumerate((os.getpid(), connections, in_flight, self._clock.monotonic_ns())):
            self._words[start + word] = value

    def everybody(self) -> list[Held]:
        """What the replicas that run now hold, this one among them."""
        now_ns = self._clock.monotonic_ns()
        return [held for held in map(self._at, range(SLOTS)) if _is_live(held, now_ns)]

    def surplus(self, connections: int) -> int:
        """How many of this replica's connections to close in the next second."""
        if self._slot is None:
            return 0
        return surplus(connections, [held.connections for held in self.everybody()])

    def close(self) -> None:
        """Give the slot back; the last one to leave removes the file."""
        with contextlib.suppress(FileNotFoundError), _locked(self._path, make=False):
            if self._slot is not None:
                start = self._slot * WORDS
                self._words[start] = 0
            if not self.everybody():
                self._path.unlink()
        self._words.release()
        self._map.close()

    def _at(self, slot: int) -> Held:
        pid, connections, in_flight, heartbeat_ns = self._words[slot * WORDS : (slot + 1) * WORDS]
        return Held(pid=pid, connections=connections, in_flight=in_flight, heartbeat_ns=heartbeat_ns)


def _is_live(held: Held, now_ns: int) -> bool:
    """A replica writes every second; a time in the future is of another boot."""
    return held.pid > 0 and 0 <= now_ns - held.heartbeat_ns <= STALE_NS


@contextlib.contextmanager
def _locked(path: Path, *, make: bool = True) -> Iterator[int]:
    """The file's descriptor under its lock: the file that the path names, not one that was just removed."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                yield descriptor
                return
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: the map keeps the open file
            os.close(descriptor)
