"""A question on its way through a variant, and everybody who asked it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from greenserve.carbon.apportion import apportion_list
from greenserve.errors import GreenServeError
from greenserve.records import Decision, Span
from greenserve.serve.models import ServedVariant

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one request got: probabilities [rows, classes], span times [ns], its own part of CPU and held time [ns].

    `held_ns` is span time x the share of the device that this process holds; `decision` is the leader's.
    """

    probabilities: Probabilities
    decision: Decision
    batch_id: str
    batch_rows: int
    start_ns: int
    end_ns: int
    cpu_ns: int
    held_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """One who asked. `abandoned` receives the run of a waiter who left before it landed: its share is still owed."""

    future: "asyncio.Future[Run]"
    abandoned: Callable[[Run], None]


@dataclass(slots=True, eq=False)
class Flight:
    """Rows of one question; the batcher adds results row by row and lands the flight with the last one."""

    served: ServedVariant
    decision: Decision
    rows: tuple[tuple[int, ...], ...]
    deadline_ns: int
    waiters: list[Waiter] = field(default_factory=list)
    on_landed: Callable[[Probabilities | None], None] = lambda probabilities: None
    failed: bool = False
    _rows: dict[int, Probabilities] = field(default_factory=dict)
    _spans: list[Span] = field(default_factory=list)
    _cpu_ns: int = 0
    _held_ns: int = 0

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits."""
        return not self.failed and any(not waiter.future.done() for waiter in self.waiters)

    def join(self, waiter: Waiter, *, deadline_ns: int) -> None:
        """One more who asks; the flight may now take as long as its most patient waiter."""
        self.waiters.append(waiter)
        self.deadline_ns = max(self.deadline_ns, deadline_ns)

    def add(self, *, index: int, probabilities: Probabilities, span: Span, cpu_ns: int, held_ns: int) -> bool:
        """Take the result [1, classes] of one row; True when it was the last."""
        self._rows[index] = probabilities
        if not self._spans or self._spans[-1] is not span:
            self._spans.append(span)
        self._cpu_ns += cpu_ns
        self._held_ns += held_ns
        return len(self._rows) == len(self.rows)

    def land(self) -> None:
        """Give everybody the run; what it cost is shared equally, also with those who left meanwhile."""
        rows = [self._rows[index] for index in range(len(self.rows))]
        probabilities = rows[0] if len(rows) == 1 else np.concatenate(rows)
        equal = [1] * len(self.waiters)
        cpu, held = apportion_list(self._cpu_ns, equal), apportion_list(self._held_ns, equal)
        for waiter, cpu_ns, held_ns in zip(self.waiters, cpu, held, strict=True):
            run = Run(
                probabilities=probabilities,
                decision=self.decision,
                batch_id=self._spans[0].batch_id,
                batch_rows=len(self._spans[0].lengths),
                start_ns=min(span.start_ns for span in self._spans),
                end_ns=max(span.end_ns for span in self._spans),
                cpu_ns=cpu_ns,
                held_ns=held_ns,
            )
            if waiter.future.cancelled():
                waiter.abandoned(run)
            elif not waiter.future.done():
                waiter.future.set_result(run)
        self.on_landed(probabilities)

    def drop(self) -> None:
        """Nobody waits any more: rows that did not start never will."""
        self.failed = True
        self.on_landed(None)

    def fail(self, error: GreenServeError) -> None:
        """Give everybody who still waits the error."""
        self.failed = True
        self.on_landed(None)
        for waiter in self.waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error)
