"""The grid's intensity as one process has it: feeds in memory, filled in the background from providers or the store."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from greenserve.carbon.feeds.chain import FeedChain, MarginalFeed
from greenserve.carbon.feeds.fetcher import Fetcher
from greenserve.carbon.feeds.live import LiveReadings
from greenserve.carbon.feeds.poller import Asked, Draw, Pause, Poller
from greenserve.carbon.feeds.store import ErrandState, PollingRight, ReadingStore
from greenserve.carbon.feeds.widths import GridWidths
from greenserve.ports import Clock, IntensityFeed
from greenserve.records import Basis, IntensityReading
from greenserve.units import US_PER_S

log = logging.getLogger("greenserve.grid")
PART = 200
LOOK_S = 5.0
"""How often the store is looked at for what another process fetched, and errands for whether they are due."""


class Grid:
    """State: the live readings in memory, changed on the event loop alone, and the right to poll.

    Of all processes that share a store the one with the right asks the providers, the others take what it stored.
    `chain` and `marginal` answer from memory and never wait. Without providers nothing runs and no file is made.
    """

    def __init__(
        self, *, feeds: Sequence[IntensityFeed], basis: Basis, clock: Clock, widths: GridWidths | None = None
    ) -> None:
        """`feeds` in the order of preference; those that are `LiveReadings` are filled once `attach` names who by.
        `widths` are the half widths of zones that were back-tested."""
        self.chain = FeedChain(feeds, basis=basis, widths=widths)
        self.marginal = MarginalFeed([feed for feed in feeds if isinstance(feed, LiveReadings)])
        self._clock = clock
        self._live: Mapping[str, LiveReadings] = {}
        self._store: ReadingStore | None = None
        self._right: PollingRight | None = None
        self._poller: Poller | None = None
        self._fetcher: Fetcher | None = None
        self._disk = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._ill = False

    def __repr__(self) -> str:
        return f"<Grid {self.chain!r}, {self._right!r}, {self._poller!r}>"

    def attach(
        self,
        *,
        asked: Sequence[Asked],
        live: Mapping[str, LiveReadings],
        fetcher: Fetcher,
        store: Path,
        refresh_s: float,
        draw: Draw,
        pause: Pause | None = None,
    ) -> None:
        """Name the providers, and the file that keeps what they told; takes what it holds. Blocking.

        ConfigInvalid where the file cannot be opened.
        """
        self._fetcher, self._live = fetcher, dict(live)
        self._store = ReadingStore(store)
        self._right = PollingRight(store.with_name(store.name + ".lock"))
        self._poller = Poller(
            asked=asked, clock=self._clock, draw=draw, refresh_s=refresh_s, took=self._took, pause=pause
        )
        self._load(self._store.news())

    @property
    def polls(self) -> bool:
        """Whether this process asks the providers at the moment."""
        return self._right is not None and self._right.held

    def start(self) -> None:
        """Go on asking, or taking what another process asked, until `close`; nothing where there is no provider."""
        if self._poller is not None:
            self._task = asyncio.create_task(self._run(), name="grid")

    async def turn(self) -> None:
        """Take the store's news; with the right to poll also do every errand that is due."""
        if self._store is None or self._right is None or self._poller is None:
            return
        had_right = self._right.held
        async with self._disk:
            news = await asyncio.to_thread(self._store.news)
        for name, readings in news.items():
            for part in _parts(readings):
                self._load({name: part})
                await asyncio.sleep(0)
        if self._right.take():
            if not had_right:
                async with self._disk:
                    self._poller.recall(await asyncio.to_thread(self._store.states))
            await self._poller.round()
        for live in self._live.values():
            live.forget(self._clock.unix_us())

    async def states(self) -> list[ErrandState]:
        """How asking stands, whoever asks; empty where there is no provider."""
        if self._store is None:
            return []
        async with self._disk:
            return await asyncio.to_thread(self._store.states)

    async def close(self) -> None:
        """End asking, give the right to another process, close client and file."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._right is not None:
            self._right.release()
        if self._fetcher is not None:
            await self._fetcher.close()
        if self._store is not None:
            async with self._disk:
                self._store.close()

    async def _run(self) -> None:
        while True:
            try:
                await self.turn()
                self._ill = False
            except sqlite3.Error:
                self._tell_ill()
            await asyncio.sleep(self._rest_s())

    def _rest_s(self) -> float:
        due_us = self._poller.next_due_us() if self._poller is not None and self.polls else None
        if due_us is None:
            return LOOK_S
        return min(LOOK_S, max(0.5, (due_us - self._clock.unix_us()) / US_PER_S))

    async def _took(self, name: str, readings: Sequence[IntensityReading], states: Sequence[ErrandState]) -> None:
        fresh: list[IntensityReading] = []
        for part in _parts(readings):
            fresh += self._live[name].put(part)
            await asyncio.sleep(0)
        if self._store is None:
            return
        try:
            async with self._disk:
                await asyncio.to_thread(self._store.put, name, fresh, states, self._clock.unix_us())
        except sqlite3.Error:
            # What is in memory answers on; the other processes wait until the disk takes it again.
            self._tell_ill()

    def _tell_ill(self) -> None:
        if not self._ill:
            log.exception("the store of grid readings cannot be used; this process goes on with what it has in memory")
        self._ill = True

    def _load(self, news: Mapping[str, Sequence[IntensityReading]]) -> None:
        for name, readings in news.items():
            if name in self._live:
                self._live[name].load(readings)


def _parts(readings: Sequence[IntensityReading]) -> Iterator[Sequence[IntensityReading]]:
    """A week of five minutes in pieces of a millisecond, between which requests have their turn."""
    for start in range(0, len(readings), PART):
        yield readings[start : start + PART]
