"""The mean quality that a tenant is promised, over all its answers: run, joined, and from the cache."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import fmean

import pytest

from greenserve.clock import SystemClock
from greenserve.errors import Draining
from greenserve.records import Hints
from greenserve.serve.admission import ANONYMOUS
from greenserve.serve.call import Answer
from greenserve.serve.gateway import Gateway
from tests.serve.building import HeldEngines, a_call, a_config, a_gateway, an_admitted, models_of, until
from tests.serve.lifecycle import at_work

CLOCK = SystemClock()
QUALITY = {"fp32": 0.90, "int8-dyn": 0.85, "static-8-int8": 0.70}
SPREAD = 0.90 - 0.70
ANY = Hints()


@asynccontextmanager
async def promising(manifest: Path, folder: Path, engines: HeldEngines, *, mean: float) -> AsyncIterator[Gateway]:
    """A running gateway with that mean, over a floor of 0.6."""
    objective = {"p95": "500ms", "quality_floor": 0.6, "quality_mean": mean}
    config = a_config(manifest, folder, models=[{"name": "tiny", "manifest": manifest, "objective": objective}])
    async with at_work(a_gateway(config, models_of(config, engines), folder, CLOCK), engines) as running:
        yield running


async def ask(gateway: Gateway, *texts: str, hints: Hints = ANY) -> Answer:
    """A question."""
    return await gateway.handle(a_call(*texts, clock=CLOCK, hints=hints))


def mean_of(answers: list[Answer]) -> float:
    """Their mean quality."""
    return fmean(QUALITY[answer.decision.variant] for answer in answers)


async def test_the_mean_holds_over_answers_of_the_cache(
    tiny_manifest: Path, tmp_path: Path, engines: HeldEngines
) -> None:
    """The first answer is a poor one and its text a popular one: it is kept until too much is owed, then made anew."""
    async with promising(tiny_manifest, tmp_path, engines, mean=0.85) as gateway:
        answers = [await ask(gateway, "good day") for _ in range(100)]

    assert "static-8-int8" == answers[0].decision.variant
    assert 0.85 - SPREAD / 100 <= mean_of(answers) + 1e-9
    assert 2 <= sum(answer.cache == "miss" for answer in answers) <= len(QUALITY)


async def test_good_answers_of_the_cache_let_others_be_cheap(
    tiny_manifest: Path, tmp_path: Path, engines: HeldEngines
) -> None:
    """Hits over the mean are credit for runs below it."""
    async with promising(tiny_manifest, tmp_path, engines, mean=0.80) as gateway:
        answers = [await ask(gateway, "good day", hints=Hints(min_quality=0.9)) for _ in range(2)]
        answers += [await ask(gateway, "good day") for _ in range(4)]
        cheap = [await ask(gateway, f"word{number}") for number in range(20, 24)]

    assert ["miss"] + ["hit"] * 5 == [answer.cache for answer in answers]
    assert {"static-8-int8"} == {answer.decision.variant for answer in cheap}


async def test_a_mean_out_of_reach_keeps_the_best_answers(
    tiny_manifest: Path, tmp_path: Path, engines: HeldEngines
) -> None:
    """The first is cheaper, since nothing is owed yet; then what would run instead is no better than what is kept."""
    async with promising(tiny_manifest, tmp_path, engines, mean=0.97) as gateway:
        answers = [await ask(gateway, "good day") for _ in range(10)]

    assert ["miss"] * 2 + ["hit"] * 8 == [answer.cache for answer in answers]
    assert {"fp32"} == {answer.decision.variant for answer in answers[1:]}


async def test_who_joins_a_run_counts_it_too(tiny_manifest: Path, tmp_path: Path, engines: HeldEngines) -> None:
    """Of many that ask the same at once only as many are given the poor answer as the mean allows."""
    async with promising(tiny_manifest, tmp_path, engines, mean=0.85) as gateway:
        engines.hold()
        asked = [asyncio.create_task(ask(gateway, "good day")) for _ in range(50)]
        await until(lambda: len(engines.batches) >= 1)
        engines.release(1_000)
        answers = await asyncio.gather(*asked)

    assert {"miss", "joined"} == {answer.cache for answer in answers}
    assert 0.85 - SPREAD / 50 <= mean_of(answers) + 1e-9


async def test_a_request_is_counted_once_whatever_its_items(
    tiny_manifest: Path, tmp_path: Path, engines: HeldEngines
) -> None:
    """Thirty poor items of one request owe as much as one: the kept answers are then as good as the mean allows."""
    leasts = []
    for texts in (("good day",), tuple(f"word{number}" for number in range(20, 50))):
        folder = tmp_path / str(len(texts))
        async with promising(tiny_manifest, folder, engines, mean=0.85) as gateway:
            await ask(gateway, *texts)
            model = gateway.models.find("tiny")
            leasts.append(gateway.router.least_quality(an_admitted(tenant=ANONYMOUS), model, gateway.batcher))

    assert [pytest.approx(0.85 - (SPREAD - 0.15))] * 2 == leasts


async def test_a_refused_request_owes_nothing(tiny_manifest: Path, tmp_path: Path, engines: HeldEngines) -> None:
    """It was answered by no variant: a poor answer may still be given to the next."""
    async with promising(tiny_manifest, tmp_path, engines, mean=0.85) as gateway:
        await gateway.batcher.close()
        for _ in range(5):
            with pytest.raises(Draining):
                await ask(gateway, "good day")
        model = gateway.models.find("tiny")

        assert 0.70 > gateway.router.least_quality(an_admitted(tenant=ANONYMOUS), model, gateway.batcher)
