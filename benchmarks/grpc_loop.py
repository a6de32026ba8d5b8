"""The closed loop over gRPC: unary calls with prepared frames on few HTTP/2 connections, as cheap as the one over HTTP.

A client library of Python costs more CPU per call than the servers under test, on the same cores; this one sends the
same frames without it. An answer counts where a message came before the trailers: a failed unary call sends none.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

import hpack
import uvloop

from benchmarks.closed_loop import RETRY_S, STALLED_S, Outcome

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK, PADDED, PRIORITY = 0x1, 0x4, 0x1, 0x8, 0x20
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535
MOST_CHANNELS = 8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header_block(address: tuple[str, int], key: str | None) -> bytes:
    """The request headers of every call: literals that leave the server's table alone, so one block serves all."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        (":authority", f"{address[0]}:{address[1]}"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    if key is not None:
        headers.append(("authorization", f"Bearer {key}"))
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)


class _Run:
    """State: what was counted so far; warm-up answers are not."""

    def __init__(
        self, messages: Sequence[bytes], block: bytes, *, warm_up_s: float, duration_s: float, keep_heads: bool
    ) -> None:
        self._messages = messages
        self._next = 0
        self.block = block
        self.keep_heads = keep_heads
        self._start_s = time.perf_counter() + warm_up_s
        self._end_s = self._start_s + duration_s
        self.latencies_s: list[float] = []
        self.heads: list[tuple[float, bytes]] = []
        self.failures = 0
        self.lost_connections = 0

    @property
    def over(self) -> bool:
        return self.left_s < 0.0

    @property
    def left_s(self) -> float:
        return self._end_s - time.perf_counter()

    def next_message(self) -> bytes:
        self._next += 1
        return self._messages[self._next % len(self._messages)]

    def answered(self, sent_s: float, *, good: bool, head: bytes) -> None:
        now_s = time.perf_counter()
        if not self._start_s <= now_s <= self._end_s:
            return
        if not good:
            self.failures += 1
            return
        self.latencies_s.append(now_s - sent_s)
        if self.keep_heads:
            self.heads.append((now_s - sent_s, head))


