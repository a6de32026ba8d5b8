"""Grams of a programme as it runs: its joules times PUE times the grid's intensity, slot by slot."""

import asyncio
import functools
import inspect
import logging
import os
import tempfile
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from greenserve.carbon.energy_report import EnergyReport
from greenserve.carbon.exporters.exporter import Exporter, take
from greenserve.carbon.exporters.named import exporters_of
from greenserve.carbon.feeds.build import grid_of
from greenserve.carbon.feeds.grid import Grid
from greenserve.carbon.feeds.store import store_file
from greenserve.carbon.meters.cpu_time import host_power
from greenserve.carbon.meters.known_boards import FILE, meters_folder, read_boards
from greenserve.carbon.meters.pick import Model
from greenserve.carbon.meters.session import MeterSession
from greenserve.carbon.profiler import Open, begin, default_session, finish
from greenserve.carbon.slots import SLOT_MINUTES, US_PER_MINUTE
from greenserve.carbon.tracked import CarbonReport, TrackedLine, tracked_line
from greenserve.carbon.tracker_settings import check_zone, intensity_of, pue_of, save_every_s
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.records import IntensityReading
from greenserve.units import US_PER_S

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger("greenserve.tracker")
SLOT_US = SLOT_MINUTES[0] * US_PER_MINUTE
FIRST_ANSWER_S = 12.0
"""How long the end waits for providers that are being asked; a call ends after 5 s."""
REPORTS_KEPT = 1_000
_SESSIONS: dict[str, MeterSession] = {}
_SESSIONS_LOCK = threading.Lock()


def session_from(config: Config) -> MeterSession:
    """The session with the meters, watts and probed boards of a gateway's configuration: one for equal settings, so
    that what overlaps is shared."""
    key = f"{config.energy.model_dump_json()} {config.ledger.path}"
    with _SESSIONS_LOCK:
        if key not in _SESSIONS:
            cpu = config.energy.cpu
            power = host_power(idle_w=cpu.idle_w, max_w=cpu.max_w, half_width_pct=cpu.half_width_pct) if cpu else None
            _SESSIONS[key] = MeterSession(
                config.energy.meters,
                model=Model(power=power, alpha=cpu.alpha if cpu else 1.0),
                boards=read_boards(meters_folder(config.ledger.path) / FILE),
            )
        return _SESSIONS[key]


