"""Asks the external meters in a thread of its own, over HTTP or from files; no reader ever waits for one."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import httpx

from greenserve.carbon.external.amounts import told_by
from greenserve.carbon.external.meter import ExternalMeter
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.ports import Clock

log = logging.getLogger("greenserve.meters")
LARGEST_BODY = 8 * 2**20
OK = 200
DENIED = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a meter is read: a `url` or a `file`; `headers` gives what is sent along, keys too, anew each time."""

    meter: ExternalMeter
    url: str | None = None
    file: Path | None = None
    timeout_s: float = 2.0
    headers: Callable[[], Mapping[str, str]] = field(default=lambda: MappingProxyType({}))


class ExternalPoller:
    """State: its thread with the loop in it, and the event that ends it; what was told is the meters' own state."""

    def __init__(self, places: Sequence[Place], *, clock: Clock, trust_env: bool = True) -> None:
        self._places, self._clock, self._trust_env = tuple(places), clock, trust_env
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._running = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<ExternalPoller of {', '.join(place.meter.name for place in self._places) or 'nothing'}>"

    @property
    def meters(self) -> tuple[ExternalMeter, ...]:
        """The meters that are asked."""
        return tuple(place.meter for place in self._places)

    def once(self) -> None:
        """Ask all of them once, at the same time; takes as long as the slowest, its time limit at most."""
        if self._places:
            # In a thread: who asks may itself be called from a running loop.
            thread = threading.Thread(target=lambda: asyncio.run(self._once()), name="meter-external-once")
            thread.start()
            thread.join()

    def start(self) -> None:
        """Ask each in its own period from now on; nothing where there is none."""
        if self._places and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="meter-external", daemon=True)
            self._thread.start()
            self._running.wait()

    def stop(self) -> None:
        """Ask no more."""
        if self._thread is not None and self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        asyncio.run(self._all())

    async def _once(self) -> None:
        async with self._client() as client:
            await asyncio.gather(*(self._ask(client, place) for place in self._places))

    async def _all(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._running.set()
        async with self._client() as client, asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(self._keep_asking(client, place, self._stopping))

    async def _keep_asking(self, client: httpx.AsyncClient, place: Place, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self._ask(client, place)
            try:
                async with asyncio.timeout(place.meter.every_s):
                    await stopping.wait()
            except TimeoutError:
                continue

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(trust_env=self._trust_env, follow_redirects=False)

    async def _ask(self, client: httpx.AsyncClient, place: Place) -> None:
        meter, before = place.meter, place.meter.fault
        start_ns = self._clock.monotonic_ns()
        try:
            if place.file is not None:
                body = await asyncio.to_thread(_content, place.file)
            else:
                body = await self._fetched(client, place)
            meter.took(told_by(body, meter.amount), start_ns=start_ns, end_ns=self._clock.monotonic_ns())
        except (MeterUnavailable, ConfigInvalid) as error:
            meter.failed(str(error))
        except Exception as error:  # one meter's surprise must not end the asking of the others
            log.exception("the external meter %s cannot be asked", meter.name)
            meter.failed(f"{type(error).__name__}: {error}")
        if meter.fault is not None and meter.fault != before:
            log.warning("the external meter %s tells nothing: %s", meter.name, meter.fault)

    async def _fetched(self, client: httpx.AsyncClient, place: Place) -> bytes:
        assert place.url is not None
        try:
            async with (
                asyncio.timeout(place.timeout_s),
                client.stream("GET", place.url, headers=dict(place.headers()), timeout=place.timeout_s) as answer,
            ):
                if answer.status_code != OK:
                    todo = "; check its authorization" if answer.status_code in DENIED else ""
                    raise MeterUnavailable(f"it answered {answer.status_code}{todo}")
                parts, size = [], 0
                async for part in answer.aiter_bytes():
                    size += len(part)
                    if size > LARGEST_BODY:
                        raise MeterUnavailable(f"its answer is over {LARGEST_BODY} bytes and is not read")
                    parts.append(part)
                return b"".join(parts)
        except (TimeoutError, httpx.TimeoutException):
            raise MeterUnavailable(f"no answer within {place.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Only of the network: what else was refused may repeat a header, and so a key.
            told = f": {error!s:.120}" if isinstance(error, httpx.NetworkError) else ""
            raise MeterUnavailable(f"no answer ({type(error).__name__}{told})") from None


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST_BODY)
    except OSError as error:
        raise MeterUnavailable(f"it cannot be read ({error.strerror}); give this user the right to read it") from None
