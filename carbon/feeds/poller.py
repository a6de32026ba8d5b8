"""Asks providers in the background, each in its own rhythm; what fails is told, backed off from, and asked again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from greenserve.carbon.feeds.fetcher import UNREACHABLE
from greenserve.carbon.feeds.live import WEEK_US
from greenserve.carbon.feeds.pacing import next_try_s
from greenserve.carbon.feeds.parsing import DAY_US, HOUR_US
from greenserve.carbon.feeds.store import ErrandState
from greenserve.errors import ConfigInvalid, GreenServeError
from greenserve.ports import Clock, GridSource
from greenserve.records import IntensityReading
from greenserve.units import US_PER_S

log = logging.getLogger("greenserve.grid")
What = Literal["recent", "forecast", "week"]
WEEK_BACK_US = WEEK_US + 2 * HOUR_US
"""Far enough back for the same hour of last week; asked once a day, so values restated after 24 and 72 h are met."""
WEEK_EVERY_S = float(DAY_US // US_PER_S)
FORECAST_EVERY_S = 1_800.0
Draw = Callable[[], float]
"""A random number in [0, 1)."""
Pause = Callable[[float], Awaitable[None]]
"""Waits so many seconds; a test passes one that does not."""


class Asked(NamedTuple):
    """A source under its name in the configuration, and the zones that it is asked for."""

    name: str
    source: GridSource
    zones: tuple[str, ...]


class _Errand(NamedTuple):
    zone: str
    signal: str
    what: What


@dataclass(slots=True)
class _Source:
    """A source's errands and until when it wants to be left alone [us UTC]; changed by the poller alone."""

    asked: Asked
    states: dict[_Errand, ErrandState]
    quiet_until_us: int = 0


Took = Callable[[str, Sequence[IntensityReading], Sequence[ErrandState]], Awaitable[None]]
"""Told after each errand: the source's name, what it brought, and how the errand stands."""


