"""Asking in the background: rhythm, failures that concern nobody else, and what a provider asks for."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from greenserve.carbon.feeds.fetcher import UNREACHABLE
from greenserve.carbon.feeds.poller import WEEK_BACK_US, Asked, Poller
from greenserve.carbon.feeds.store import ErrandState
from greenserve.clock import ManualClock
from greenserve.errors import ConfigInvalid, GridUnavailable
from greenserve.ports import SourceFacts
from greenserve.records import IntensityReading
from tests.carbon.grid_server import DAY_US, HOUR_US, NOW_US, a_clock, a_reading

REFRESH_S = 300.0


class Provider:
    """A source whose signals fail as a test wants. State: `fails` (signal to error) and `asked`, in order."""

    def __init__(self, *signals: str, history_us: int = 10 * DAY_US) -> None:
        self.fails: dict[str, Exception] = {}
        self.asked: list[tuple[str, str, int, int]] = []
        self._signals = signals or ("lifecycle",)
        self._history_us = history_us

    def about(self) -> SourceFacts:
        return SourceFacts(
            provider="a test",
            signals=self._signals,
            forecasts=self._signals[:1],
            slot_us=HOUR_US,
            recent_us=2 * HOUR_US,
            history_us=self._history_us,
        )

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        self.asked.append((zone, signal, start_us, end_us))
        if signal in self.fails:
            raise self.fails[signal]
        return [a_reading(zone=zone)]

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        return [a_reading(zone=zone, origin="forecast", start_us=NOW_US)]

    def zones(self) -> frozenset[str]:
        return frozenset({"DE"})


class Told:
    """What the poller told. State: `readings` and `states`, in order; `pauses` [s] between calls."""

    def __init__(self) -> None:
        self.readings: list[tuple[str, IntensityReading]] = []
        self.states: list[ErrandState] = []
        self.pauses: list[float] = []

    async def took(self, name: str, readings: Sequence[IntensityReading], states: Sequence[ErrandState]) -> None:
        self.readings += [(name, reading) for reading in readings]
        self.states += states

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def a_poller(told: Told, clock: ManualClock, **providers: Provider) -> Poller:
    """Asks these, each for DE, with a draw of exactly the rhythm."""
    asked = [Asked(name, provider, ("DE",)) for name, provider in providers.items()]
    return Poller(asked=asked, clock=clock, draw=lambda: 0.5, refresh_s=REFRESH_S, took=told.took, pause=told.pause)


def after(clock: ManualClock, seconds: float) -> None:
    clock.advance(duration_ns=round(seconds * 1e9))


async def test_the_present_comes_first_then_the_forecast_then_last_week() -> None:
    """All at the start, with pauses between; then each in its own rhythm."""
    told, clock, provider = Told(), a_clock(), Provider()
    poller = a_poller(told, clock, one=provider)

    await poller.round()
    await poller.round()

    assert ["recent", "forecast", "week"] == [state.what for state in told.states]
    assert [2 * HOUR_US, WEEK_BACK_US] == [end_us - start_us for _, _, start_us, end_us in provider.asked]
    assert [0.25, 0.25] == told.pauses
    due = {state.what: (state.due_us - NOW_US) / 1e6 for state in poller.states()}
    assert {"recent": REFRESH_S, "forecast": 1_800.0, "week": 86_400.0} == due
    assert NOW_US + round(REFRESH_S * 1e6) == poller.next_due_us()
    after(clock, REFRESH_S)
    await poller.round()
    assert "recent" == told.states[-1].what
    assert 4 == len(told.states)


async def test_last_week_comes_in_pieces_that_the_provider_allows() -> None:
    """Without a gap and without an overlap."""
    told, provider = Told(), Provider(history_us=3 * DAY_US)
    await a_poller(told, a_clock(), one=provider).round()

    pieces = provider.asked[1:]
    assert 3 == len(pieces)
    assert [piece[3] for piece in pieces[:-1]] == [piece[2] for piece in pieces[1:]]
    assert (NOW_US - WEEK_BACK_US, NOW_US) == (pieces[0][2], pieces[-1][3])


async def test_a_signal_that_fails_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Direct and lifecycle are two queries; a failure backs off by itself and is logged once, as is its end."""
    caplog.set_level(logging.WARNING, logger="greenserve.grid")
    told, clock, provider, other = Told(), a_clock(), Provider("lifecycle", "direct"), Provider()
    provider.fails["direct"] = GridUnavailable("a test: no")
    poller = a_poller(told, clock, one=provider, two=other)

    waits = []
    for _ in range(3):
        await poller.round()
        (state,) = [one for one in poller.states() if (one.signal, one.what) == ("direct", "recent")]
        waits.append((state.failures, (state.due_us - clock.unix_us()) / 1e6))
        after(clock, waits[-1][1])
    provider.fails.clear()
    await poller.round()

    assert [(1, 22.5), (2, 45.0), (3, 90.0)] == waits
    assert {"a test: no"} == {one.error for one in told.states if one.failures}
    assert all(one.failures == 0 for one in poller.states() if one.what == "recent")
    assert ["one DE direct: a test: no"] + ["one DE direct: answers again"] * 2 == sorted(
        record.getMessage() for record in caplog.records
    )


