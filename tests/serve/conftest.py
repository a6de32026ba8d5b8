"""The tiny model on engines that tests hold, and a running batcher and gateway on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.gateway import Gateway
from greenserve.serve.models import Models, ServedVariant
from tests.serve.building import HeldEngines, a_batcher, a_config, a_gateway, models_of
from tests.serve.lifecycle import at_work

POISON = 99


@pytest.fixture
def config(tiny_manifest: Path, tmp_path: Path) -> Config:
    """A configuration of the tiny model."""
    return a_config(tiny_manifest, tmp_path)


@pytest.fixture
def engines() -> HeldEngines:
    """Engines that fail on token 99 and otherwise run at once, until a test holds them."""
    return HeldEngines(fail_on=POISON)


@pytest.fixture
def models(config: Config, engines: HeldEngines) -> Models:
    """The tiny model on those engines."""
    return models_of(config, engines)


@pytest.fixture
def served(models: Models) -> ServedVariant:
    """Its first variant."""
    return models.find("tiny").variants["fp32"]


@pytest.fixture
async def batcher(models: Models, engines: HeldEngines) -> AsyncIterator[Batcher]:
    """A running batcher, at most four rows per batch."""
    running = a_batcher(models, SystemClock())
    running.start()
    yield running
    engines.release(1_000)
    await running.close()


@pytest.fixture
async def gateway(config: Config, models: Models, engines: HeldEngines, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A running gateway without listeners."""
    async with at_work(a_gateway(config, models, tmp_path, SystemClock()), engines) as running:
        yield running
