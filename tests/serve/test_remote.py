"""Batches formed here and run by replicas elsewhere, which come, go, hang and forget."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from greenserve.clock import SystemClock
from greenserve.errors import DeadlineExceeded, DependencyMissing, NotReady
from greenserve.manifest import load_manifest
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.settings import Options
from greenserve.serve.models import ServedModel, ServedVariant, load_model
from greenserve.serve.placing import ModelLoader
from greenserve.serve.remote import Described, NoRoom, RemoteExecutor, ReplicaGone, credits
from greenserve.serve.variant_replica import VariantReplica
from tests.serve.building import Asked, HeldEngines, a_config, until

NODE = "this machine"
Run = Callable[[bytes], Awaitable[bytes]]


class Replicas:
    """Replicas of the tiny model's engines within this process; `faults` are raised first, one per call."""

    def __init__(
        self,
        manifest: Path,
        folder: Path,
        *,
        node: str = NODE,
        fail_on: int | None = None,
        clock: SystemClock | None = None,
    ) -> None:
        self.engines = HeldEngines(fail_on=fail_on)
        self.faults: list[Exception] = []
        self.calls = 0
        settings = a_config(manifest, folder).models[0]
        self.replica = VariantReplica(
            load=lambda: load_model(settings, self.engines, "here", max_items=8),
            node=node,
            fingerprint="here",
            clock=clock or SystemClock(),
            retire_s=0.0,
        )

    async def run(self, frame: bytes) -> bytes:
        """As a handle."""
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        return await self.replica.run(frame)

    def describe(self) -> bytes:
        """As a handle."""
        return self.replica.describe()


@pytest.fixture
def replicas(tiny_manifest: Path, tmp_path: Path) -> Replicas:
    """One replica, on this machine."""
    return Replicas(tiny_manifest, tmp_path)


def the_model(replicas: Replicas, manifest: Path, folder: Path) -> ServedModel:
    """The model as a gateway holds it: everything but the engines."""
    loader = ModelLoader(
        a_config(manifest, folder), engine_for=HeldEngines(), fingerprint="there", reaches={"tiny": replicas}
    )
    return loader.load("tiny")


@pytest.fixture
def served(replicas: Replicas, tiny_manifest: Path, tmp_path: Path) -> ServedVariant:
    """A variant whose engine is elsewhere."""
    return the_model(replicas, tiny_manifest, tmp_path).variants["fp32"]


@pytest.fixture
async def batcher(replicas: Replicas) -> AsyncIterator[Batcher]:
    """A batcher that sends to the replicas."""
    batcher = a_remote_batcher(replicas.run)
    batcher.start()
    yield batcher
    await batcher.close()


def a_remote_batcher(run: Run, *, slots: int = 2, retry_s: float = 30.0) -> Batcher:
    """Two batches may be out."""
    clock = SystemClock()
    executor = RemoteExecutor(run, slots=slots, node=NODE, clock=clock)
    return Batcher(
        clock=clock,
        buckets=(4, 8),
        max_batch={"tiny/fp32": 4},
        max_queued=64,
        share_milli=500,
        options=Options(executor=executor, retry_s=retry_s),
    )


async def test_an_item_runs_elsewhere_and_its_span_is_that_of_the_engine(
    batcher: Batcher, replicas: Replicas, served: ServedVariant
) -> None:
    """Outputs, span and CPU time come from the replica, on this machine's own clock."""
    asked = Asked(served, (3, 0))
    before_ns = SystemClock().monotonic_ns()

    batcher.submit([asked.flight])
    await asked.future

    assert asked.label in range(3)
    span = asked.landed.span
    assert span is not None
    assert before_ns <= span.start_ns < span.end_ns <= SystemClock().monotonic_ns()
    assert 1 == len(replicas.engines.batches)


async def test_a_span_on_another_machine_keeps_its_length_alone(tiny_manifest: Path, tmp_path: Path) -> None:
    """Monotonic clocks of two machines have nothing in common."""
    far = Replicas(tiny_manifest, tmp_path, node="another machine")
    served = the_model(far, tiny_manifest, tmp_path).variants["fp32"]
    answered: list[bytes] = []

    async def run(frame: bytes) -> bytes:
        answered.append(await far.run(frame))
        return answered[-1]

    asked = Asked(served, (3, 0))
    (ran,) = await RemoteExecutor(run, slots=1, node=NODE, clock=FixedClock()).start([asked.flight])

    assert ran.span is not None
    assert FixedClock.NOW_NS == ran.span.end_ns
    assert 0 < ran.span.end_ns - ran.span.start_ns < 10**9


