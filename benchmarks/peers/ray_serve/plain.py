"""Ray Serve with nothing set: one replica, no batching, its own request object."""

import argparse
import signal
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.minilm import MiniLm


@serve.deployment
class Sentiment:
    """The engine behind a plain call."""

    def __init__(self) -> None:
        self._minilm = MiniLm()

    async def __call__(self, request: Request) -> dict[str, object]:
        """Label and probabilities of a text."""
        return self._minilm.classify([(await request.json())["text"]])[0]


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=128 << 20, log_to_driver=False)
    application: Any = Sentiment  # the decorators made a deployment of the class
    serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    serve.run(application.bind(), name="peer", route_prefix="/")
    ended.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