class Poller:
    """State: when each errand is due and how it went, changed by `round` on the event loop. No two errands of a source
    run at the same time; sources don't wait for each other.
    """

    def __init__(
        self,
        *,
        asked: Iterable[Asked],
        clock: Clock,
        draw: Draw,
        refresh_s: float,
        took: Took,
        pause: Pause | None = None,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._refresh_s = refresh_s
        self._took = took
        self._pause = pause or asyncio.sleep
        self._sources = [_Source(one, {errand: _new(one.name, errand) for errand in _errands(one)}) for one in asked]

    def __repr__(self) -> str:
        states = self.states()
        return f"<Poller of {len(self._sources)} sources: {sum(s.failures > 0 for s in states)} of {len(states)} fail>"

    def states(self) -> list[ErrandState]:
        """How every errand stands."""
        return [state for source in self._sources for state in source.states.values()]

    def recall(self, states: Iterable[ErrandState]) -> None:
        """Go on from how errands stood: what was asked a minute ago is not asked again because of a restart."""
        known = {(one.source, _Errand(one.zone, one.signal, _what(one.what))): one for one in states}
        latest_us = self._clock.unix_us() + round(WEEK_EVERY_S * 1.1 * US_PER_S)
        for source in self._sources:
            for errand in source.states:
                old = known.get((source.asked.name, errand))
                # After a failure the new start asks at once: perhaps it was started because the key was mended.
                if old is not None and not old.failures and old.due_us <= latest_us:
                    source.states[errand] = old

    def next_due_us(self) -> int | None:
        """When the next errand is due [us UTC]; None where there is none."""
        due = [max(state.due_us, one.quiet_until_us) for one in self._sources for state in one.states.values()]
        return min(due, default=None)

    async def round(self) -> None:
        """Do all errands that are due; every failure is told by its state and once in the log, none is raised."""
        await asyncio.gather(*(self._do_all(source) for source in self._sources))

    async def _do_all(self, source: _Source) -> None:
        started = False
        for errand in list(source.states):
            now_us = self._clock.unix_us()
            if source.states[errand].due_us > now_us or source.quiet_until_us > now_us:
                continue
            if started:
                await self._pause(source.asked.source.about().spacing_s)
            started = True
            await self._do(source, errand)

    async def _do(self, source: _Source, errand: _Errand) -> None:
        before = source.states[errand]
        try:
            readings = await self._ask(source.asked.source, errand)
        except GreenServeError as error:
            await self._failed(source, errand, str(error), error.retry_after_s)
            if isinstance(error, ConfigInvalid) or UNREACHABLE in error.details:
                # Without a key, or with nobody there, the other errands would only wait in vain one after the other.
                due_us = min(source.states[errand].due_us, self._clock.unix_us() + round(self._refresh_s * US_PER_S))
                source.quiet_until_us = max(source.quiet_until_us, due_us)
            return
        except Exception as error:  # a fault of ours in one adapter must not end the asking of the others
            log.exception("%s %s: the adapter failed", source.asked.name, errand)
            await self._failed(source, errand, f"{type(error).__name__}: {error}", None)
            return
        if before.failures:
            log.warning("%s %s %s: answers again", source.asked.name, errand.zone, errand.signal)
        now_us = self._clock.unix_us()
        state = replace(before, failures=0, ok_us=now_us, error=None, due_us=self._due_us(errand, 0, None))
        source.states[errand] = state
        await self._took(source.asked.name, readings, [state])

    async def _ask(self, source: GridSource, errand: _Errand) -> Sequence[IntensityReading]:
        if errand.what == "forecast":
            return await source.forecast(zone=errand.zone, signal=errand.signal)
        facts, now_us = source.about(), self._clock.unix_us()
        back_us = facts.recent_us if errand.what == "recent" else WEEK_BACK_US
        readings: list[IntensityReading] = []
        start_us = now_us - back_us
        while start_us < now_us:
            end_us = min(now_us, start_us + facts.history_us)
            readings += await source.read(zone=errand.zone, signal=errand.signal, start_us=start_us, end_us=end_us)
            start_us = end_us
        return readings

    async def _failed(self, source: _Source, errand: _Errand, why: str, retry_after_s: int | None) -> None:
        before = source.states[errand]
        failures = before.failures + 1
        if all(state.error != why for state in source.states.values()):
            log.warning("%s %s %s: %s", source.asked.name, errand.zone, errand.signal, why)
        if retry_after_s is not None:
            source.quiet_until_us = self._clock.unix_us() + retry_after_s * US_PER_S
        state = replace(before, failures=failures, error=why, due_us=self._due_us(errand, failures, retry_after_s))
        source.states[errand] = state
        await self._took(source.asked.name, [], [state])

    def _due_us(self, errand: _Errand, failures: int, retry_after_s: int | None) -> int:
        every_s = {"recent": self._refresh_s, "forecast": max(self._refresh_s, FORECAST_EVERY_S), "week": WEEK_EVERY_S}
        wait_s = next_try_s(
            every_s=every_s[errand.what],
            failures=failures,
            retry_after_s=retry_after_s,
            draw=self._draw(),
        )
        return self._clock.unix_us() + round(wait_s * US_PER_S)


def _errands(asked: Asked) -> list[_Errand]:
    """All of a source: the present first, then what is expected, then last week."""
    facts = asked.source.about()
    signals: Mapping[What, tuple[str, ...]] = {
        "recent": facts.signals,
        "forecast": facts.forecasts,
        "week": facts.signals,
    }
    return [_Errand(zone, signal, what) for what, told in signals.items() for zone in asked.zones for signal in told]


def _new(name: str, errand: _Errand) -> ErrandState:
    return ErrandState(
        source=name,
        zone=errand.zone,
        signal=errand.signal,
        what=errand.what,
        failures=0,
        ok_us=None,
        error=None,
        due_us=0,
    )


def _what(word: str) -> What:
    return "forecast" if word == "forecast" else "week" if word == "week" else "recent"
