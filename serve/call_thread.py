"""One thread that makes blocking calls in their order, and tells the event loop what came of them.

As `loop.run_in_executor` with one worker, without its two futures per call: a tenth of a gateway's time.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")
Call = tuple[Callable[[Any], Any], Any, "asyncio.Future[Any]"]


class CallThread:
    """State: the calls that wait. `submit` and `close` are called on one event loop.

    `begin` is called first of all on the thread.
    """

    def __init__(self, name: str, *, begin: Callable[[], None] | None = None) -> None:
        self._begin = begin
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[Given], Result], given: Given) -> "asyncio.Future[Result]":
        """Call `function(given)` on the thread; the future holds what it returns or raises."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.put((function, given, future))
        return future

    def close(self) -> None:
        """Wait until the calls so far are done and the thread has ended; blocks."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        if self._begin is not None:
            self._begin()
        while (call := self._calls.get()) is not None:
            function, given, future = call
            try:
                result = function(given)
            except BaseException as error:  # whoever waits for the future gets it
                _tell(future, _fail, error)
            else:
                _tell(future, _succeed, result)


def _tell(future: "asyncio.Future[Any]", how: Callable[["asyncio.Future[Any]", Any], None], what: object) -> None:
    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(how, future, what)


def _succeed(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