async def test_a_provider_that_asks_for_quiet_is_left_alone_as_a_whole() -> None:
    """429 with Retry-After holds for all its errands, not only for the one that met it."""
    told, clock, provider = Told(), a_clock(), Provider("lifecycle", "direct")
    provider.fails["lifecycle"] = GridUnavailable("a test: slow down", retry_after_s=600)
    poller = a_poller(told, clock, one=provider)

    await poller.round()
    first = len(provider.asked)
    after(clock, 599)
    await poller.round()
    quiet = len(provider.asked)
    after(clock, 1)
    await poller.round()

    assert (1, 1) == (first, quiet)
    assert len(provider.asked) > 1


@pytest.mark.parametrize(
    "error", [GridUnavailable("a test: nobody there", details={UNREACHABLE: True}), ConfigInvalid("no key")]
)
async def test_a_provider_that_is_not_there_is_not_asked_the_rest_in_vain(error: Exception) -> None:
    """One try tells it; the next comes after the back-off, at the latest with the usual rhythm."""
    told, clock, provider = Told(), a_clock(), Provider("lifecycle", "direct")
    provider.fails |= {"lifecycle": error, "direct": error}
    poller = a_poller(told, clock, one=provider)

    counts = []
    for _ in range(4):
        await poller.round()
        counts.append(len(provider.asked))
        after(clock, 22.5)

    assert [1, 2, 2, 3] == counts


async def test_a_fault_in_an_adapter_does_not_end_the_asking(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its trace, and told like any failure."""
    told, provider = Told(), Provider()
    provider.fails["lifecycle"] = ZeroDivisionError("oops")

    await a_poller(told, a_clock(), one=provider, two=Provider()).round()

    assert "ZeroDivisionError: oops" in {state.error for state in told.states}
    assert "two" in {name for name, _ in told.readings}
    assert "the adapter failed" in caplog.text


async def test_a_restart_goes_on_where_the_last_run_was() -> None:
    """What was asked a minute ago waits; what failed, or is due further ahead than any rhythm, is asked at once."""
    told, clock = Told(), a_clock()
    before = a_poller(told, clock, one=Provider())
    await before.round()
    known = [
        replace(state, failures=3)
        if state.what == "forecast"
        else replace(state, due_us=NOW_US + 90 * DAY_US)
        if state.what == "week"
        else state
        for state in before.states()
    ]
    provider, again = Provider(), Told()
    poller = a_poller(again, clock, one=provider)

    poller.recall(known)
    await poller.round()

    assert ["forecast", "week"] == [state.what for state in again.states]