class CarbonTracker:
    """Tracks what this process and its children emit from `start` to `stop`, in a `with` block, or in each call of a
    decorated function; once each tracker, but a decorator makes one for every call.

    `zone` is a grid zone (`FR`, `US-CAL-CISO`) or a cloud region (`gcp:europe-west3`). `sources` are those of the
    configuration's `intensity.sources`, as mappings; or `config`, a whole configuration, gives sources, meters, watts
    and the store of providers' answers. Without either the energy is known and the emissions are not. `pue` is the
    site's own (>= 1.0; 1.0 for a machine without cooling of its own).

    A sample is taken every `save_every` and at each five-minute edge (UTC), and goes to the `exporters`: files by their
    name or kind (`run.json`, `csv`, `jsonl`, `prom`), `prometheus`, `otel`, or an `Exporter` of your own. A crash loses
    one sample. An exporter that fails is told in the remarks and stops nothing. Raises ConfigInvalid for what is given
    wrong, MeterUnavailable at the start where no meter reads. Trackers of one process share what they overlap in, and
    say so (`shared_ns`). State, under `_lock`: `_lines`; `_given`, the energy in them; the sampler's thread, which ends
    with `stop`.
    """

    def __init__(
        self,
        label: str,
        *,
        zone: str,
        sources: Sequence[Mapping[str, Any]] = (),
        config: Config | None = None,
        pue: float | None = None,
        save_every: str = "15s",
        exporters: Sequence[str | Path | Exporter] = (),
        session: MeterSession | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {"zone": zone, "sources": sources, "config": config, "pue": pue}
        self._settings |= {"save_every": save_every}
        self.reports: deque[CarbonReport] = deque(maxlen=REPORTS_KEPT)
        if not label:
            raise ConfigInvalid("label is empty; name what is tracked")
        self.label, self.zone = label, zone
        self._pue = pue_of(pue, zone, config)
        self._every_s = save_every_s(save_every)
        self._session = session or (session_from(config) if config else default_session())
        self._settings["session"] = self._session
        self._intensity = config.intensity if config else intensity_of(sources)
        self._store = store_file(config) if config else None
        check_zone(zone, self._intensity)
        self._exporters = exporters_of(exporters, label)
        self._lock = threading.Lock()
        self._lines: list[TrackedLine] = []
        self._given: dict[str, int] = {}
        self._opened: Open | None = None
        self._last_us = 0
        self._final: CarbonReport | None = None
        self._grid: Grid | None = None
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem: str | None = None
        self._exporting = threading.Lock()

    def __repr__(self) -> str:
        state = "ended" if self._final else "running" if self._opened else "not started"
        return f"<CarbonTracker {self.label!r} in {self.zone}: {state}, {len(self._lines)} lines>"

    def start(self) -> Self:
        """Begin; ConfigInvalid a second time, MeterUnavailable where no meter reads."""
        if self._opened is not None:
            raise ConfigInvalid(f"{self.label!r} was started already; make another CarbonTracker")
        self._opened = begin(self, self.label, self._session)
        self._last_us = self._opened.start_us
        self._thread = threading.Thread(target=self._run, name="greenserve-tracker", daemon=True)
        self._thread.start()
        return self

    def stop(self, raised: str | None = None) -> CarbonReport:
        """End and tell; a second call tells the same. MeterUnavailable before the start, and in a fork."""
        if self._final is not None:
            return self._final
        if self._opened is None:
            raise MeterUnavailable(f"{self.label!r} was not started; call start() or use it in a `with` block")
        if self._opened.pid == os.getpid() and self._thread is not None:
            self._asked.wait(FIRST_ANSWER_S)
            self._stopping.set()
            self._thread.join()
        energy = finish(self._opened, raised)
        with self._lock:
            self._line_up(energy)
            self._final = self._report(energy, "final")
        self._export(self._final)
        return self._final

    @property
    def report(self) -> CarbonReport:
        """The final report, or while it runs that of the samples so far."""
        if self._final is not None:
            return self._final
        if self._opened is None:
            raise MeterUnavailable(f"{self.label!r} was not started; call start() or use it in a `with` block")
        return self.sample()

    def sample(self) -> CarbonReport:
        """Take a sample now, besides those that come by themselves."""
        if self._opened is None:
            return self.report
        with self._lock:
            if self._final is not None:
                return self._final
            energy = self._session.report(self._opened.block, start_us=self._opened.start_us)
            self._line_up(energy)
            found = self._report(energy, "running")
        self._export(found)
        return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._opened is not None and self._opened.pid == os.getpid():
            self.stop(kind.__name__ if kind else None)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Track every call of a function or coroutine function, each by a tracker of its own; `reports` keeps the last
        1,000. ConfigInvalid for a generator function, and with exporters, where calls would overwrite another."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function) or self._exporters:
            raise ConfigInvalid(
                f"{function.__qualname__} cannot be tracked call by call: it is a generator function, or its calls "
                "would share `exporters`; put `with CarbonTracker(...)` around the work"
            )
        if inspect.iscoroutinefunction(function):
            return cast(Callable[P, R], self._around_async(function))

        @functools.wraps(function)
        def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
            one = CarbonTracker(self.label, **self._settings)
            try:
                with one:
                    return function(*args, **kwargs)
            finally:
                self.reports.append(one.report)

        return tracked

    def _around_async(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        async def tracked(*args: Any, **kwargs: Any) -> Any:
            one = CarbonTracker(self.label, **self._settings).start()
            raised = None
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                raised = type(error).__name__
                raise
            finally:
                # The end may wait for providers and boards: other tasks go on.
                self.reports.append(await asyncio.shield(asyncio.to_thread(one.stop, raised)))

        return tracked

    def _line_up(self, energy: EnergyReport) -> None:
        """A line for what was metered since the last one, so that the lines sum to the report exactly."""
        now_us = max(self._session.now_us(), self._last_us + 1)
        known = {one.device: one.energy_uj for one in energy.devices if one.energy_uj is not None}
        fresh = {device: energy_uj - self._given.get(device, 0) for device, energy_uj in known.items()}
        self._given |= known
        self._lines.append(
            tracked_line(
                start_us=self._last_us,
                end_us=now_us,
                energy_uj=sum(fresh.values()) if fresh else None,
                tier=energy.tier,
                intensity=self._reading(self._last_us),
                pue_milli=self._pue.milli,
            )
        )
        self._last_us = now_us

    def _reading(self, at_us: int) -> IntensityReading | None:
        return self._grid.chain.read(zone=self.zone, at_us=at_us) if self._grid else None

    def _report(self, energy: EnergyReport, state: str) -> CarbonReport:
        # What a provider told meanwhile about an earlier slot counts: carbon changes, energy does not.
        self._lines = [
            tracked_line(
                start_us=line.start_us,
                end_us=line.end_us,
                energy_uj=line.energy_uj,
                tier=line.tier,
                intensity=self._reading(line.start_us) or line.intensity,
                pue_milli=self._pue.milli,
            )
            for line in self._lines
        ]
        return CarbonReport(
            label=self.label,
            zone=self.zone,
            state=state,
            energy=energy,
            pue=self._pue,
            lines=tuple(self._lines),
            remarks=self._remarks(energy),
        )

    def _remarks(self, energy: EnergyReport) -> tuple[str, ...]:
        found = []
        if self._intensity is None:
            found.append("no source of grid intensity was given (sources=, or config=): emissions are not known")
        elif any(line.intensity is None for line in self._lines):
            found.append(f"no source knows {self.zone} at some times: that energy is in no emissions (uncovered_uj)")
        if energy.shared_ns:
            found.append("other blocks ran beside this one; they share what they overlapped in equally (shared_ns)")
        return (*found, *([self._problem] if self._problem else []))

    def _run(self) -> None:
        """The sampler: asks the providers and takes samples until `stop`."""
        try:
            if self._intensity is None:
                asyncio.run(self._sampling())
                return
            with tempfile.TemporaryDirectory(prefix="greenserve-") as folder:
                self._grid = grid_of(
                    self._intensity, wanted=[self.zone], store=self._store or Path(folder) / "grid", clock=SystemClock()
                )
                asyncio.run(self._sampling())
        except Exception as error:  # the tracked programme goes on, and the report says what is missing
            log.exception("the tracker of %s samples no more", self.label)
            self._problem = f"sampling ended early: {error}"
        finally:
            self._asked.set()

    async def _sampling(self) -> None:
        grid = self._grid
        try:
            while not self._stopping.is_set():
                if grid is not None:
                    await grid.turn()
                self._asked.set()
                now_us = self._session.now_us()
                to_edge_s = (SLOT_US - now_us % SLOT_US) / US_PER_S
                if await asyncio.to_thread(self._stopping.wait, min(self._every_s, to_edge_s)):
                    break
                self.sample()
        finally:
            if grid is not None:
                await grid.close()

    def _export(self, report: CarbonReport) -> None:
        for exporter in self._exporters:
            with self._exporting:
                problem = take(exporter, report)
            if problem:
                log.error("%s", problem)
            self._problem = problem or self._problem
            if problem and self._final is not None and problem not in self._final.remarks:
                self._final = replace(self._final, remarks=(*self._final.remarks, problem))
