"""A closed-loop HTTP load generator that costs little: prepared requests on N keep-alive connections, one loop.

Each connection sends its next request when the answer to the last one is whole. Latency is from send to whole answer.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import orjson
import uvloop

REQUEST_ID = b"greenserve-request-id: "
RETRY_S = 0.05
WORDS = ("the", "new", "phone", "is", "great", "but", "battery", "bad", "today", "rain", "my", "team", "won", "again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run measured: answers, failures, wall time [s], latencies [s] sorted, energy reported [uJ].

    `request_ids` holds the ids of all answers, also those before and after the measured time, where they were kept.
    """

    answers: int
    failures: int
    wall_s: float
    latencies_s: Sequence[float]
    energy_uj: int
    request_ids: Sequence[str] = ()
    lost_connections: int = 0

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answers / self.wall_s

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latency [ms]."""
        return 1e3 * self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))]


def text_of(number: int) -> str:
    """Ten words, so twelve tokens with the marks of begin and end; another text for every number."""
    words = []
    for _ in range(10):
        number, index = divmod(number, len(WORDS))
        words.append(WORDS[index])
    return " ".join(words)


def request_of(*, text: str, key: str, model: str, variant: str | None, host: str) -> bytes:
    """The bytes of one inference request."""
    document: dict[str, object] = {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}],
    }
    if variant is not None:
        document["parameters"] = {"greenserve_variant": variant}
    body = orjson.dumps(document)
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection. State: the unread bytes and when the open request was sent."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._unread = b""
        self._sent_s = 0.0
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._send()

    def data_received(self, data: bytes) -> None:
        unread = self._unread + data
        head_end = unread.find(b"\r\n\r\n")
        if head_end < 0:
            self._unread = unread
            return
        head = unread[:head_end].lower()
        start = head.find(b"content-length:") + 15
        length = int(head[start : head.find(b"\r", start) if head.find(b"\r", start) > 0 else len(head)])
        if len(unread) < head_end + 4 + length:
            self._unread = unread
            return
        self._unread = b""
        self._run.answered(head, time.perf_counter() - self._sent_s)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.lost(self)

    def _send(self) -> None:
        assert self._transport is not None
        request = self._run.next_request()
        if request is None:
            self._transport.close()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)


class _Run:
    """State: what was counted so far; warm-up answers are not."""

    def __init__(self, requests: Sequence[bytes], *, warm_up_s: float, duration_s: float, keep_ids: bool) -> None:
        self._requests = requests
        self._keep_ids = keep_ids
        self.request_ids: list[str] = []
        self.lost_connections = 0
        self._next = 0
        self._start_s = time.perf_counter() + warm_up_s
        self._end_s = self._start_s + duration_s
        self.latencies_s: list[float] = []
        self.failures = 0
        self.energy_uj = 0

    def next_request(self) -> bytes | None:
        if time.perf_counter() > self._end_s:
            return None
        self._next += 1
        return self._requests[self._next % len(self._requests)]

    @property
    def over(self) -> bool:
        return time.perf_counter() > self._end_s

    def answered(self, head: bytes, latency_s: float) -> None:
        if self._keep_ids and head.startswith(b"http/1.1 200"):
            at = head.find(REQUEST_ID) + len(REQUEST_ID)
            self.request_ids.append(head[at : at + 36].decode())
        if not self._start_s <= time.perf_counter() <= self._end_s:
            return
        if not head.startswith(b"http/1.1 200"):
            self.failures += 1
            return
        self.latencies_s.append(latency_s)
        at = head.find(b"greenserve-energy: ")
        if at >= 0:
            self.energy_uj += int(head[at + 19 : head.find(b";", at)])

    def lost(self, connection: _Connection) -> None:
        if not self.over:
            self.lost_connections += 1
        connection.closed.set()


async def _closed_loop(host: str, port: int, connections: int, run: _Run) -> None:
    """Keep `connections` open until the time is over; one that is lost is opened again."""
    loop = asyncio.get_running_loop()

    async def keep_one() -> None:
        while not run.over:
            try:
                _, connection = await loop.create_connection(lambda: _Connection(run), host, port)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            await connection.closed.wait()

    await asyncio.gather(*(keep_one() for _ in range(connections)))


def drive(
    requests: Sequence[bytes],
    *,
    address: tuple[str, int],
    connections: int,
    duration_s: float,
    warm_up_s: float = 2.0,
    keep_ids: bool = False,
) -> Outcome:
    """Send `requests` in turn on `connections` connections for `duration_s` [s] after a warm-up."""

    async def main() -> _Run:
        run = _Run(requests, warm_up_s=warm_up_s, duration_s=duration_s, keep_ids=keep_ids)
        await _closed_loop(*address, connections, run)
        return run

    run = uvloop.run(main())
    return Outcome(
        answers=len(run.latencies_s),
        failures=run.failures,
        wall_s=duration_s,
        latencies_s=sorted(run.latencies_s),
        energy_uj=run.energy_uj,
        request_ids=run.request_ids,
        lost_connections=run.lost_connections,
    )
