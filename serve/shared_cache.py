"""The second tier of answers: a Redis that the gateways of a deployment share, and that may be away at any time.

Lookups of all requests travel together, one MGET at a time on one connection; each waits for its own part of the
budget and not longer. Answers are written behind the requests. Connecting, and trying whether a Redis that failed is
back, is never done in a request's time.

State: what waits to be asked and written, whether Redis is up, and counts; changed on the event loop alone.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import ConfigInvalid, DependencyMissing
from greenserve.ports import CachedAnswer, Clock
from greenserve.serve.answer_codec import Unsealed, decode, encode, seal_key
from greenserve.units import MILLI, US_PER_S

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("greenserve.cache")
PREFIX = b"greenserve:answer:2:"
FAILURES = 5
"""So many in a row, errors or answers past the budget, and Redis counts as down."""

RETRY_S = 1.0
PATIENCE = 10
"""A connection that is silent for so many budgets is given up."""

PING_S = 1.0
CANCEL_AGAIN_S = 0.1
MOST_KEYS = 512
MOST_WAITING = 1_024
MOST_AT_ONCE = 64
SCHEMES = ("redis://", "rediss://", "unix://")
Fetched = Mapping[bytes, tuple[CachedAnswer, float]]
"""Answers by key, each with how long it is good [s]."""
NOTHING: Fetched = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCounts:
    """What the second tier did.

    `asked` keys were looked up, `found` of them were there, `refused` were there without this deployment's seal;
    `late` lookups had no answer within their budget, `failures` are errors and answers past the budget; `written`
    answers were kept, `dropped` ones found too many waiting or no Redis. `up`: lookups are sent.
    """

    up: bool = False
    asked: int = 0
    found: int = 0
    refused: int = 0
    late: int = 0
    failures: int = 0
    written: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class _Asked:
    keys: Sequence[bytes]
    future: "asyncio.Future[Fetched]"


class SharedAnswers:
    """Answers in a Redis at `url`, sealed with a key made from `secret`; a lookup takes at most `timeout_s` [s].

    `retry_s` [s] is how long a Redis that failed is left alone.
    """

    def __init__(
        self, *, url: str, secret: bytes, timeout_s: float, retry_s: float = RETRY_S, clock: Clock | None = None
    ) -> None:
        self._client = _client(url)
        self._seal = seal_key(secret)
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._asked: list[_Asked] = []
        self._unwritten: deque[tuple[bytes, bytes, int]] = deque()
        self._to_ask, self._to_write, self._down = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._down.set()
        self._in_a_row = 0
        self._counts: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        counts = self.counts()
        state = "up" if counts.up else "down"
        return f"<SharedAnswers {state}, {counts.found} of {counts.asked} found, {counts.failures} failures>"

    @property
    def up(self) -> bool:
        """Whether lookups are sent."""
        return not self._down.is_set()

    def counts(self) -> SharedCounts:
        """The counts now."""
        return SharedCounts(up=self.up, **self._counts)

    def start(self) -> None:
        """Connect, and begin to ask and write on the running loop."""
        steps = {"connecting": self._keep_up(), "asking": self._keep_asking(), "writing": self._keep_writing()}
        self._tasks = [asyncio.create_task(step, name=f"shared answers: {name}") for name, step in steps.items()]

    async def close(self) -> None:
        """End; what was not written yet is let go of."""
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # The client swallows a cancellation that meets one of its own timeouts of 0 s (seen, redis 8.1 on 3.11).
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        self._give_up_asking()
        await self._client.aclose()

    async def lookup(self, keys: Sequence[bytes]) -> Fetched:
        """The answers that are there, by key; none of them where Redis is down, fails or takes too long."""
        if not keys or not self.up or len(self._asked) >= MOST_WAITING:
            return NOTHING
        loop = asyncio.get_running_loop()
        asked = _Asked(keys[:MOST_KEYS], loop.create_future())
        self._asked.append(asked)
        self._to_ask.set()
        timer = loop.call_later(self._timeout_s, self._is_late, asked)
        try:
            return await asked.future
        finally:
            timer.cancel()

    def put(self, key: bytes, answer: CachedAnswer, ttl_s: float) -> None:
        """Write an answer that is to live for `ttl_s` [s], some time soon; or drop it."""
        if not self.up or len(self._unwritten) >= MOST_WAITING:
            self._count(dropped=1)
            return
        data = encode(key, answer, self._seal, until_us=self._clock.unix_us() + int(ttl_s * US_PER_S))
        if data is not None:
            self._unwritten.append((PREFIX + key, data, max(1, int(ttl_s * MILLI))))
            self._to_write.set()

    def _is_late(self, asked: _Asked) -> None:
        if not asked.future.done():
            self._count(late=1)
            asked.future.set_result(NOTHING)

    async def _keep_asking(self) -> None:
        while True:
            await self._to_ask.wait()
            self._to_ask.clear()
            while asked := self._next():
                try:
                    await self._ask(asked)
                finally:
                    for each in asked:
                        if not each.future.done():
                            each.future.set_result(NOTHING)

    def _next(self) -> list[_Asked]:
        """Those that still wait, as many as make up one question."""
        taken: list[_Asked] = []
        room = MOST_KEYS
        while self._asked and len(self._asked[0].keys) <= room:
            first = self._asked.pop(0)
            if not first.future.done():
                taken.append(first)
                room -= len(first.keys)
        return taken

    async def _ask(self, asked: Sequence[_Asked]) -> None:
        keys = list(dict.fromkeys(key for each in asked for key in each.keys))
        self._count(asked=len(keys))
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE * self._timeout_s):
                values = await self._client.mget([PREFIX + key for key in keys])
        except Exception as error:
            self._failed(error)
            return
        if time.monotonic() - started_s > self._timeout_s:
            self._failed(TimeoutError(f"a lookup took longer than {self._timeout_s:g} s"))
        else:
            self._in_a_row = 0
        found = {key: answer for key, value in zip(keys, values, strict=True) if (answer := self._read(key, value))}
        self._count(found=len(found))
        for each in asked:
            if not each.future.done():
                each.future.set_result({key: found[key] for key in each.keys if key in found})

    def _read(self, key: bytes, value: object) -> tuple[CachedAnswer, float] | None:
        if not isinstance(value, bytes):
            return None
        try:
            answer, until_us = decode(key, value, self._seal)
            left_s = (until_us - self._clock.unix_us()) / US_PER_S
            return (answer, left_s) if left_s > 0.0 else None
        except Unsealed as error:
            if not self._counts["refused"]:
                log.warning("an answer in Redis is ignored, and so will others be: %s", error)
            self._count(refused=1)
            return None

    async def _keep_writing(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._unwritten:
                some = [self._unwritten.popleft() for _ in range(min(MOST_AT_ONCE, len(self._unwritten)))]
                await self._write(some)

    async def _write(self, some: Sequence[tuple[bytes, bytes, int]]) -> None:
        if not self.up:
            self._count(dropped=len(some))
            return
        try:
            async with asyncio.timeout(PING_S), self._client.pipeline(transaction=False) as pipeline:
                for name, data, ttl_ms in some:
                    pipeline.set(name, data, px=ttl_ms)
                await pipeline.execute()
        except Exception as error:
            self._count(dropped=len(some))
            self._failed(error)
        else:
            self._count(written=len(some))

    async def _keep_up(self) -> None:
        while True:
            await self._down.wait()
            if await self._answers_in_time():
                self._in_a_row = 0
                self._down.clear()
                log.info("the shared cache answers")
            else:
                await asyncio.sleep(self._retry_s)

    async def _answers_in_time(self) -> bool:
        """Connect, then see how long a round trip takes."""
        try:
            async with asyncio.timeout(PING_S):
                await self._client.ping()
                started_s = time.monotonic()
                await self._client.ping()
                return time.monotonic() - started_s <= self._timeout_s
        except Exception as error:
            log.debug("the shared cache does not answer: %r", error)
            return False

    def _failed(self, error: Exception) -> None:
        self._count(failures=1)
        self._in_a_row += 1
        if self._in_a_row >= FAILURES and self.up:
            log.warning("the shared cache is left alone for now, requests go on without it: %r", error)
            self._down.set()
            self._give_up_asking()

    def _give_up_asking(self) -> None:
        waiting, self._asked = self._asked, []
        for each in waiting:
            if not each.future.done():
                each.future.set_result(NOTHING)

    def _count(self, **more: int) -> None:
        self._counts.update(more)


def open_shared(config: Config, *, secret: bytes) -> SharedAnswers | None:
    """The configured second tier, not started; None where none is. Raises ConfigInvalid, DependencyMissing."""
    file = config.cache.redis_url_file
    if file is None:
        return None
    return SharedAnswers(url=read_url(file), secret=secret, timeout_s=config.cache.timeout_s)


def read_url(file: Path) -> str:
    """The URL of a Redis, which may hold a password, from a file of its own; raises ConfigInvalid."""
    try:
        url = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigInvalid(f"cache.redis_url_file: {file} is not readable ({reason})") from None
    if not url.startswith(SCHEMES) or len(url.split()) != 1:
        # The content may be a password: it is never shown.
        raise ConfigInvalid(f"cache.redis_url_file: {file} needs one line with a URL of {', '.join(SCHEMES)}")
    return url


def _client(url: str) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise DependencyMissing(
            "cache.redis_url_file needs the redis client: install it with `pip install 'greenserve[redis]'`"
        ) from None
    try:
        return Redis.from_url(url, socket_connect_timeout=PING_S, socket_timeout=PING_S, retry=Retry(NoBackoff(), 0))
    except ValueError:
        raise ConfigInvalid(
            "cache.redis_url_file: the URL in it can't be parsed; an example is redis://host:6379/0"
        ) from None