class FixedClock(SystemClock):
    """Stands still, but for what it is put ahead."""

    NOW_NS = 77 * 10**9
    ahead_ns = 0

    def monotonic_ns(self) -> int:
        """Nanoseconds."""
        return self.NOW_NS + self.ahead_ns


async def test_a_batch_whose_replica_dies_runs_once_more(
    batcher: Batcher, replicas: Replicas, served: ServedVariant
) -> None:
    """Inference has no effects: the client notices nothing."""
    replicas.faults = [ReplicaGone("it died")]
    asked = Asked(served, (3, 0))

    batcher.submit([asked.flight])
    await asked.future

    assert (2, 1) == (replicas.calls, len(replicas.engines.batches))


async def test_a_batch_that_loses_two_replicas_is_refused_and_others_go_on(
    batcher: Batcher, replicas: Replicas, served: ServedVariant
) -> None:
    """503 with the time to come again; the variant is not blamed, and the batching task lives."""
    replicas.faults = [ReplicaGone("it died"), ReplicaGone("that one too")]
    lost, next_one = Asked(served, (3, 0)), Asked(served, (4, 0))

    batcher.submit([lost.flight])
    with pytest.raises(NotReady, match="2 replicas of tiny/fp32 went away") as refused:
        await lost.future
    batcher.submit([next_one.flight])
    await next_one.future

    assert 1 == refused.value.retry_after_s
    assert {} == batcher.unhealthy


async def test_replicas_that_are_all_busy_refuse(batcher: Batcher, replicas: Replicas, served: ServedVariant) -> None:
    """What carries the call says so; nothing waits for ever."""
    replicas.faults = [NoRoom("4 batches wait already")]
    asked = Asked(served, (3, 0))

    batcher.submit([asked.flight])

    with pytest.raises(NotReady, match="4 batches wait already"):
        await asked.future


async def test_a_replica_that_does_not_answer_costs_no_more_than_the_deadline(served: ServedVariant) -> None:
    """The request fails with its deadline, not with the replica's end."""

    async def never(frame: bytes) -> bytes:
        await asyncio.Event().wait()
        return frame

    batcher = a_remote_batcher(never)
    batcher.start()
    asked = Asked(served, (3, 0), deadline_ns=SystemClock().monotonic_ns() + 10**9)

    batcher.submit([asked.flight])

    with pytest.raises(DeadlineExceeded, match="no replica of tiny/fp32 answered"):
        await asked.future
    await batcher.close()


async def test_a_poisoned_item_fails_alone_in_one_call(tiny_manifest: Path, tmp_path: Path) -> None:
    """The replica itself looks for the culprit: the gateway asks once."""
    replicas = Replicas(tiny_manifest, tmp_path, fail_on=9)
    served = the_model(replicas, tiny_manifest, tmp_path).variants["fp32"]
    items = [Asked(served, (3, 0)), Asked(served, (9, 0)), Asked(served, (4, 0))]
    executor = RemoteExecutor(replicas.run, slots=1, node=NODE, clock=SystemClock())

    ran = await executor.start([each.flight for each in items])

    failed = [each.flights[0] for each in ran if each.error is not None]
    assert [items[1].flight] == failed
    assert {id(each.flight) for each in items} == {id(flight) for each in ran for flight in each.flights}
    assert 1 == replicas.calls


async def test_credits_bound_what_is_out_and_one_that_returns_cuts_the_next(
    batcher: Batcher, replicas: Replicas, served: ServedVariant
) -> None:
    """Two batches are out, the third item waits and is not cut before one is back."""
    replicas.engines.hold()
    items = [Asked(served, (number, 0)) for number in (3, 4, 5)]

    for each in items[:2]:
        batcher.submit([each.flight])
        await until(lambda: batcher.queued == 0)
    batcher.submit([items[2].flight])
    await until(lambda: len(replicas.engines.batches) == 1)

    assert (2, 1) == (replicas.calls, batcher.queued)
    replicas.engines.release(3)
    await asyncio.gather(*(each.future for each in items))
    assert 3 == replicas.calls


async def test_a_replica_whose_batch_hangs_says_so(tiny_manifest: Path, tmp_path: Path) -> None:
    """Ray Serve asks every second, and replaces it; a batch that just runs is no reason."""
    clock = FixedClock()
    replicas = Replicas(tiny_manifest, tmp_path, clock=clock)
    served = the_model(replicas, tiny_manifest, tmp_path).variants["fp32"]
    replicas.engines.hold()
    running = RemoteExecutor(replicas.run, slots=1, node=NODE, clock=clock).start([Asked(served, (3, 0)).flight])
    await until(lambda: bool(replicas.engines.batches))

    replicas.replica.check()
    clock.ahead_ns = 9 * 10**9

    with pytest.raises(RuntimeError, match=r"has run for 9\.0 s"):
        replicas.replica.check()
    replicas.engines.release()
    await running
    replicas.replica.check()


