"""The time during which a gateway without listeners works, shared by the tests that build one of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from greenserve.serve.gateway import Gateway
from tests.serve.building import HeldEngines


@asynccontextmanager
async def at_work(gateway: Gateway, engines: HeldEngines | None = None) -> AsyncIterator[Gateway]:
    """It batches and records inside; at the end what its engines hold is let go, and nothing of it is left."""
    gateway.batcher.start()
    gateway.recorder.start()
    try:
        yield gateway
    finally:
        if engines is not None:
            engines.release(1_000)
        await gateway.batcher.close()
        await gateway.recorder.close()
        gateway.texts.close()
        gateway.cache.close()
