"""Whether a variant fails, or the items that it was given: it runs an item again that ran when it was loaded.

State: the trials that are out or due, by model/variant; changed on the event loop alone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from greenserve.ports import Clock
from greenserve.serve.batching.execute import Executor, Ran
from greenserve.serve.batching.flight import Flight
from greenserve.serve.batching.landing import failures, rows_of
from greenserve.serve.batching.watch import Watch
from greenserve.units import NS_PER_S

TRIAL_NS = 10 * NS_PER_S
"""How long a remote variant may take to answer one."""


class Trials:
    """Tries variants that are in doubt on their executor, and tells the watch what came of it.

    Nobody waits for a trial: it takes no slot and no place in a queue, and its energy is nobody's.
    """

    def __init__(self, watch: Watch, executor: Executor, *, clock: Clock, retry_s: float) -> None:
        """An unhealthy variant is tried again every `retry_s` [s], for its replica may have been replaced."""
        self._watch = watch
        self._executor = executor
        self._clock = clock
        self._retry_s = retry_s
        self._digests: dict[str, str | None] = {}
        self._out: dict[str, Flight] = {}
        self._due: dict[str, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Trials out {sorted(self._out)}, due {sorted(self._due)}>"

    def ran(self, key: str, ran: Sequence[Ran]) -> None:
        """A launch is back: one batch, in however many runs. Tries its variant where it is in doubt from now on."""
        rows, failed = rows_of(ran)
        if not rows:
            return
        of = next(each for each in ran if each.refused is None).flights[0]
        digest = of.served.variant.digest
        if self._digests.get(key, digest) != digest:
            return  # it was launched before a reload, and says nothing of what is served now
        if self._watch.ran(key, rows=rows, failed=failed):
            self._begin(key, of)

    def healed(self, key: str, digest: str | None) -> None:
        """The variant was loaded again, as that artefact: trials and batches of another one say nothing of it."""
        self._digests[key] = digest
        self._forget(key)
        self._watch.healed(key)

    def close(self) -> None:
        """Try nothing any more."""
        for key in {*self._out, *self._due}:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._out.pop(key, None)
        if (timer := self._due.pop(key, None)) is not None:
            timer.cancel()

    def _begin(self, key: str, of: Flight) -> None:
        """Try the variant of a flight, with its example in the flight's place."""
        self._forget(key)
        now_ns = self._clock.monotonic_ns()
        flight = replace(
            of,
            item=of.served.example,
            arrived_ns=now_ns,
            deadline_ns=now_ns + TRIAL_NS,
            waiters=[],
            on_landed=None,
        )
        self._out[key] = flight
        self._executor.start([flight]).add_done_callback(partial(self._back, key, flight))

    def _back(self, key: str, flight: Flight, future: "asyncio.Future[list[Ran]]") -> None:
        if future.cancelled() or self._out.get(key) is not flight:
            return
        del self._out[key]
        self._watch.tried(key, well=verdict(future.result()))
        if key in self._watch.sick:
            loop = asyncio.get_running_loop()
            self._due[key] = loop.call_later(self._retry_s, self._begin, key, flight)


def verdict(ran: Sequence[Ran]) -> bool | None:
    """Whether a trial went well; None where no engine ran it."""
    if not ran or any(each.refused is not None for each in ran):
        return None
    return not any(failures(each) for each in ran)
