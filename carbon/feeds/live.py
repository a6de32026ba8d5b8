"""What a live provider has told, in memory: found by zone and time at the level at which it may be used."""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from greenserve.carbon.feeds.levels import FORECAST, LAST_GOOD, LAST_GOOD_SLOTS, LAST_WEEK, LIVE, graded, moved
from greenserve.carbon.feeds.parsing import DAY_US
from greenserve.records import Basis, IntensityReading, Kind

WEEK_US = 7 * DAY_US
KEPT_US = WEEK_US + DAY_US
BASES: tuple[Basis, ...] = ("lifecycle", "direct")


class _Name(NamedTuple):
    zone: str
    basis: Basis
    kind: Kind
    forecast: bool


class _Series:
    """Readings by the start of their slot. State: both members, changed together."""

    def __init__(self) -> None:
        self.by_start: dict[int, IntensityReading] = {}
        self.starts: list[int] = []

    def put(self, reading: IntensityReading) -> None:
        if reading.start_us not in self.by_start:
            insort(self.starts, reading.start_us)
        self.by_start[reading.start_us] = reading

    def last_begun(self, at_us: int) -> IntensityReading | None:
        place = bisect_right(self.starts, at_us)
        return self.by_start[self.starts[place - 1]] if place else None

    def holding(self, at_us: int) -> IntensityReading | None:
        last = self.last_begun(at_us)
        return last if last is not None and at_us < last.end_us else None

    def forget(self, before_us: int) -> None:
        place = bisect_right(self.starts, before_us)
        for start_us in self.starts[:place]:
            del self.by_start[start_us]
        del self.starts[:place]


class LiveReadings:
    """One provider's readings of about a week. State: the series, changed by whoever fills them, on one thread.

    It is an `IntensityFeed` of average intensity in whichever basis it knows, lifecycle first; `candidates` tells all
    levels at which it can answer.
    """

    def __init__(self, provider: str, zones: Iterable[str]) -> None:
        self.provider = provider
        self._zones = frozenset(zones)
        self._series: dict[_Name, _Series] = {}

    def __repr__(self) -> str:
        held = sum(len(series.starts) for series in self._series.values())
        return f"<LiveReadings of {self.provider}: {len(self._zones)} zones, {held} readings>"

    def zones(self) -> frozenset[str]:
        """The zones that the provider is asked for."""
        return self._zones

    def put(self, readings: Iterable[IntensityReading]) -> list[IntensityReading]:
        """Take what the provider told; returns what is new or changed, a changed value with the next revision.

        A value that was told again keeps the time at which it was first retrieved.
        """
        fresh = []
        for reading in readings:
            series = self._series.setdefault(_name(reading), _Series())
            old = series.by_start.get(reading.start_us)
            if old is not None and _same(old, reading):
                continue
            changed = old is not None and old.mg_per_kwh != reading.mg_per_kwh and reading.origin != "forecast"
            taken = replace(reading, revision=old.revision + changed if old is not None else 0)
            series.put(taken)
            fresh.append(taken)
        return fresh

    def load(self, readings: Iterable[IntensityReading]) -> None:
        """Take readings as another process stored them, with their revisions."""
        for reading in readings:
            self._series.setdefault(_name(reading), _Series()).put(reading)

    def forget(self, now_us: int) -> None:
        """Drop what no level needs any more."""
        for series in self._series.values():
            series.forget(now_us - KEPT_US)

    def candidates(self, zone: str, at_us: int, basis: Basis, kind: Kind = "average") -> Iterator[IntensityReading]:
        """What can stand for the slot at `at_us` [us UTC], best level first: each holds at that time."""
        told = self._series.get(_Name(zone, basis, kind, False))
        if told is not None and (live := told.holding(at_us)) is not None:
            yield graded(live, LIVE)
        if told is not None and (last := told.last_begun(at_us)) is not None:
            slot_us = last.end_us - last.start_us
            if last.end_us <= at_us < last.end_us + LAST_GOOD_SLOTS * slot_us:
                yield moved(last, (at_us - last.start_us) // slot_us * slot_us, LAST_GOOD)
        expected = self._series.get(_Name(zone, basis, kind, True))
        if expected is not None and (forecast := expected.holding(at_us)) is not None:
            yield graded(forecast, FORECAST)
        if told is not None and (before := told.holding(at_us - WEEK_US)) is not None:
            yield moved(before, WEEK_US, LAST_WEEK)

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The best candidate of the lifecycle basis, else of the direct one; None where there is none."""
        found = (reading for basis in BASES for reading in self.candidates(zone, at_us, basis))
        return next(found, None)


def _name(reading: IntensityReading) -> _Name:
    return _Name(reading.zone, reading.basis, reading.kind, reading.origin == "forecast")


def _same(old: IntensityReading, new: IntensityReading) -> bool:
    return (old.mg_per_kwh, old.end_us, old.origin, old.model) == (new.mg_per_kwh, new.end_us, new.origin, new.model)