async def test_a_replica_whose_engine_runs_nothing_any_more_says_so(replicas: Replicas, served: ServedVariant) -> None:
    """After three batches it tries what it ran when it was loaded; it is replaced, unless it was loaded again."""
    executor = RemoteExecutor(replicas.run, slots=1, node=NODE, clock=SystemClock())
    replicas.engines.by_variant["fp32"].broken = True
    for _ in range(2):
        await executor.start([Asked(served, (3, 0)).flight])
    replicas.replica.check()

    await executor.start([Asked(served, (3, 0)).flight])

    with pytest.raises(
        RuntimeError, match="variant tiny/fp32 is unhealthy: 3 batches in a row failed, and so did a trial"
    ):
        replicas.replica.check()
    await replicas.replica.reload("prepare")
    await replicas.replica.reload("commit")
    replicas.replica.check()


async def test_what_callers_send_ends_no_replica_of_engines(tiny_manifest: Path, tmp_path: Path) -> None:
    """Bad items in any number: neither is the replica replaced, nor does the gateway route elsewhere."""
    replicas = Replicas(tiny_manifest, tmp_path, fail_on=9)
    served = the_model(replicas, tiny_manifest, tmp_path).variants["fp32"]
    batcher = a_remote_batcher(replicas.run)
    batcher.start()

    for number in range(20):
        asked = Asked(served, (9, number))
        batcher.submit([asked.flight])
        await asyncio.wait([asked.future])
    await until(lambda: any(batch.rows == (served.example,) for batch in replicas.engines.batches))

    replicas.replica.check()
    assert {} == batcher.unhealthy
    await batcher.close()


async def test_a_remote_variant_is_routed_to_again_once_its_replica_was_replaced(
    replicas: Replicas, served: ServedVariant
) -> None:
    """A trial finds out, by the way that batches take."""
    batcher = a_remote_batcher(replicas.run, retry_s=0.002)
    batcher.start()
    engine = replicas.engines.by_variant["fp32"]
    engine.broken = True
    for number in range(3):
        asked = Asked(served, (3, number))
        batcher.submit([asked.flight])
        await asyncio.wait([asked.future])
    await until(lambda: bool(batcher.unhealthy))

    engine.broken = False
    await until(lambda: not batcher.unhealthy)

    assert [] == batcher.findings()
    await batcher.close()


@pytest.mark.parametrize(
    ("there", "gateways", "expected"), [(1, 1, 2), (1, 2, 1), (3, 2, 3), (1, 8, 1), (4, 1, 8), (2, 3, 2)]
)
def test_all_gateways_together_keep_every_replica_busy(there: int, gateways: int, expected: int) -> None:
    """Two batches per replica, shared; every gateway may send at least one."""
    assert expected == credits(replicas=there, gateways=gateways)


def test_a_variant_that_its_replicas_left_out_is_left_out_here_with_their_reason(tiny_manifest: Path) -> None:
    """Gateways route only to what some engine holds."""
    manifest = load_manifest(tiny_manifest)
    described = Described(b'{"fingerprint": "f", "held": [], "left_out": {"fp32": "no GPU was found"}}')

    with pytest.raises(DependencyMissing, match="no GPU was found"):
        described.engine_for(manifest, manifest.variants[0]).load()


async def test_an_artefact_that_a_replica_does_not_hold_is_not_run_as_another(
    replicas: Replicas, served: ServedVariant, tiny_manifest: Path, tmp_path: Path
) -> None:
    """The digest decides: the answer says that it is not known."""
    asked = Asked(served, (3, 0))
    executor = RemoteExecutor(replicas.run, slots=1, node=NODE, clock=SystemClock())
    await replicas.replica.reload("commit")

    (known,) = await executor.start([asked.flight])
    replicas.replica = VariantReplica(
        load=lambda: without_variant(replicas, tiny_manifest, tmp_path, "fp32"),
        node=NODE,
        fingerprint="here",
        clock=SystemClock(),
        retire_s=0.0,
    )
    (unknown,) = await executor.start([asked.flight])

    assert known.span is not None
    assert isinstance(unknown.refused, NotReady)


def without_variant(replicas: Replicas, manifest: Path, folder: Path, name: str) -> ServedModel:
    """The model, but one variant needs something that is missing here."""

    def engines(manifest_: object, variant: object) -> object:
        if getattr(variant, "name", None) == name:
            raise DependencyMissing("not here")
        return replicas.engines(manifest_, variant)  # type: ignore[arg-type]

    return load_model(a_config(manifest, folder).models[0], engines, "here", max_items=8)  # type: ignore[arg-type]
