"""Late binding on a real loop and a real thread; whatever clients do, the task that everybody waits for goes on."""

import asyncio
from dataclasses import replace

import pytest

from greenserve.carbon.meters.cpu_time import host_power
from greenserve.clock import ManualClock, SystemClock
from greenserve.errors import DeadlineExceeded, Draining, Overloaded
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.flight import Landed
from greenserve.serve.batching.lane import LaneSettings
from greenserve.serve.batching.settings import Options, lanes_of
from greenserve.serve.engines.echo import EchoEngine
from greenserve.serve.models import Models, ServedVariant
from greenserve.units import NS_PER_S
from tests.serve.building import FAR_NS, Asked, HeldEngines, a_batcher, until
from tests.serve.held import BUCKETS, Elsewhere, lengths, occupied, submitted, tuned, with_costs


async def test_what_arrives_while_the_engine_runs_makes_one_batch(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """A batch is cut only when the engine can start it, in the order of deadlines, each item with its own answer."""
    await occupied(batcher, engines, served)
    waiting = submitted(batcher, *(Asked(served, (token,), deadline_ns=FAR_NS - token) for token in (1, 2, 3)))

    engines.release(2)
    await asyncio.gather(*(each.future for each in waiting))

    assert [1, 3] == lengths(engines)
    assert ((3,), (2,), (1,)) == engines.batches[1].rows
    assert [1, 2, 0] == [each.label for each in waiting]
    assert 1 == len({id(each.landed.span) for each in waiting})


async def test_the_shares_of_a_batch_sum_to_its_span(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """The engine's CPU time is divided among the items without remainder."""
    everybody = [await occupied(batcher, engines, served)]
    everybody += submitted(batcher, *(Asked(served, (1,) * length) for length in (1, 2, 4)))

    engines.release(4)
    await asyncio.gather(*(each.future for each in everybody))

    spans = {span.batch_id: span for each in everybody if (span := each.landed.span) is not None}
    assert batcher.spans_cpu_ns == sum(each.landed.cpu_ns for each in everybody) > 0
    assert sum((span.end_ns - span.start_ns) // 2 for span in spans.values()) == sum(
        each.landed.held_ns for each in everybody
    )


async def test_the_item_of_a_client_that_leaves_the_queue_is_forgotten_at_once(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """Before the engine is free: its place is free again, and it is never run."""
    await occupied(batcher, engines, served)
    leaves, stays = submitted(batcher, Asked(served, (10,)), Asked(served, (11,)))

    leaves.future.cancel()
    await until(lambda: batcher.queued == 1)
    engines.release(9)
    await stays.future
    (after,) = submitted(batcher, Asked(served, (12,)))
    await after.future

    assert [((1,),), ((11,),), ((12,),)] == [batch.rows for batch in engines.batches]
    assert leaves.flight.over
    assert batcher.alive


async def test_an_item_that_somebody_else_joined_stays_when_the_first_client_leaves(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """The other one still waits for it."""
    await occupied(batcher, engines, served)
    leaves, joins = Asked(served, (10,)), Asked(served, (10,))
    submitted(batcher, leaves)
    leaves.flight.join(joins.waiter, 0, deadline_ns=FAR_NS)

    leaves.future.cancel()
    engines.release(9)
    await joins.future

    assert [1, 1] == lengths(engines)


async def test_an_item_that_everybody_left_in_turn_is_never_run(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """Also where the last to leave had joined it in the queue."""
    first = await occupied(batcher, engines, served)
    leaves, joins = Asked(served, (10,)), Asked(served, (10,))
    submitted(batcher, leaves)
    leaves.flight.join(joins.waiter, 0, deadline_ns=FAR_NS)

    leaves.future.cancel()
    await until(lambda: not leaves.waiter.waits)
    joins.future.cancel()
    engines.release(9)
    await first.future
    await until(lambda: leaves.flight.over)

    assert ([1], 0) == (lengths(engines), batcher.queued)


async def test_what_ran_for_a_client_that_left_is_handed_over_with_its_cost(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """It is owed all the same."""
    leaves = await occupied(batcher, engines, served)
    leaves.future.cancel()
    (stays,) = submitted(batcher, Asked(served, (11,)))

    engines.release(9)
    await stays.future

    assert [leaves.waiter] == leaves.unanswered
    assert leaves.landed.cpu_ns > 0


async def test_the_next_request_is_answered_after_everybody_left(
    batcher: Batcher, engines: HeldEngines, served: ServedVariant
) -> None:
    """A batch whose clients are all gone is no end, and a queue of nobody's items is empty."""
    everybody = [await occupied(batcher, engines, served)]
    everybody += submitted(batcher, *(Asked(served, (number,)) for number in range(5)))
    for each in everybody:
        each.future.cancel()
    engines.release(9)

    (after,) = submitted(batcher, Asked(served, (12,)))
    await after.future

    assert (0, [1, 1], 0) == (after.label, lengths(engines), batcher.queued)


async def test_an_item_whose_deadline_passed_in_the_queue_is_never_run(models: Models, engines: HeldEngines) -> None:
    """It gets `deadline-exceeded` when the engine is free, and costs no engine time; one without hurry is answered."""
    clock, served = ManualClock(), with_costs(models.find("tiny").variants["fp32"], fixed_s=0.001)
    batcher = tuned(served, clock)
    batcher.start()
    first = await occupied(batcher, engines, served)
    late = Asked(served, (7,), deadline_ns=clock.monotonic_ns() + NS_PER_S)
    (_, patient) = submitted(batcher, late, Asked(served, (8,)))
    clock.advance(duration_ns=NS_PER_S)

    engines.release(9)
    await asyncio.gather(first.future, patient.future)

    with pytest.raises(DeadlineExceeded, match="nothing was run"):
        await late.future
    assert [(1,), (8,)] == [row for batch in engines.batches for row in batch.rows]
    await batcher.close()


async def test_a_deadline_shorter_than_a_run_is_refused_on_arrival(served: ServedVariant) -> None:
    """Nothing is queued or run for it, and the message says how long a run may take."""
    clock, slow = ManualClock(), with_costs(served, fixed_s=1.0)
    batcher = tuned(slow, clock)

    with pytest.raises(DeadlineExceeded, match=r"less than the 1375\.\d ms that a run of tiny/fp32 may take"):
        submitted(batcher, Asked(slow, (1,), deadline_ns=clock.monotonic_ns() + NS_PER_S))

    assert 0 == batcher.queued


async def test_a_more_patient_client_extends_an_item_that_expired(models: Models, engines: HeldEngines) -> None:
    """Somebody joined with more time after the item was queued: it runs, for both."""
    clock, served = ManualClock(), with_costs(models.find("tiny").variants["fp32"], fixed_s=0.001)
    batcher = tuned(served, clock)
    batcher.start()
    await occupied(batcher, engines, served)
    hasty, patient = Asked(served, (7,), deadline_ns=clock.monotonic_ns() + NS_PER_S), Asked(served, (7,))
    submitted(batcher, hasty)
    hasty.flight.join(patient.waiter, 0, deadline_ns=clock.monotonic_ns() + 9 * NS_PER_S)
    clock.advance(duration_ns=2 * NS_PER_S)

    engines.release(9)
    await patient.future

    assert 1 == patient.label
    await batcher.close()


async def test_a_full_queue_refuses_whole_requests(models: Models, engines: HeldEngines) -> None:
    """A request that does not fit leaves no item behind; it says how full it is and when to come again."""
    served = models.find("tiny").variants["fp32"]
    batcher = a_batcher(models, ManualClock(), max_queued=3)
    batcher.start()
    await occupied(batcher, engines, served)
    batcher.submit([Asked(served, (1,)).flight, Asked(served, (2,)).flight])

    with pytest.raises(Overloaded, match="2 of 3 places are taken and 2 are needed") as refused:
        batcher.submit([Asked(served, (3,)).flight, Asked(served, (4,)).flight])

    assert (1, 2) == (refused.value.retry_after_s, batcher.queued)
    engines.release(9)
    await batcher.close()


async def test_what_cannot_meet_its_objective_is_refused_with_a_time_to_come_again(
    engines: HeldEngines, served: ServedVariant
) -> None:
    """1.1 s per row and an objective of 4 s: what fits is queued, and the refusal says what is ahead."""
    clock, slow = ManualClock(), with_costs(served, fixed_s=0.1, row_s=1.0, max_batch=1)
    batcher = tuned(slow, clock, slo_s=4.0)
    batcher.start()
    await occupied(batcher, engines, slow)
    everybody = [Asked(slow, (1,)) for _ in range(3)]
    for asked in everybody:
        asked.flight.arrived_ns = clock.monotonic_ns()
    submitted(batcher, *everybody[:2])

    with pytest.raises(Overloaded, match="too much for the objective of tiny/fp32; send again later") as refused:
        submitted(batcher, everybody[2])

    assert (2, 4) == (batcher.queued, refused.value.retry_after_s)
    assert batcher.pressure() > 0.7
    engines.release(9)
    await batcher.close()


def expecting_company(served: ServedVariant, *, slo_s: float) -> tuple[Batcher, ServedVariant]:
    """A started batcher of green rows that has seen a thousand of them a second; nothing runs or waits."""
    clock, green = SystemClock(), with_costs(served, fixed_s=0.001)
    batcher = tuned(green, clock, slo_s=slo_s, patience="green")
    lane = batcher.lane(green)
    for number in range(2_000):
        lane.company.arrived(at_ns := clock.monotonic_ns() - (2_000 - number) * NS_PER_S // 1_000)
        lane.arrivals.note(0, at_ns)
    batcher.start()
    return batcher, green


def now_asked(served: ServedVariant) -> Asked:
    """An item that arrives now."""
    asked = Asked(served, (1,))
    asked.flight.arrived_ns = SystemClock().monotonic_ns()
    return asked


async def test_company_is_waited_for_and_a_timer_ends_the_wait(served: ServedVariant) -> None:
    """A green item is kept though the engine is free, and launched once nobody has come for ten short gaps."""
    batcher, green = expecting_company(served, slo_s=0.3)

    (asked,) = submitted(batcher, now_asked(green))
    await asyncio.wait_for(asked.future, 5.0)

    assert asked.landed.span is not None
    assert 0.005 <= (asked.landed.span.start_ns - asked.flight.arrived_ns) / NS_PER_S < 0.15
    await batcher.close()


async def test_closing_ends_a_wait_for_company(served: ServedVariant) -> None:
    """With an objective of a minute the item would be kept for long; draining launches it at once."""
    batcher, green = expecting_company(served, slo_s=60.0)
    (asked,) = submitted(batcher, now_asked(green))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    kept = not asked.future.done() and batcher.queued == 1

    await asyncio.wait_for(batcher.close(), 5.0)

    assert kept
    assert asked.future.done()


async def test_spans_refine_the_costs_and_are_shown(served: ServedVariant) -> None:
    """Each run teaches time and provisional joules; whoever listens gets the span with its predicted time."""
    clock, seen = SystemClock(), list[tuple[str, float | None]]()
    known = replace(with_costs(served, fixed_s=0.5), engine=EchoEngine(variant="fp32", busy_s=0.002))
    lane = LaneSettings(buckets=BUCKETS, max_batch=4, slo_s=None, patience="latency")
    batcher = Batcher(
        clock=clock,
        buckets=BUCKETS,
        max_batch={},
        max_queued=64,
        share_milli=500,
        options=Options(
            lanes={known.key: lane},
            power=host_power(),
            on_span=lambda key, span, predicted_s: seen.append((key, predicted_s)),
        ),
    )
    batcher.start()
    for _ in range(8):
        (asked,) = submitted(batcher, Asked(known, (1,)))
        await asked.future
    await batcher.close()

    assert 8 == len(seen)
    assert {"tiny/fp32"} == {key for key, _ in seen}
    predicted_s = [predicted_s for _, predicted_s in seen if predicted_s is not None]
    assert 0.5001 == pytest.approx(predicted_s[0])
    assert 0.0 < predicted_s[-1] < 0.1


async def test_an_answer_that_cannot_be_put_together_does_not_end_the_task(
    batcher: Batcher, served: ServedVariant
) -> None:
    """Its clients get an error, it is counted, and the next request is answered."""

    def breaks(landed: Landed | None) -> None:
        if landed is not None:
            raise RuntimeError("told to")

    (broken,) = submitted(batcher, Asked(served, (1,)))
    broken.flight.on_landed = breaks
    await asyncio.wait([broken.future])
    await until(lambda: batcher.loop_errors == 1)

    (after,) = submitted(batcher, Asked(served, (2,)))
    await after.future

    assert 2 == after.label
    assert batcher.alive


async def test_closing_finishes_what_waits_and_refuses_what_comes(models: Models, engines: HeldEngines) -> None:
    """Draining: every admitted request is answered before the task ends."""
    served = models.find("tiny").variants["fp32"]
    batcher = a_batcher(models, ManualClock())
    batcher.start()
    waiting = [await occupied(batcher, engines, served)]
    waiting += submitted(batcher, *(Asked(served, (number,)) for number in range(9)))

    closing = asyncio.ensure_future(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        submitted(batcher, Asked(served, (3,)))
    engines.release(99)
    await closing

    assert [True] * 10 == [each.future.done() and not each.future.cancelled() for each in waiting]
    assert (False, 0) == (batcher.alive, batcher.queued)


def test_lanes_come_from_the_configuration(models: Models) -> None:
    """Each variant with its model's buckets, objective, class and wait."""
    lanes = lanes_of(models)

    model = models.find("tiny")
    assert {served.key for served in model.variants.values()} == set(lanes)
    assert {(model.buckets, 0.5, None, "balanced")} == {
        (lane.buckets, lane.slo_s, lane.max_wait_s, lane.patience) for lane in lanes.values()
    }


async def test_another_executor_gets_as_many_batches_as_it_has_slots(served: ServedVariant) -> None:
    """The next is cut only when one returns, from whatever waits then."""
    executor = Elsewhere()
    lane = LaneSettings(buckets=BUCKETS, max_batch=2, slo_s=None, patience="latency")
    batcher = Batcher(
        clock=SystemClock(),
        buckets=BUCKETS,
        max_batch={},
        max_queued=64,
        share_milli=500,
        options=Options(lanes={served.key: lane}, executor=executor),
    )
    batcher.start()
    everybody = submitted(batcher, *(Asked(served, (number,)) for number in range(7)))
    await until(lambda: len(executor.out) == 2)
    before = batcher.queued

    executor.back()
    await until(lambda: batcher.queued == 1)
    executor.back()
    await until(lambda: len(executor.out) == 2 and batcher.queued == 0)
    executor.back()
    executor.back()
    await asyncio.gather(*(each.future for each in everybody))
    await batcher.close()

    assert 3 == before
    assert [number % 3 for number in range(7)] == [each.label for each in everybody]