class _Channel(asyncio.Protocol):
    """One HTTP/2 connection with `calls` unary calls in flight.

    State: unread bytes, the open streams {id: (sent at [s], message seen)}, the window to send in, calls that wait
    for it, and the decoder of the server's headers where they are kept (it must see all of them).
    """

    def __init__(self, run: _Run, calls: int) -> None:
        self._run = run
        self._calls = calls
        self._unread = b""
        self._open: dict[int, tuple[float, bool]] = {}
        self._next_stream = 1
        self._window = FIRST_WINDOW
        self._waiting: deque[bytes] = deque()
        self._leaving = False
        self._decoder = hpack.Decoder() if run.keep_heads else None
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        no_push = b"\x00\x02\x00\x00\x00\x00"
        streams_window = b"\x00\x04" + LARGEST_WINDOW.to_bytes(4, "big")
        grown = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big")
        self._write(PREFACE + frame(SETTINGS, 0, 0, no_push + streams_window) + frame(WINDOW_UPDATE, 0, 0, grown))
        for _ in range(self._calls):
            self._call()

    def data_received(self, data: bytes) -> None:
        unread, at = self._unread + data, 0
        while len(unread) - at >= 9:
            end = at + 9 + int.from_bytes(unread[at : at + 3], "big")
            if len(unread) < end:
                break
            stream = int.from_bytes(unread[at + 5 : at + 9], "big") & LARGEST_WINDOW
            self._take(unread[at + 3], unread[at + 4], stream, unread[at + 9 : end])
            at = end
        self._unread = unread[at:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self._run.over and not self._leaving:
            self._run.lost_connections += 1
        self.closed.set()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            sent_s, seen = self._open.get(stream, (0.0, False))
            self._open[stream] = (sent_s, seen or bool(payload))
            if flags & END_STREAM:
                self._end(stream, good=False)
        elif kind == HEADERS:
            if not flags & END_HEADERS or flags & (PADDED | PRIORITY):
                raise RuntimeError("this loop reads headers in one plain frame; the server split or padded them")
            head = self._decoded(payload)
            if flags & END_STREAM:
                self._end(stream, good=self._open.get(stream, (0.0, False))[1], head=head)
        elif kind == RST_STREAM:
            self._end(stream, good=False)
        elif kind == SETTINGS and not flags & ACK:
            self._write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big") & LARGEST_WINDOW
            while self._waiting and len(self._waiting[0]) + 5 <= self._window:
                self._send(self._waiting.popleft())
        elif kind == GOAWAY:
            self._leave(int.from_bytes(payload[:4], "big") & LARGEST_WINDOW)

    def _leave(self, last_stream: int) -> None:
        """The server takes no call after `last_stream`: those were not run, and another channel sends the next ones."""
        self._leaving = True
        self._waiting.clear()
        for stream in [stream for stream in self._open if stream > last_stream]:
            del self._open[stream]
        if not self._open and self._transport is not None:
            self._transport.close()

    def _decoded(self, block: bytes) -> bytes:
        if self._decoder is None:
            return b""
        headers = self._decoder.decode(block, raw=True)
        return b"\r\n".join(bytes(name) + b": " + bytes(value) for name, value in headers)

    def _end(self, stream: int, *, good: bool, head: bytes = b"") -> None:
        found = self._open.pop(stream, None)
        if found is None:
            return
        self._run.answered(found[0], good=good, head=head)
        if not self._run.over and not self._leaving:
            self._call()
        elif not self._open and self._transport is not None:
            self._transport.close()

    def _call(self) -> None:
        message = self._run.next_message()
        if len(message) + 5 > self._window:
            self._waiting.append(message)
        else:
            self._send(message)

    def _send(self, message: bytes) -> None:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._window -= len(message) + 5
        self._open[stream] = (time.perf_counter(), False)
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        self._write(frame(HEADERS, END_HEADERS, stream, self._run.block) + frame(DATA, END_STREAM, stream, body))

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


async def _closed_loop(address: tuple[str, int], calls: Sequence[int], run: _Run) -> None:
    """Keep one channel for each entry of `calls` open until the time is over; one that is lost is opened again.

    The calls of a channel that is still open `STALLED_S` after the end are failures.
    """
    loop = asyncio.get_running_loop()

    async def keep_one(count: int) -> None:
        while not run.over:
            try:
                _, channel = await loop.create_connection(lambda: _Channel(run, count), *address)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            await channel.closed.wait()

    tasks = {asyncio.create_task(keep_one(count)): count for count in calls}
    _, stalled = await asyncio.wait(tasks, timeout=run.left_s + STALLED_S)
    for task in stalled:
        run.failures += tasks[task]
        task.cancel()


def shared_out(calls: int, channels: int) -> tuple[int, ...]:
    """`calls` shared evenly over at most `channels` channels, none without a call."""
    channels = min(calls, channels)
    return tuple(calls // channels + (number < calls % channels) for number in range(channels))


def drive_grpc(
    messages: Sequence[bytes],
    *,
    address: tuple[str, int],
    calls: int,
    key: str | None,
    duration_s: float,
    warm_up_s: float = 2.0,
    keep_heads: bool = False,
) -> Outcome:
    """Send serialised ModelInferRequests in turn, `calls` at a time on up to eight channels, for `duration_s` [s]."""

    async def main() -> _Run:
        block = header_block(address, key)
        run = _Run(messages, block, warm_up_s=warm_up_s, duration_s=duration_s, keep_heads=keep_heads)
        await _closed_loop(address, shared_out(calls, MOST_CHANNELS), run)
        return run

    run = uvloop.run(main())
    return Outcome(
        answers=len(run.latencies_s),
        failures=run.failures,
        wall_s=duration_s,
        latencies_s=sorted(run.latencies_s),
        energy_uj=None,
        lost_connections=run.lost_connections,
        heads=run.heads,
    )
