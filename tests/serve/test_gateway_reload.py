"""Requests that are under way while their model is reloaded: what reads them, runs them and names them is one model."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import ModelUnknown
from greenserve.host import describe_host
from greenserve.inputs import TextEncoder
from greenserve.ports import CachedAnswer
from greenserve.records import Hints
from greenserve.routing.defer import Slot
from greenserve.serve.call import Answer
from greenserve.serve.deferral import Deferral
from greenserve.serve.gateway import Gateway
from greenserve.serve.models import load_model
from greenserve.serve.shared_cache import Fetched, SharedAnswers
from greenserve.serve.tasks import task_of
from tests.serve.building import HeldEngines, a_call, spooled, until

CLOCK = SystemClock()
S_US = 1_000_000
TEXT = "good day"


@pytest.fixture
def tiny_manifest(tiny_manifest: Path, tmp_path: Path) -> Path:
    """A manifest that a test may change."""
    shutil.copytree(tiny_manifest.parent, tmp_path / "own")
    return tmp_path / "own" / tiny_manifest.name


def reload(gateway: Gateway, config: Config) -> HeldEngines:
    """Serve version 2, with other labels and another number for each word; its engines."""
    manifest = config.models[0].manifest
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2, "labels": ["one", "two", "six"]}))
    tokenizer = json.loads((manifest.parent / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: (number * 5 + 3) % len(words) for word, number in words.items()}
    other = manifest.parent / "other.json"
    other.write_text(json.dumps(tokenizer))
    engines = HeldEngines()
    model = load_model(config.models[0], engines, str(describe_host()["fingerprint"]), max_items=8)
    encoder = TextEncoder(tokenizer_file=other, max_length=64, truncate="error")
    gateway.models.replace(replace(model, task=task_of(model.manifest, encoder, max_items=8)))
    gateway.router.models_changed()
    return engines


def held(gateway: Gateway, version: str = "") -> "asyncio.Task[Answer]":
    """A request that waits for a cleaner grid until the gateway's deferral hurries."""
    now_us = CLOCK.unix_us()
    slots = [Slot(now_us - S_US, now_us + 30 * S_US, 400.0), Slot(now_us + 30 * S_US, now_us + 60 * S_US, 40.0)]
    gateway.deferral = Deferral(outlook=lambda admitted, until_us: slots, busy=lambda: False, clock=CLOCK)
    hints = Hints(defer_until_us=now_us + 60 * S_US)
    return asyncio.create_task(gateway.handle(a_call(TEXT, clock=CLOCK, version=version, hints=hints)))


def said(answer: Answer) -> tuple[str, object]:
    """Version and label."""
    return answer.version, answer.outputs[0].data


async def test_what_was_held_over_a_reload_is_answered_by_the_new_model(
    gateway: Gateway, config: Config, tmp_path: Path
) -> None:
    """Its own tokens, labels and version, as of a request that came after; never a mixture of both."""
    asked = held(gateway)
    await until(lambda: gateway.deferral.held == 1)
    engines = reload(gateway, config)
    gateway.deferral.hurry()

    answer = await asked
    fresh = await gateway.handle(a_call(TEXT, clock=CLOCK, hints=Hints(no_store=True)))

    assert said(fresh) == said(answer)
    assert "2" == answer.version
    first, second = engines.batches
    assert first.rows == second.rows == gateway.models.find("tiny").task.rows(a_call(TEXT, clock=CLOCK))
    digests = [orjson.loads(body)["variant_digest"] for body in spooled(tmp_path / "spool")]
    assert [gateway.models.find("tiny").variants[answer.decision.variant].variant.digest] * 2 == digests


async def test_a_version_that_is_gone_when_its_turn_comes_is_refused(gateway: Gateway, config: Config) -> None:
    """Who asked for version 1 gets no answer of version 2, and nothing runs; its place and budget are free again."""
    asked = held(gateway, version="1")
    await until(lambda: gateway.deferral.held == 1)
    engines = reload(gateway, config)
    gateway.deferral.hurry()

    with pytest.raises(ModelUnknown, match="version 2 here, not '1'"):
        await asked

    assert [] == engines.batches


async def test_what_was_held_without_a_reload_is_answered_as_it_was_read(gateway: Gateway) -> None:
    """A version that is still served may be asked for."""
    asked = held(gateway, version="1")
    await until(lambda: gateway.deferral.held == 1)
    gateway.deferral.hurry()

    assert "1" == (await asked).version


class SlowAnswers(SharedAnswers):
    """A second tier that knows nothing; something else happens meanwhile."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def __repr__(self) -> str:
        return "<SlowAnswers>"

    async def lookup(self, keys: Sequence[bytes]) -> Fetched:
        """Nothing, later."""
        self._meanwhile()
        return {}

    def put(self, key: bytes, answer: CachedAnswer, ttl_s: float) -> None:
        """Let go."""


async def test_a_reload_during_a_look_into_the_second_tier_is_seen(gateway: Gateway, config: Config) -> None:
    """The request is read again for the model that then runs it."""
    loaded: list[HeldEngines] = []

    def once() -> None:
        if not loaded:
            loaded.append(reload(gateway, config))

    gateway.cache.shared = SlowAnswers(once)

    answer = await gateway.handle(a_call(TEXT, clock=CLOCK))
    fresh = await gateway.handle(a_call(TEXT, clock=CLOCK, hints=Hints(no_store=True)))

    assert ("2", said(fresh)) == (answer.version, said(answer))
    assert 2 == len(loaded[0].batches)
