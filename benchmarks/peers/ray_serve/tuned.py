"""Ray Serve as its guides tune it: FastAPI, two replicas, `@serve.batch`, the engine in a thread."""

import argparse
import asyncio
import signal
import threading
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve.schema import LoggingConfig

from benchmarks.peers.minilm import MAX_BATCH, MiniLm

api = FastAPI()


class Text(BaseModel):
    """A request's body."""

    text: str


@serve.deployment(
    num_replicas=2,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 1},
    logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
)
@serve.ingress(api)
class Sentiment:
    """Each replica holds an engine and batches what reaches it."""

    def __init__(self, wait_s: float) -> None:
        self._minilm = MiniLm()
        self._classify.set_batch_wait_timeout_s(wait_s)

    @api.post("/classify")
    async def classify(self, body: Text) -> dict[str, Any]:
        """Label and probabilities of a text."""
        answer: dict[str, Any] = await self._classify(body.text)
        return answer

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001, max_concurrent_batches=1)
    async def _classify(self, texts: list[str]) -> list[dict[str, object]]:
        return await asyncio.get_running_loop().run_in_executor(None, self._minilm.classify, texts)


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--wait-ms", type=float, default=1.0)
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=128 << 20, log_to_driver=False)
    application: Any = Sentiment  # the decorators made a deployment of the class
    serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    serve.run(application.bind(given.wait_ms / 1e3), name="peer", route_prefix="/")
    ended.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
