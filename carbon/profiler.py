"""Joules of a block of code, with or without a gateway: `with EnergyProfiler("embed") as profiler: ...`."""

import asyncio
import functools
import inspect
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast

from greenserve.carbon.energy_report import EnergyReport
from greenserve.carbon.meters.session import MeterSession
from greenserve.carbon.sharing import Block
from greenserve.errors import ConfigInvalid, MeterUnavailable

P = ParamSpec("P")
R = TypeVar("R")
REPORTS_KEPT = 1_000
FOREIGN: tuple[str, ...] = ("mark", "refuse")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Open:
    """A block that this context is inside of, and who measures it."""

    owner: object
    session: MeterSession
    block: Block
    start_us: int
    pid: int


OPENED: ContextVar[tuple[Open, ...]] = ContextVar("greenserve_opened", default=())
"""The blocks around the present code, outermost first; a task of asyncio inherits them, a thread does not."""
_SESSION = MeterSession()


def default_session() -> MeterSession:
    """The session of profilers and trackers that are given none: this machine's best meters, one for the process."""
    return _SESSION


def begin(owner: object, label: str, session: MeterSession) -> Open:
    """Open a block inside the innermost one of this context that the session measures; errors as its `open`."""
    around = OPENED.get()
    parent = next(
        (one.block for one in reversed(around) if one.session is session and session.is_ours(one.block)), None
    )
    block = session.open(label, parent)
    opened = Open(owner=owner, session=session, block=block, start_us=session.now_us(), pid=os.getpid())
    OPENED.set((*around, opened))
    return opened


def finish(opened: Open, raised: str | None = None) -> EnergyReport:
    """Close a block and tell what it used. MeterUnavailable in a fork of the process that opened it."""
    OPENED.set(tuple(one for one in OPENED.get() if one is not opened))
    if opened.pid != os.getpid():
        raise MeterUnavailable(
            f"{opened.block.label!r} is measured by process {opened.pid}, of which this one ({os.getpid()}) is a fork; "
            "its report is there, and counts this process too"
        )
    opened.session.close(opened.block)
    return opened.session.report(opened.block, start_us=opened.start_us, raised=raised)


class EnergyProfiler:
    """Measures a `with` or `async with` block, or every call of a function that it decorates (sync or async).

    `report` is that of the last block that ended, `reports` those of the last 1,000. One profiler may be open many
    times at once: nested, in threads, in tasks. State: `_reports`, appended when a block ends.

    `foreign`: what happens when other processes were on a board that has no way to tell their part. `mark` flags the
    figures, whose lower bound is then 0; `refuse` raises MeterUnavailable when the block ends, unless the block itself
    raised. Entering raises MeterUnavailable, with each reason, where no meter can be read.
    """

    def __init__(
        self, label: str, *, session: MeterSession | None = None, foreign: Literal["mark", "refuse"] = "mark"
    ) -> None:
        if not label or foreign not in FOREIGN:
            raise ConfigInvalid(
                f"label is {label!r} and foreign is {foreign!r}; give the block a name, and 'mark' or 'refuse'"
            )
        self.label = label
        self._session = session or default_session()
        self._foreign = foreign
        self._reports: deque[EnergyReport] = deque(maxlen=REPORTS_KEPT)

    def __repr__(self) -> str:
        return f"<EnergyProfiler {self.label!r}: {len(self._reports)} reports>"

    @property
    def report(self) -> EnergyReport:
        """What the block that ended last used; MeterUnavailable before one has ended."""
        if not self._reports:
            raise MeterUnavailable(f"{self.label!r} has measured nothing yet; its report is there when a block ends")
        return self._reports[-1]

    @property
    def reports(self) -> tuple[EnergyReport, ...]:
        """Of the last 1,000 blocks, in the order in which they ended."""
        return tuple(self._reports)

    def __enter__(self) -> Self:
        begin(self, self.label, self._session)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(self._innermost(), error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._end_off_the_loop(self._innermost(), error)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Measure every call of a function or coroutine function. ConfigInvalid for a generator function, whose
        body runs elsewhere: put a `with` block around the loop that draws from it."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigInvalid(
                f"{function.__qualname__} is a generator function: its body runs between the calls; "
                f"put `with EnergyProfiler({self.label!r}):` around the loop that draws from it"
            )
        if inspect.iscoroutinefunction(function):
            return cast(Callable[P, R], self._around_async(function))

        @functools.wraps(function)
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return measured

    def _around_async(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        async def measured(*args: Any, **kwargs: Any) -> Any:
            async with self:
                return await function(*args, **kwargs)

        return measured

    def _innermost(self) -> Open:
        """The block of this profiler that this context entered last."""
        found = next((one for one in reversed(OPENED.get()) if one.owner is self), None)
        if found is None:
            raise MeterUnavailable(f"{self.label!r} is left in another thread or task than it was entered in")
        return found

    def _end(self, opened: Open, error: BaseException | None) -> None:
        if opened.pid != os.getpid():
            return  # a fork of the measured process leaves the block too; the report is its parent's
        self._keep(finish(opened, type(error).__name__ if error else None), error)

    async def _end_off_the_loop(self, opened: Open, error: BaseException | None) -> None:
        """The wait for a board's counter must not hold up other tasks."""
        if opened.pid != os.getpid():
            return
        raised = type(error).__name__ if error else None
        OPENED.set(tuple(one for one in OPENED.get() if one is not opened))
        self._keep(await asyncio.shield(asyncio.to_thread(finish, opened, raised)), error)

    def _keep(self, report: EnergyReport, error: BaseException | None) -> None:
        self._reports.append(report)
        if self._foreign == "refuse" and error is None and {"foreign", "foreign_unknown"} & set(report.flags):
            flags = ", ".join(report.flags)
            raise MeterUnavailable(
                f"other processes worked beside {self.label!r} and their part is not known ({flags}); "
                "measure on a free machine, or with foreign='mark'"
            )
