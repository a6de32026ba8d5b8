"""A closed-loop HTTP load generator that costs little: prepared requests on N keep-alive connections, one loop.

Each connection sends its next request when the answer to the last one is whole. Latency is from send to whole answer.
"""

import asyncio
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

import orjson
import uvloop

REQUEST_ID = b"greenserve-request-id: "
RETRY_S, STALLED_S = 0.05, 10.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Keep = Literal["nothing", "ids", "heads"]
WORDS = ("the", "new", "phone", "is", "great", "but", "battery", "bad", "today", "rain", "my", "team", "won", "again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run measured: answers, failures, wall time [s], latencies [s] sorted, energy reported [uJ] or None.

    `request_ids` holds the ids of all answers, also those before and after the measured time, where they were kept;
    `heads` holds (latency [s], head in lower case) of each measured answer in order, where they were kept.
    """

    answers: int
    failures: int
    wall_s: float
    latencies_s: Sequence[float]
    energy_uj: int | None
    request_ids: Sequence[str] = ()
    lost_connections: int = 0
    heads: Sequence[tuple[float, bytes]] = ()

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answers / self.wall_s

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latency [ms]; not a number where nothing was answered."""
        if not self.latencies_s:
            return math.nan
        return 1e3 * self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))]


def text_of(number: int) -> str:
    """Ten words, so twelve tokens with the marks of begin and end; another text for every number."""
    words = []
    for _ in range(10):
        number, index = divmod(number, len(WORDS))
        words.append(WORDS[index])
    return " ".join(words)


def unique_texts(seed: int, count: int = 40_000) -> list[str]:
    """`count` different texts; another seed gives other ones, so that no cache answers."""
    return [text_of(number) for number in random.Random(seed).sample(range(14**9), count)]


def http_request(path: str, document: object, *, host: str, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """The bytes of one POST with a JSON body."""
    body = orjson.dumps(document)
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def oip_document(text: str, *, variant: str | None = None) -> dict[str, object]:
    """A request of the Open Inference Protocol with one text."""
    document: dict[str, object] = {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}],
    }
    return document if variant is None else document | {"parameters": {"greenserve_variant": variant}}


def request_of(
    *,
    text: str,
    key: str,
    model: str,
    variant: str | None,
    host: str,
    headers: Mapping[str, str] = NO_HEADERS,
) -> bytes:
    """The bytes of one inference request to GreenServe."""
    return http_request(
        f"/v2/models/{model}/infer",
        oip_document(text, variant=variant),
        host=host,
        headers={"Authorization": f"Bearer {key}", **headers},
    )


def head_of_whole(answer: bytes) -> bytes | None:
    """The head of an answer in lower case once all of it is there, else None.

    Reads a body of declared length or in chunks; the next request is sent afterwards, so nothing follows.
    """
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = answer[: head_end + 2].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 : head.find(b"\r", at + 17)])
        return head if len(answer) >= head_end + 4 + length else None
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        return head if answer.endswith(b"\r\n0\r\n\r\n") else None
    raise RuntimeError(f"an answer without length or chunks cannot be read here: {head.decode(errors='replace')}")


class _Connection(asyncio.Protocol):
    """One keep-alive connection. State: the unread bytes and when the open request was sent."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._unread = b""
        self._sent_s = 0.0
        self._told_to_close = False
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._send()

    def data_received(self, data: bytes) -> None:
        unread = self._unread + data
        head = head_of_whole(unread)
        if head is None:
            self._unread = unread
            return
        self._unread = b""
        self._run.answered(head, time.perf_counter() - self._sent_s)
        if b"\r\nconnection: close\r\n" in head:
            self._told_to_close = True
            assert self._transport is not None
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._told_to_close and not self._run.over:
            self._run.lost_connections += 1
        self.closed.set()

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

    def __init__(self, requests: Sequence[bytes], *, warm_up_s: float, duration_s: float, keep: Keep) -> None:
        self._requests = requests
        self._keep = keep
        self.heads: list[tuple[float, bytes]] = []
        self.request_ids: list[str] = []
        self.lost_connections = 0
        self._next = 0
        self._start_s = time.perf_counter() + warm_up_s
        self._end_s = self._start_s + duration_s
        self.latencies_s: list[float] = []
        self.failures = 0
        self.energy_uj: int | None = None

    def next_request(self) -> bytes | None:
        if time.perf_counter() > self._end_s:
            return None
        self._next += 1
        return self._requests[self._next % len(self._requests)]

    @property
    def over(self) -> bool:
        return self.left_s < 0.0

    @property
    def left_s(self) -> float:
        return self._end_s - time.perf_counter()

    def answered(self, head: bytes, latency_s: float) -> None:
        if self._keep == "ids" and head.startswith(b"http/1.1 200"):
            at = head.find(REQUEST_ID) + len(REQUEST_ID)
            self.request_ids.append(head[at : at + 36].decode())
        if not self._start_s <= time.perf_counter() <= self._end_s:
            return
        if not head.startswith(b"http/1.1 200"):
            self.failures += 1
            return
        self.latencies_s.append(latency_s)
        if self._keep == "heads":
            self.heads.append((latency_s, head))
        at = head.find(b"greenserve-energy: ")
        if at >= 0:
            self.energy_uj = (self.energy_uj or 0) + int(head[at + 19 : head.find(b";", at)])


async def _closed_loop(host: str, port: int, connections: int, run: _Run) -> None:
    """Keep `connections` open until the time is over; one that is lost is opened again.

    An answer that is still missing `STALLED_S` after the end is a failure.
    """
    loop = asyncio.get_running_loop()

    async def keep_one() -> None:
        while not run.over:
            try:
                _, connection = await loop.create_connection(lambda: _Connection(run), host, port)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            await connection.closed.wait()

    tasks = [asyncio.create_task(keep_one()) for _ in range(connections)]
    _, stalled = await asyncio.wait(tasks, timeout=run.left_s + STALLED_S)
    run.failures += len(stalled)
    for task in stalled:
        task.cancel()


def drive(
    requests: Sequence[bytes],
    *,
    address: tuple[str, int],
    connections: int,
    duration_s: float,
    warm_up_s: float = 2.0,
    keep: Keep = "nothing",
) -> Outcome:
    """Send `requests` in turn on `connections` connections for `duration_s` [s] after a warm-up."""

    async def main() -> _Run:
        run = _Run(requests, warm_up_s=warm_up_s, duration_s=duration_s, keep=keep)
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
        heads=run.heads,
    )
