"""A provider on loopback: real sockets, answers written by hand. And builders of what adapters need."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from greenserve.carbon.feeds.fetcher import Fetcher
from greenserve.clock import ManualClock
from greenserve.records import IntensityReading

NOW_US = 1_772_827_200_000_000  # 2026-03-06T20:00:00Z
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


def us(text: str) -> int:
    """ISO 8601 to us since 1970 UTC."""
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


@dataclass(frozen=True)
class Answer:
    """What is sent back: JSON where it is no text. `hang`: nothing ever comes; `after`: not before that is set."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    after: asyncio.Event | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


Says = Answer | Callable[[Asked], Answer]


class GridServer:
    """Answers by path, 404 for the others. State: `says`, set by the test, and `asked`, in order of arrival."""

    def __init__(self) -> None:
        self.says: dict[str, Says] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [one.path for one in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the client closes it."""
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                lines = request.decode("latin-1").split("\r\n")
                parts = urlsplit(lines[0].split(" ")[1])
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                raw = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
                headers |= {name.lower(): value for name, value in raw.items()}
                asked = Asked(parts.path, parse_qs(parts.query), headers)
                self.asked.append(asked)
                says = self.says.get(parts.path, Answer("not here", status=404))
                answer = says(asked) if callable(says) else says
                if answer.hang:
                    await reader.read()  # until the client gives up
                    return
                if answer.after is not None:
                    await answer.after.wait()
                body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
                told = {"content-length": str(len(body)), **answer.headers}
                head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
                writer.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def a_grid_server() -> AsyncIterator[GridServer]:
    """A server on a free port of loopback."""
    grid_server = GridServer()
    listening = await asyncio.start_server(grid_server.serve, "127.0.0.1", 0)
    grid_server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield grid_server
    finally:
        listening.close()


@asynccontextmanager
async def a_fetcher(clock: ManualClock, *, timeout_s: float = 5.0) -> AsyncIterator[Fetcher]:
    """A client without proxies, closed at the end."""
    fetcher = Fetcher(clock=clock, timeout_s=timeout_s, trust_env=False)
    try:
        yield fetcher
    finally:
        await fetcher.close()


def a_clock(at_us: int = NOW_US) -> ManualClock:
    """It stands at 2026-03-06T20:00Z."""
    return ManualClock(unix_us=at_us)


def a_reading(**changes: Any) -> IntensityReading:
    """DE, 216 g/kWh lifecycle, observed, the hour before 20:00."""
    whole: dict[str, Any] = {
        "zone": "DE",
        "start_us": NOW_US - HOUR_US,
        "end_us": NOW_US,
        "mg_per_kwh": 216_000,
        "basis": "lifecycle",
        "kind": "average",
        "origin": "observed",
        "provider": "a test",
        "retrieved_us": NOW_US,
    }
    start_us = changes.get("start_us")
    if start_us is not None and "end_us" not in changes:
        whole["end_us"] = start_us + HOUR_US
    return IntensityReading(**(whole | changes))


def told(readings: Any) -> list[tuple[int, int, str, str]]:
    """(start, mg/kWh, basis, origin) of readings."""
    return [(one.start_us, one.mg_per_kwh, one.basis, one.origin) for one in readings]
