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


def fold(job: Job, *, timeout_s: float = FOLD_S) -> dict[str, Any]:
    """The result of a fold over the ledger, made by another process; blocks.

    Errors of the ledger are raised as they were there; DeadlineExceeded after `timeout_s` [s].
    """
    command = [sys.executable, "-P", "-m", "greenserve.carbon.ledger.offline"]
    try:
        done = subprocess.run(command, input=job.encoded(), capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(
            f"the fold over the ledger took more than {timeout_s:g} s; run the `greenserve` command on its machine"
        ) from None
    if done.returncode != 0:
        raise GreenServeError(f"the fold over the ledger ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    result: dict[str, Any] = orjson.loads(done.stdout)
    if "error" in result:
        raise LedgerUnavailable(str(result["error"]))
    return result
