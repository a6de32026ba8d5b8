"""Items and variants that fail: nobody else is harmed, nothing runs without end, and whoever asks is told."""

import asyncio
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from greenserve.clock import ManualClock, SystemClock
from greenserve.errors import InferenceFailed
from greenserve.records import Batch, Span
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.models import Models, ServedVariant
from greenserve.units import NS_PER_S
from tests.serve.building import Asked, HeldEngines, a_batcher, until
from tests.serve.conftest import POISON
from tests.serve.held import NanEngine, occupied, submitted, tuned


async def test_a_poisoned_item_harms_nobody_else(batcher: Batcher, engines: HeldEngines, served: ServedVariant) -> None:
    """Of four items in one batch the engine raises on one: three right answers, one error that names it."""
    await occupied(batcher, engines, served)
    waiting = submitted(batcher, *(Asked(served, (token,)) for token in (4, POISON, 5, 6)))

    engines.release(20)
    results = await asyncio.gather(*(each.future for each in waiting), return_exceptions=True)

    assert isinstance(results[1], InferenceFailed)
    assert "input [0] (RuntimeError)" in str(results[1])
    assert [4 % 3, 5 % 3, 6 % 3] == [each.label for each in waiting if each is not waiting[1]]


@pytest.mark.parametrize("rows", [2, 3, 8, 17, 32])
async def test_isolating_one_culprit_takes_few_extra_runs(served: ServedVariant, rows: int) -> None:
    """At most 2 ceil(log2 b) + 1, wherever it stands; with several culprits the bound still holds."""
    for culprits in ({0}, {rows - 1}, {rows // 2}, set(range(rows))):
        engine = NanEngine(bad=-1, raises=frozenset(culprits))
        broken = replace(served, engine=engine, max_batch=rows, profile=None)
        batcher = tuned(broken, SystemClock())
        everybody = [Asked(broken, (token,)) for token in range(rows)]
        batcher.submit([each.flight for each in everybody])

        batcher.start()
        results = await asyncio.gather(*(each.future for each in everybody), return_exceptions=True)
        await batcher.close()

        runs = [rows for rows in engine.runs if broken.example not in rows]  # the trial of a variant that is in doubt
        assert len(runs) - 1 <= 2 * (rows - 1).bit_length() + 1
        assert culprits <= {place for place, result in enumerate(results) if result is not None}
        if len(culprits) == 1:
            assert [isinstance(result, InferenceFailed) for result in results] == [n in culprits for n in range(rows)]


async def test_a_batch_that_fails_only_as_a_whole_is_answered_in_halves(served: ServedVariant) -> None:
    """Too large for the memory, say: no single item is to blame."""

    class Small(NanEngine):
        def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
            if len(batch.rows) > 2:
                self.runs.append(batch.rows)
                raise MemoryError
            return super().run(batch)

    engine = Small(bad=-1)
    small = replace(served, engine=engine, max_batch=4, profile=None)
    batcher = tuned(small, SystemClock())
    everybody = [Asked(small, (token,)) for token in range(4)]
    batcher.submit([each.flight for each in everybody])

    batcher.start()
    await asyncio.gather(*(each.future for each in everybody))
    await batcher.close()

    assert [4, 2, 2] == [len(rows) for rows in engine.runs]


async def test_an_answer_that_is_not_a_number_fails_alone(served: ServedVariant) -> None:
    """Its neighbours in the batch are right, and nothing is run twice."""
    engine = NanEngine(bad=7)
    odd = replace(served, engine=engine, max_batch=4, profile=None)
    batcher = tuned(odd, SystemClock())
    everybody = [Asked(odd, (token,)) for token in (4, 7, 5)]
    batcher.submit([each.flight for each in everybody])

    batcher.start()
    results = await asyncio.gather(*(each.future for each in everybody), return_exceptions=True)
    await batcher.close()

    assert [None, True, None] == [result and "not a finite number" in str(result) for result in results]
    assert (1, [1, 2]) == (len(engine.runs), [everybody[0].label, everybody[2].label])


class Broken(NanEngine):
    """Raises for whatever it is given, until it is mended."""

    mended = False

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """As the echo engine, once mended."""
        if not self.mended:
            self.runs.append(batch.rows)
            raise RuntimeError("out of order")
        return super().run(batch)


async def failed_alone(batcher: Batcher, served: ServedVariant, *tokens: int) -> None:
    """Requests one after the other."""
    for token in tokens:
        (asked,) = submitted(batcher, Asked(served, (token,)))
        await asyncio.wait([asked.future])


async def test_a_variant_that_runs_nothing_any_more_is_unhealthy(served: ServedVariant) -> None:
    """After three batches it is tried with an item that once ran; it is named with the reason until loaded again."""
    engine = Broken(bad=-1)
    broken = replace(served, engine=engine, profile=None)
    batcher = tuned(broken, SystemClock())
    batcher.start()
    await failed_alone(batcher, broken, 1, 2)
    before = dict(batcher.unhealthy)

    await failed_alone(batcher, broken, 3)
    await until(lambda: bool(batcher.unhealthy))

    said = "3 batches in a row failed, and so did a trial with an item that ran when it was loaded"
    assert ({}, {served.key: said}) == (before, batcher.unhealthy)
    assert [f"variant {served.key} is unhealthy: {said}"] == batcher.findings()
    assert [((1,),), ((2,),), ((3,),), (broken.example,)] == engine.runs
    batcher.healed(served.key, served.variant.digest)
    assert ({}, []) == (batcher.unhealthy, batcher.findings())
    await batcher.close()


async def test_batches_of_before_a_reload_say_nothing_of_what_is_served_now(served: ServedVariant) -> None:
    """They were launched for an artefact that is gone: neither doubt nor trial comes of them."""
    engine = Broken(bad=-1)
    batcher = tuned(replace(served, engine=engine, profile=None), SystemClock())
    batcher.start()
    batcher.healed(served.key, "another artefact")

    await failed_alone(batcher, replace(served, engine=engine, profile=None), *range(1, 21))

    assert ({}, 20) == (batcher.unhealthy, len(engine.runs))
    await batcher.close()


async def test_what_callers_send_ends_no_replica(batcher: Batcher, engines: HeldEngines, served: ServedVariant) -> None:
    """However many bad items come, in one request or in many: the variant itself runs, and routing goes on."""
    for _ in range(3):
        poisoned = [Asked(served, (POISON, place)) for place in range(3)] + [Asked(served, (5,))]
        batcher.submit([each.flight for each in poisoned])
        await asyncio.gather(*(each.future for each in poisoned), return_exceptions=True)
    await failed_alone(batcher, served, *[POISON] * 20)
    await until(lambda: any(batch.rows == (served.example,) for batch in engines.batches))
    await failed_alone(batcher, served, POISON)

    assert ({}, []) == (batcher.unhealthy, batcher.findings())


async def test_an_unhealthy_variant_is_tried_again(served: ServedVariant) -> None:
    """Nobody routes to it, so that nobody's requests find out: an example does, until it runs."""
    engine = Broken(bad=-1)
    broken = replace(served, engine=engine, profile=None)
    batcher = tuned(broken, SystemClock(), retry_s=0.002)
    batcher.start()
    await failed_alone(batcher, broken, 1, 2, 3)
    await until(lambda: engine.runs.count((broken.example,)) > 3)
    unhealthy = dict(batcher.unhealthy)

    engine.mended = True
    await until(lambda: not batcher.unhealthy)
    tried = engine.runs.count((broken.example,))
    await asyncio.sleep(0.02)

    assert {served.key} == set(unhealthy)
    assert [] == batcher.findings()
    assert tried == engine.runs.count((broken.example,))
    await batcher.close()


async def test_a_batcher_that_is_closed_tries_nothing_any_more(served: ServedVariant) -> None:
    """Neither later nor on a thread that has ended."""
    engine = Broken(bad=-1)
    broken = replace(served, engine=engine, profile=None)
    batcher = tuned(broken, SystemClock(), retry_s=0.002)
    batcher.start()
    await failed_alone(batcher, broken, 1, 2, 3)
    await until(lambda: bool(batcher.unhealthy))

    await batcher.close()
    tried = len(engine.runs)
    await asyncio.sleep(0.02)

    assert tried == len(engine.runs)


async def test_a_launch_counts_once_in_however_many_runs(served: ServedVariant) -> None:
    """Two requests of four bad items each are two batches, not eight: nothing is in doubt before the third."""
    engine = NanEngine(bad=-1, raises=frozenset({POISON}))
    odd = replace(served, engine=engine, max_batch=4, profile=None)
    batcher = tuned(odd, SystemClock())
    batcher.start()
    tried: list[bool] = []

    for _ in range(3):
        everybody = [Asked(odd, (POISON, place)) for place in range(4)]
        batcher.submit([each.flight for each in everybody])
        await asyncio.gather(*(each.future for each in everybody), return_exceptions=True)
        await until(lambda: repr(batcher).endswith("0 out open>"))
        tried.append((odd.example,) in engine.runs)
    await until(lambda: (odd.example,) in engine.runs)
    await batcher.close()

    assert [False, False] == tried[:2]


async def test_a_run_that_hangs_is_found(models: Models, engines: HeldEngines, served: ServedVariant) -> None:
    """Over five seconds, or ten times what it may take: whoever asks for the health is told."""
    clock = ManualClock()
    batcher = a_batcher(models, clock)
    batcher.start()
    await occupied(batcher, engines, served)
    clock.advance(duration_ns=4 * NS_PER_S)
    early = batcher.findings()

    clock.advance(duration_ns=60 * NS_PER_S)

    assert [] == early
    assert [True] == ["has run for 64.0 s, over its limit" in finding for finding in batcher.findings()]
    engines.release(9)
    await batcher.close()
    assert [] == batcher.findings()
