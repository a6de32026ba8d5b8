"""Long texts are tokenised on a thread of their own: a text of a megabyte takes as long as a thousand requests.

Short ones are tokenised on the listeners' loop, since a hop to a thread and back costs more than they do.
"""

import asyncio
import time

from greenserve.errors import DeadlineExceeded, InvalidRequest
from greenserve.inputs import LONG
from greenserve.records import Item
from greenserve.serve.call import Call
from greenserve.serve.call_thread import CallThread
from greenserve.serve.tasks import Task


def is_long(call: Call) -> bool:
    """Whether a call holds so much text that the loop should not stop for it; token ids cost next to nothing."""
    return sum([sum(map(len, given.data)) for given in call.inputs if type(given.data) is tuple]) > LONG


def rows_of(call: Call, task: Task) -> tuple[Item, ...]:
    """The items of a call; raises InvalidRequest for what the task cannot read, and for more tokens than allowed."""
    rows = task.rows(call)
    if call.most_tokens is not None and (count := sum(map(len, rows))) > call.most_tokens:
        raise InvalidRequest(
            f"input: up to {call.most_tokens:,} tokens are allowed in one request, got {count:,}; send it in parts"
        )
    return rows


class LongTexts:
    """Reads the items of long calls, one call after the other.

    State: the thread, started by the first of them, and its CPU time, which only the thread changes.
    """

    def __init__(self) -> None:
        self._thread: CallThread | None = None
        self._cpu_ns = 0

    def __repr__(self) -> str:
        return f"<LongTexts {'unused' if self._thread is None else f'{self._cpu_ns:,} ns'}>"

    async def rows(self, call: Call, task: Task, *, left_s: float) -> tuple[Item, ...]:
        """As `rows_of`; raises DeadlineExceeded after `left_s` [s]. A call that nobody waits for is not begun."""
        if self._thread is None:
            self._thread = CallThread("long-texts")
        asked = _Asked(call, task)
        try:
            async with asyncio.timeout(left_s):
                return await self._thread.submit(self._read, asked)
        except TimeoutError:
            raise DeadlineExceeded(
                "the deadline passed before all of the text was read; allow more time, or send shorter texts"
            ) from None
        finally:
            asked.left = True

    def host_cpu_ns(self) -> int:
        """CPU time [ns] of the calling thread and of the one that reads: called on the loop, that of the host.

        Reading is accounted as it was on the loop: as work of the host, shared by those whose lines are written next.
        """
        return time.thread_time_ns() + self._cpu_ns

    def close(self) -> None:
        """Wait until what was asked is read, and end the thread; blocks."""
        if self._thread is not None:
            self._thread.close()

    def _read(self, asked: "_Asked") -> tuple[Item, ...]:
        if asked.left:
            return ()
        start_ns = time.thread_time_ns()
        try:
            return rows_of(asked.call, asked.task)
        finally:
            self._cpu_ns += time.thread_time_ns() - start_ns


class _Asked:
    """A call to read. State: whether its client has left, set on the loop."""

    __slots__ = ("call", "left", "task")

    def __init__(self, call: Call, task: Task) -> None:
        self.call = call
        self.task = task
        self.left = False
