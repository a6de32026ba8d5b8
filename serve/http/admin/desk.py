"""A few threads for what would hold the listeners' loop, and a process of its own for what would hold even those.

State: how many calls are under way; changed under the lock.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

from greenserve.carbon.ledger.offline import Job
from greenserve.errors import DeadlineExceeded, GreenServeError, LedgerUnavailable, Overloaded

FOLD_S = 600.0
COMMAND = (sys.executable, "-P", "-m", "greenserve.carbon.ledger.offline")
T = TypeVar("T")


class Desk:
    """Runs blocking calls in up to `threads` threads; a call beyond `most_waiting` is refused."""

    def __init__(self, name: str, *, threads: int = 2, most_waiting: int = 32) -> None:
        self._name, self._most_waiting = name, most_waiting
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._held = 0

    def __repr__(self) -> str:
        return f"<Desk {self._name}: {self._held} of {self._most_waiting} calls>"

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, called in a thread. A call whose client left is still finished, or never begun."""
        with self._lock:
            if self._held >= self._most_waiting:
                raise Overloaded(
                    f"{self._held} calls of {self._name} wait already, as many as may; send fewer at once",
                    retry_after_s=1,
                )
            self._held += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the threads go; calls that have not begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _future: object) -> None:
        with self._lock:
            self._held -= 1


class Folds:
    """Folds over the ledger, each made by another process; a call blocks.

    State: the processes that work now; changed under the lock.
    """

    def __init__(self, *, timeout_s: float = FOLD_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._working: set[subprocess.Popen[bytes]] = set()

    def __repr__(self) -> str:
        return f"<Folds: {len(self._working)} at work>"

    def __call__(self, job: Job) -> dict[str, Any]:
        """The result; errors of the ledger are raised as they were there, DeadlineExceeded after the timeout."""
        pipe = subprocess.PIPE
        with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            with self._lock:
                self._working.add(process)
            try:
                out, complaints = process.communicate(job.encoded(), timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise DeadlineExceeded(
                    f"the fold over the ledger took more than {self._timeout_s:g} s; run the `greenserve` command on "
                    "its machine"
                ) from None
            finally:
                with self._lock:
                    self._working.discard(process)
        if process.returncode != 0:
            raise GreenServeError(f"the fold over the ledger ended with {process.returncode}: {_tail(complaints)}")
        result: dict[str, Any] = orjson.loads(out)
        if "error" in result:
            raise LedgerUnavailable(str(result["error"]))
        return result

    def close(self) -> None:
        """End what still works: nobody waits for it any more."""
        with self._lock:
            for process in self._working:
                process.kill()


def _tail(text: bytes) -> str:
    return text.decode("utf-8", "replace")[-500:]
