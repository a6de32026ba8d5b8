"""Late binding on a real loop and a real thread; whatever clients do, the task that everybody waits for goes on."""

import asyncio

import pytest

from greenserve.clock import ManualClock
from greenserve.errors import DeadlineExceeded, Draining, InferenceFailed, Overloaded
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.models import Models, ServedVariant
from tests.serve.building import Asked, HeldEngines, a_batcher, until
from tests.serve.conftest import POISON


def lengths(engines: HeldEngines) -> list[int]:
    """Rows of the batches so far."""
    return [len(batch.rows) for batch in engines.batches]


async def occupied(batcher: Batcher, engines: HeldEngines, served: ServedVariant) -> Asked:
    """A request that holds the engine until it is released."""
    engines.hold()
    first = Asked(served, [[1]])
    batcher.submit(first.flight)
    await until(lambda: len(engines.batches) == 1)
    return first


async def test_what_arrives_while_the_engine_runs_makes_one_batch(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """A batch is cut only when the engine can start it, in the order of deadlines, each row with its own answer."""
    await occupied(batcher, engines, served)
    waiting = [Asked(served, [[token]], deadline_ns=10**18 - token) for token in (1, 2, 3)]
    for each in waiting:
        batcher.submit(each.flight)

    engines.release(2)
    await asyncio.gather(*(each.future for each in waiting))

    assert [1, 3] == lengths(engines)
    assert [(3,), (2,), (1,)] == [row.token_ids for row in engines.batches[1].rows]
    assert [1, 2, 0] == [each.label for each in waiting]
    assert 1 == len({each.future.result().batch_id for each in waiting})
    assert [3, 3, 3] == [each.future.result().batch_rows for each in waiting]


async def test_the_shares_of_a_batch_sum_to_its_span(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """The engine's CPU time is divided among the rows without remainder."""
    everybody = [await occupied(batcher, engines, served), *(Asked(served, [[1] * length]) for length in (1, 2, 4))]
    for each in everybody[1:]:
        batcher.submit(each.flight)

    engines.release(2)
    runs = await asyncio.gather(*(each.future for each in everybody))

    assert batcher.spans_cpu_ns == sum(run.cpu_ns for run in runs) > 0
    spans = {(run.start_ns, run.end_ns) for run in runs}
    assert sum((end_ns - start_ns) // 2 for start_ns, end_ns in spans) == sum(run.held_ns for run in runs)


async def test_a_request_of_several_rows_may_span_batches(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """Nine rows at four per batch: three batches, one answer in the order asked."""
    asked = Asked(served, [[token] for token in range(9)])

    batcher.submit(asked.flight)
    run = await asked.future

    assert [4, 4, 1] == lengths(engines)
    assert [token % 3 for token in range(9)] == run.probabilities.argmax(axis=1).tolist()


async def test_the_next_request_is_answered_after_a_queued_client_left(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """The row of a client that leaves in the queue is never run."""
    await occupied(batcher, engines, served)
    leaves, stays = Asked(served, [[10]]), Asked(served, [[11]])
    batcher.submit(leaves.flight)
    batcher.submit(stays.flight)
    leaves.future.cancel()

    engines.release(9)
    await stays.future
    after = Asked(served, [[12]])
    batcher.submit(after.flight)
    await after.future

    assert [[(1,)], [(11,)], [(12,)]] == [[row.token_ids for row in batch.rows] for batch in engines.batches]
    assert batcher.alive


async def test_the_next_request_is_answered_after_a_running_client_left(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """What ran for a client that left is not lost: it is handed over with its cost."""
    leaves = await occupied(batcher, engines, served)
    leaves.future.cancel()
    stays = Asked(served, [[11]])
    batcher.submit(stays.flight)

    engines.release(9)
    await stays.future

    assert [leaves.flight.rows[0]] == [row.token_ids for row in engines.batches[0].rows]
    assert 1 == len(leaves.abandoned)
    assert leaves.abandoned[0].cpu_ns > 0
    assert batcher.alive


async def test_the_next_request_is_answered_after_everybody_left(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """A batch whose clients are all gone is no end, and a queue of nobody's rows is empty."""
    everybody = [await occupied(batcher, engines, served), *(Asked(served, [[number]]) for number in range(5))]
    for each in everybody[1:]:
        batcher.submit(each.flight)
    for each in everybody:
        each.future.cancel()
    engines.release(9)
    after = Asked(served, [[12]])
    batcher.submit(after.flight)

    run = await after.future

    assert 0 == run.probabilities[0].argmax()
    assert [1, 1] == lengths(engines)
    assert 0 == batcher.queued


async def test_a_poisoned_row_harms_nobody_else(batcher: Batcher, engines: HeldEngines, served: ServedVariant) -> None:
    """Of four rows in one batch the engine raises on one: three right answers, one error that names its text."""
    await occupied(batcher, engines, served)
    tokens = (4, POISON, 5, 6)
    waiting = [Asked(served, [[token]]) for token in tokens]
    for each in waiting:
        batcher.submit(each.flight)

    engines.release(20)
    results = await asyncio.gather(*(each.future for each in waiting), return_exceptions=True)

    poisoned = results.pop(1)
    assert isinstance(poisoned, InferenceFailed)
    assert "text[0]" in str(poisoned)
    assert [4 % 3, 5 % 3, 6 % 3] == [each.label for each in waiting if each is not waiting[1]]


async def test_a_row_whose_deadline_passed_in_the_queue_is_never_run(models: Models, engines: HeldEngines) -> None:
    """It gets `deadline-exceeded` when the engine is free, and costs no engine time; one without hurry is answered."""
    clock, served = ManualClock(), models.find("tiny").variants["fp32"]
    batcher = a_batcher(models, clock)
    batcher.start()
    first = await occupied(batcher, engines, served)
    late = Asked(served, [[7]], deadline_ns=clock.monotonic_ns() + 5)
    patient = Asked(served, [[8]])
    batcher.submit(late.flight)
    batcher.submit(patient.flight)
    clock.advance(duration_ns=5)

    engines.release(9)
    await asyncio.gather(first.future, patient.future)

    with pytest.raises(DeadlineExceeded, match="nothing was run"):
        await late.future
    assert [(1,), (8,)] == [row.token_ids for batch in engines.batches for row in batch.rows]
    await batcher.close()


async def test_a_more_patient_client_extends_a_row_that_expired(models: Models, engines: HeldEngines) -> None:
    """Somebody joined with more time after the row was queued: it runs, for both."""
    clock, served = ManualClock(), models.find("tiny").variants["fp32"]
    batcher = a_batcher(models, clock)
    batcher.start()
    await occupied(batcher, engines, served)
    hasty, patient = Asked(served, [[7]], deadline_ns=clock.monotonic_ns() + 5), Asked(served, [[7]])
    batcher.submit(hasty.flight)
    hasty.flight.join(patient.flight.waiters[0], deadline_ns=clock.monotonic_ns() + 1_000)
    clock.advance(duration_ns=6)

    engines.release(9)

    assert 1 == (await patient.future).probabilities[0].argmax()
    await batcher.close()


async def test_a_full_queue_refuses_whole_requests(models: Models, engines: HeldEngines) -> None:
    """A request that does not fit leaves no row behind; it says how full it is and when to come again."""
    served = models.find("tiny").variants["fp32"]
    batcher = a_batcher(models, ManualClock(), max_queued=3)
    batcher.start()
    await occupied(batcher, engines, served)
    batcher.submit(Asked(served, [[1], [2]]).flight)

    with pytest.raises(Overloaded, match="2 of 3 places are taken and 2 are needed") as refused:
        batcher.submit(Asked(served, [[3], [4]]).flight)

    assert (1, 2) == (refused.value.retry_after_s, batcher.queued)
    engines.release(9)
    await batcher.close()


async def test_closing_finishes_what_waits_and_refuses_what_comes(models: Models, engines: HeldEngines) -> None:
    """Draining: every admitted request is answered before the task ends."""
    served = models.find("tiny").variants["fp32"]
    batcher = a_batcher(models, ManualClock())
    batcher.start()
    waiting = [await occupied(batcher, engines, served), *(Asked(served, [[number]]) for number in range(9))]
    for each in waiting[1:]:
        batcher.submit(each.flight)

    closing = asyncio.ensure_future(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        batcher.submit(Asked(served, [[3]]).flight)
    engines.release(99)
    await closing

    assert [True] * 10 == [each.future.done() and not each.future.cancelled() for each in waiting]
    assert (False, 0) == (batcher.alive, batcher.queued)
