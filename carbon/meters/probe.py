"""The probe of a board: what its counter and its sensor do under known load. Takes about two minutes.

One thread samples and feeds the load in turn, so that neither waits for the other's turn at the interpreter; the load
queues its work ahead on the board.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from greenserve.carbon.meters.characterise import (
    MILLI,
    Characterisation,
    Point,
    Publication,
    counter_per_power_milli,
    find_window,
    mean_power_mw,
    publication,
)
from greenserve.carbon.meters.nvml import Board, FieldReader, process_ids
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

MS = 1_000_000
JOBS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A load on the board, each part a call: `prepare` loads a model, `feed` queues work so that the board stays busy
    for the next milliseconds and returns, `drain` returns when the board is idle, `job` runs a fixed amount of work."""

    prepare: Callable[[], object]
    feed: Callable[[], object]
    drain: Callable[[], object]
    job: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Lengths of the phases [ns]. 37 ms on and 70 ms off: 107 ms sweep all phases of a 100 ms counter."""

    idle_ns: int = 20 * NS_PER_S
    wave_ns: int = 30 * NS_PER_S
    steady_ns: int = 60 * NS_PER_S
    on_ns: int = 37 * MS
    off_ns: int = 70 * MS
    tick_ns: int = MS


class Probe:
    """Runs the phases on one board. State: the lengths of the calls so far, changed by `run` alone."""

    def __init__(
        self,
        nvml: Any,
        board: Board,
        *,
        clock: "Clock",
        wait: Callable[[float], object],
        work: Work,
        plan: Plan | None = None,
        ours: frozenset[int] = frozenset(),
        sampler: Callable[[], AbstractContextManager[object]] | None = None,
    ) -> None:
        """`wait` sleeps for seconds, `ours` are our own process ids, `sampler` runs the sampler while it is entered."""
        self._nvml, self._board, self._clock, self._wait, self._work = nvml, board, clock, wait, work
        self._plan = plan or Plan()
        self._ours, self._sampler = ours, sampler
        self._reader = FieldReader(nvml, board, clock=clock)
        self._calls_ns: list[int] = []

    def run(self, said: Callable[[str], object] = lambda text: None) -> Characterisation:
        """The board's characterisation; `said` hears which phase begins.

        MeterUnavailable where another process is on the board, where the board has no counter, and where the counter
        moved too rarely to tell anything.
        """
        self._refuse_company()
        plan = self._plan
        said(f"idle for {plan.idle_ns // NS_PER_S} s: how the counter is published")
        idle = self._rest(plan.idle_ns)
        out, power_out = self._published(idle)
        self._work.prepare()
        self._work.drain()
        said(f"idle with a model loaded for {plan.idle_ns // NS_PER_S} s: static power")
        idle_mw = mean_power_mw(_counter(self._rest(plan.idle_ns)))
        if idle_mw is None:
            raise self._silent("with a model loaded")
        said(f"square wave for {plan.wave_ns // NS_PER_S} s: lag and observed part")
        wave, stretches = self._wave()
        window = find_window(_counter(wave), stretches, period_ns=out.period_ns, idle_mw=idle_mw)
        if window is None:
            raise self._silent("under a square wave")
        said(f"steady load for {plan.steady_ns // NS_PER_S} s: counter against power")
        steady = self._steady()
        said("a fixed job with and without the sampler")
        return Characterisation(
            uuid=self._board.uuid,
            driver=self._board.driver,
            board=self._board.name,
            at_us=self._clock.unix_us(),
            period_ns=out.period_ns,
            jitter_ns=out.jitter_ns,
            quantum_mj=out.quantum,
            power_period_ns=power_out.period_ns if power_out else None,
            idle_mw=idle_mw,
            lag_ns=window.lag_ns,
            share_milli=window.share_milli,
            r2_milli=round(MILLI * max(0.0, window.r2)),
            duty_unknown=window.duty_unknown,
            counter_per_power_milli=counter_per_power_milli(steady),
            call_ns=max(1, round(median(self._calls_ns))),
            slowdown_milli=self._slowdown(),
        )

    def _refuse_company(self) -> None:
        others = process_ids(self._nvml, self._board) - self._ours
        if others:
            raise MeterUnavailable(
                f"{len(others)} other processes are on {self._board.name} ({self._board.uuid}): "
                f"{', '.join(map(str, sorted(others)))}; a probe needs the board for itself, stop them first"
            )

    def _published(self, points: list[Point]) -> tuple[Publication, Publication | None]:
        out = publication(_counter(points))
        if out is None:
            raise self._silent("at rest")
        powers = [(point.at_ns, point.power_mw) for point in points if point.power_mw is not None]
        return out, publication(powers)

    def _silent(self, when: str) -> MeterUnavailable:
        return MeterUnavailable(
            f"the energy counter of {self._board.name} ({self._board.uuid}) moved too rarely {when} to characterise "
            "it; without a counter the board is metered by its power samples"
        )

    def _sample(self) -> Point:
        sample = self._reader.sample()
        self._calls_ns.append(sample.call_ns)
        return Point(at_ns=sample.at_ns, counter_mj=sample.counter_mj, power_mw=sample.power_mw)

    def _tick(self, started_ns: int) -> None:
        left_ns = started_ns + self._plan.tick_ns - self._clock.monotonic_ns()
        if left_ns > 0:
            self._wait(left_ns / NS_PER_S)

    def _rest(self, duration_ns: int) -> list[Point]:
        points: list[Point] = []
        end_ns = self._clock.monotonic_ns() + duration_ns
        while (now_ns := self._clock.monotonic_ns()) < end_ns:
            points.append(self._sample())
            self._tick(now_ns)
        return points

    def _wave(self) -> tuple[list[Point], list[tuple[int, int]]]:
        points: list[Point] = []
        stretches: list[tuple[int, int]] = []
        end_ns = self._clock.monotonic_ns() + self._plan.wave_ns
        while (start_ns := self._clock.monotonic_ns()) < end_ns:
            points += self._busy(self._plan.on_ns)
            stretches.append((start_ns, self._clock.monotonic_ns()))
            points += self._rest(self._plan.off_ns)
        return points, stretches

    def _busy(self, duration_ns: int) -> list[Point]:
        points: list[Point] = []
        end_ns = self._clock.monotonic_ns() + duration_ns
        while (now_ns := self._clock.monotonic_ns()) < end_ns:
            self._work.feed()
            points.append(self._sample())
            self._tick(now_ns)
        self._work.drain()
        return points

    def _steady(self) -> list[Point]:
        return self._busy(self._plan.steady_ns)

    def _slowdown(self) -> int | None:
        """The time of a fixed job beside the sampler over that without it [1/1000]; None without a sampler."""
        if self._sampler is None:
            return None
        self._work.job()
        alone = median(self._timed() for _ in range(JOBS))
        with self._sampler():
            beside = median(self._timed() for _ in range(JOBS))
        return round(MILLI * beside / alone)

    def _timed(self) -> int:
        start_ns = self._clock.monotonic_ns()
        self._work.job()
        return max(1, self._clock.monotonic_ns() - start_ns)


def _counter(points: list[Point]) -> list[tuple[int, int]]:
    return [(point.at_ns, point.counter_mj) for point in points if point.counter_mj is not None]
