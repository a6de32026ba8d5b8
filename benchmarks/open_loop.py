"""An open-loop HTTP load generator: requests leave at their times, whether or not earlier ones were answered.

Latency counts from the time at which a request was due, so a stalled server cannot hide the wait of those behind it.
"""

import asyncio
import random
import resource
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

from benchmarks.closed_loop import STALLED_S, head_of_whole

MOST_CONNECTIONS, FILES = 1024, 2048
TICK_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request's fate: due at [s after the start], latency [s] and HTTP status; both None where none came."""

    due_s: float
    latency_s: float | None
    status: int | None


def poisson_times_s(per_s: float, duration_s: float, seed: int) -> list[float]:
    """Times [s] of a Poisson process of rate `per_s` over `duration_s`."""
    chance, at_s, times_s = random.Random(seed), 0.0, []
    while (at_s := at_s + chance.expovariate(per_s)) < duration_s:
        times_s.append(at_s)
    return times_s


class _Load:
    """State: what is due, who is free, and what came of each request."""

    def __init__(self, requests: Sequence[bytes], times_s: Sequence[float]) -> None:
        self.requests = requests
        self.times_s = times_s
        self.found: list[Arrival | None] = [None] * len(times_s)
        self.free: deque[_Connection] = deque()
        self.connections: set[_Connection] = set()
        self.backlog: deque[int] = deque()
        self.opened = 0
        self.start_s = time.perf_counter()
        self.unanswered = len(times_s)
        self.done = asyncio.Event()

    def answered(self, number: int, status: int | None) -> None:
        due_s = self.times_s[number]
        latency_s = None if status is None else time.perf_counter() - self.start_s - due_s
        self.found[number] = Arrival(due_s=due_s, latency_s=latency_s, status=status)
        self.unanswered -= 1
        if self.unanswered == 0:
            self.done.set()

    def ready(self, connection: "_Connection") -> None:
        if self.backlog:
            connection.send(self.backlog.popleft())
        else:
            self.free.append(connection)


class _Connection(asyncio.Protocol):
    """One keep-alive connection. State: the unread bytes and the number of the request under way."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._unread = b""
        self._number: int | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._load.connections.add(self)
        self._load.ready(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def send(self, number: int) -> None:
        assert self._transport is not None
        self._number = number
        self._transport.write(self._load.requests[number % len(self._load.requests)])

    def data_received(self, data: bytes) -> None:
        unread = self._unread + data
        head = head_of_whole(unread)
        if head is None:
            self._unread = unread
            return
        self._unread = b""
        number, self._number = self._number, None
        if number is not None:
            self._load.answered(number, int(head[9:12]))
        if b"\r\nconnection: close" in head:
            self.close()
        else:
            self._load.ready(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.opened -= 1
        self._load.connections.discard(self)
        if self in self._load.free:
            self._load.free.remove(self)
        if self._number is not None:
            self._load.answered(self._number, None)


async def _send_all(load: _Load, address: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[None]] = set()
    due = 0
    while due < len(load.times_s):
        now_s = time.perf_counter() - load.start_s
        while due < len(load.times_s) and load.times_s[due] <= now_s:
            if load.free:
                load.free.popleft().send(due)  # all connections in turn, or the quickest to refuse get all
            else:
                load.backlog.append(due)
            due += 1
        for _ in range(min(len(load.backlog) - len(opening), MOST_CONNECTIONS - load.opened)):
            load.opened += 1
            task = loop.create_task(_open(load, address))
            opening.add(task)
            task.add_done_callback(opening.discard)
        await asyncio.sleep(TICK_S)
    try:
        async with asyncio.timeout(STALLED_S):
            await load.done.wait()
    except TimeoutError:
        for task in tuple(opening):
            task.cancel()


async def _open(load: _Load, address: tuple[str, int]) -> None:
    try:
        await asyncio.get_running_loop().create_connection(lambda: _Connection(load), *address)
    except OSError:
        load.opened -= 1
        if load.backlog:
            load.answered(load.backlog.popleft(), None)


def send_open(requests: Sequence[bytes], times_s: Sequence[float], *, address: tuple[str, int]) -> list[Arrival]:
    """Send the n-th request at `times_s[n]` [s], in turn, and say what came of each; connections grow as needed."""

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (FILES if hard == resource.RLIM_INFINITY else min(hard, FILES), hard)
        )

    async def main() -> _Load:
        load = _Load(requests, times_s)
        await _send_all(load, address)
        for connection in tuple(load.connections):
            connection.close()
        return load

    load = uvloop.run(main())
    return [
        one or Arrival(due_s=due_s, latency_s=None, status=None)
        for one, due_s in zip(load.found, load.times_s, strict=True)
    ]
