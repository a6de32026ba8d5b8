"""The gateway's side of `placement: remote`: batches are formed here and run by replicas that hold the engines.

One call per batch, awaited on the loop that forms the batches; what carries the call is given (app.py: a Ray handle).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from types import MappingProxyType
from typing import Any

import orjson

from greenserve.errors import DeadlineExceeded, DependencyMissing, GreenServeError, NotReady
from greenserve.manifest import Manifest, Variant
from greenserve.ports import Arrays, Clock, Engine
from greenserve.records import Batch, Span
from greenserve.serve.batching.execute import Ran, alike, ran_of
from greenserve.serve.batching.flight import Flight
from greenserve.serve.frames import Done, Work, decode_done, encode_work
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.remote")
BATCHES_PER_REPLICA = 2
"""One runs, one is staged behind it."""
ATTEMPTS = 2
"""Inference has no effects, so a batch whose replica died runs once more, on another."""
LEAST_WAIT_S = 1.0
DESCRIBE_S = 120.0

Call = Callable[[bytes], Awaitable[bytes]]


class ReplicaGone(Exception):
    """The replica died or could not be reached before its answer; another one may run the batch."""


class NoRoom(Exception):
    """No replica took the batch: all are busy or none is there."""


def credits(*, replicas: int, gateways: int) -> int:
    """How many batches one gateway may have out at once, so that all of them keep every replica busy and no more."""
    return max(1, ceil(BATCHES_PER_REPLICA * replicas / gateways))


class RemoteExecutor:
    """Sends batches of one model to its replicas. State: `slots`, set when replicas come and go, on the loop."""

    def __init__(self, call: Call, *, slots: int, node: str, clock: Clock) -> None:
        """`node` names this machine's monotonic clock."""
        self._call = call
        self._node = node
        self._clock = clock
        self.slots = slots
        self.lost = 0

    def __repr__(self) -> str:
        return f"<RemoteExecutor {self.slots} slots, {self.lost} lost>"

    def start(self, flights: Sequence[Flight]) -> "asyncio.Future[list[Ran]]":
        """Send the batch; the future never holds an exception."""
        return asyncio.ensure_future(self._run(flights))

    def close(self) -> None:
        """Nothing to end here."""

    async def _run(self, flights: Sequence[Flight]) -> list[Ran]:
        return [ran for group in alike(flights) for ran in await self._run_alike(group)]

    async def _run_alike(self, flights: list[Flight]) -> list[Ran]:
        try:
            done = await self._answer(flights)
            return [self._placed(ran_of(flights, outcome), done) for outcome in done.outcomes]
        except GreenServeError as error:
            return [Ran(flights=flights, outputs=None, span=None, refused=error)]
        except Exception as error:  # whoever carries the call may raise anything; the batching task must live
            log.exception("a remote batch failed")
            return [Ran(flights=flights, outputs=None, span=None, error=type(error).__name__)]

    async def _answer(self, flights: Sequence[Flight]) -> Done:
        served = flights[0].served
        work = Work(
            variant=served.variant.name,
            digest=served.variant.digest,
            rows=tuple([flight.item for flight in flights]),
        )
        frame = encode_work(work)
        for _ in range(ATTEMPTS):
            left_s = (max([flight.deadline_ns for flight in flights]) - self._clock.monotonic_ns()) / NS_PER_S
            try:
                async with asyncio.timeout(max(LEAST_WAIT_S, left_s)):
                    done = decode_done(await self._call(frame))
            except ReplicaGone as error:
                self.lost += 1
                log.warning("a replica of %s went away with a batch: %s", served.key, error)
                continue
            except NoRoom as error:
                raise NotReady(f"no replica of {served.key} takes a batch now: {error}", retry_after_s=1) from None
            except TimeoutError:
                raise DeadlineExceeded(f"no replica of {served.key} answered before the deadline") from None
            if not done.unknown:
                return done
            log.warning("a replica of %s does not hold %.12s", served.key, served.variant.digest)
        raise NotReady(
            f"{ATTEMPTS} replicas of {served.key} went away before they answered; send the request again",
            retry_after_s=1,
        )

    def _placed(self, ran: Ran, done: Done) -> Ran:
        """Another machine's clock means nothing here: such a span ends now and keeps its length."""
        if ran.span is None or done.node == self._node:
            return ran
        end_ns = self._clock.monotonic_ns()
        span = replace(ran.span, start_ns=end_ns - (ran.span.end_ns - ran.span.start_ns), end_ns=end_ns)
        return replace(ran, span=span)


class RemoteEngine:
    """Stands for a variant whose engine is elsewhere: loads where a replica holds that artefact, never runs here."""

    def __init__(self, manifest: Manifest, variant: Variant, described: "Described") -> None:
        self._manifest = manifest
        self._variant = variant
        self._described = described

    def load(self) -> None:
        """Raises DependencyMissing with the replica's reason where it does not hold this artefact."""
        variant = self._variant
        if (variant.name, variant.digest) not in self._described.held:
            reason = self._described.left_out.get(variant.name, "its replicas hold another artefact of that name")
            raise DependencyMissing(reason)

    def run(self, batch: Batch) -> tuple[Arrays, Span]:
        """Not here."""
        raise DependencyMissing(f"{self._variant.name} runs on its own replicas, not in the gateway")

    def describe(self) -> Mapping[str, object]:
        """Kind."""
        return MappingProxyType({"kind": "remote", "model": self._manifest.name})


class Described:
    """What a replica of a model's engines says of itself: its artefacts, what it left out, its host's fingerprint."""

    def __init__(self, document: bytes) -> None:
        said: dict[str, Any] = orjson.loads(document)
        self.fingerprint = str(said["fingerprint"])
        self.held = frozenset((name, digest) for name, digest in said["held"])
        self.left_out: dict[str, str] = said["left_out"]

    def __repr__(self) -> str:
        return f"<Described {len(self.held)} artefacts>"

    def engine_for(self, manifest: Manifest, variant: Variant) -> Engine:
        """The stand-in of that variant."""
        return RemoteEngine(manifest, variant, self)
