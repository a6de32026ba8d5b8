"""The replica that holds the engines of one remote model, and runs the batches that gateways send it as frames.

State: the artefacts that are loaded, by variant and digest, the model that is prepared for a reload, since when the
running batch runs, and which variants fail; changed on the event loop that calls it, but for the engine's thread.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson

from greenserve.errors import GreenServeError
from greenserve.ports import Clock
from greenserve.serve.batching.execute import run_rows
from greenserve.serve.batching.watch import Watch
from greenserve.serve.frames import Done, Outcome, Work, decode_work, encode_done
from greenserve.serve.models import ServedModel, ServedVariant
from greenserve.serve.niceness import give_way
from greenserve.serve.reload import ABANDON, COMMIT, PREPARE, Report, failed, fine
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.variants")
HANG_S = 8.0
HANG_FACTOR = 20.0
"""A batch that takes longer than both will not end: the replica is replaced."""

Artefact = tuple[str, str]


class VariantReplica:
    """All variants of one model on one engine thread: they share a device, so one batch runs at a time.

    One replica holds all of a model's variants: they are chosen between per request, and a GPU pays for each process
    that opens it.
    """

    def __init__(
        self, *, load: Callable[[], ServedModel], node: str, fingerprint: str, clock: Clock, retire_s: float
    ) -> None:
        """`load` reads, loads and warms up the model as its manifest is now.

        `retire_s` [s] is how long batches for replaced artefacts may still come.
        """
        self._load = load
        self._node = node
        self._fingerprint = fingerprint
        self._clock = clock
        self._retire_s = retire_s
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine", initializer=give_way)
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._model = load()
        self._held: dict[Artefact, ServedVariant] = artefacts_of(self._model)
        self._prepared: ServedModel | None = None
        self._running: tuple[int, float] | None = None
        self._longest_s = 0.0
        self._watch = Watch()

    def __repr__(self) -> str:
        return f"<VariantReplica {self._model.name}: {len(self._held)} artefacts>"

    async def run(self, frame: bytes) -> bytes:
        """Run the batch in a frame; the answer's frame. Never raises for what a batch holds."""
        work = decode_work(frame)
        served = self._held.get((work.variant, work.digest))
        if served is None:
            return encode_done(Done(node=self._node, unknown=True))
        return await asyncio.get_running_loop().run_in_executor(self._engine, self._run, served, work)

    def describe(self) -> bytes:
        """What gateways must know before they route here: the artefacts, what was left out, whose profile holds."""
        return orjson.dumps(
            {
                "fingerprint": self._fingerprint,
                "held": [list(artefact) for artefact in self._held],
                "left_out": dict((self._prepared or self._model).left_out),
            }
        )

    async def reload(self, step: str) -> Report:
        """One step of a reload of this model."""
        steps = {PREPARE: self.prepare, COMMIT: self.commit, ABANDON: self.abandon}
        return await steps[step]()

    async def prepare(self) -> Report:
        """Load the manifest as it is now beside what runs, and hold both from here on."""
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(self._loader, self._load)
        except GreenServeError as error:
            return failed(f"a replica of the engines: {error}")
        except Exception as error:  # an engine may raise anything
            log.exception("the new manifest does not load")
            return failed(f"a replica of the engines: {type(error).__name__}: {error}")
        self._prepared = model
        self._held = artefacts_of(model) | self._held
        return fine(model.manifest.digest)

    async def commit(self) -> Report:
        """Gateways have swapped: the old artefacts go once no request that was routed to them can wait any more."""
        if self._prepared is not None:
            self._model, self._prepared = self._prepared, None
            for served in self._model.variants.values():
                self._watch.healed(served.key)
            asyncio.get_running_loop().call_later(self._retire_s, self._retire)
        return fine(self._model.manifest.digest)

    async def abandon(self) -> Report:
        """The reload failed elsewhere: forget what was prepared."""
        self._prepared = None
        self._retire()
        return fine(self._model.manifest.digest)

    def _retire(self) -> None:
        wanted = artefacts_of(self._model) | (artefacts_of(self._prepared) if self._prepared is not None else {})
        self._held = {artefact: self._held[artefact] for artefact in wanted}

    def check(self) -> None:
        """Raise RuntimeError where a batch hangs or a variant runs nothing any more: the replica is replaced."""
        if sick := self._watch.findings(self._clock.monotonic_ns()):
            raise RuntimeError("; ".join(sick))
        running = self._running
        if running is None:
            return
        age_s, limit_s = (self._clock.monotonic_ns() - running[0]) / NS_PER_S, running[1]
        if age_s > limit_s:
            raise RuntimeError(f"a batch of {self._model.name} has run for {age_s:.1f} s, over {limit_s:.1f} s")

    def close(self) -> None:
        """Let the batch under way end."""
        self._loader.shutdown(wait=False)
        self._engine.shutdown(wait=True)

    def _run(self, served: ServedVariant, work: Work) -> bytes:
        start_ns = self._clock.monotonic_ns()
        self._running = start_ns, max(HANG_S, HANG_FACTOR * self._longest_s)
        try:
            outcomes = tuple(run_rows(served, work.rows))
            self._judge(served, outcomes)
        finally:
            self._running = None
        self._longest_s = max(self._longest_s, (self._clock.monotonic_ns() - start_ns) / NS_PER_S)
        return encode_done(Done(node=self._node, outcomes=outcomes))

    def _judge(self, served: ServedVariant, outcomes: Sequence[Outcome]) -> None:
        """What callers send may be the cause of failures, so a variant in doubt runs what it ran when it was loaded."""
        if served is not self._model.variants.get(served.variant.name):
            return  # it was replaced, and what its key stands for now is another one
        rows, failed = sum([len(each.places) for each in outcomes]), _failed(outcomes)
        if self._watch.ran(served.key, rows=rows, failed=failed):
            self._watch.tried(served.key, well=not _failed(run_rows(served, [served.example])))


def _failed(outcomes: Sequence[Outcome]) -> int:
    return sum([len(each.places) if each.error is not None else len(each.bad) for each in outcomes])


def artefacts_of(model: ServedModel) -> dict[Artefact, ServedVariant]:
    """The loaded variants by name and digest."""
    return {(name, served.variant.digest): served for name, served in model.variants.items()}
