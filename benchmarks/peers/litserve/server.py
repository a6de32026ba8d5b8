"""LitServe: two workers that batch, one HTTP process beside them, the fast queue between."""

import argparse
from typing import Any

import litserve

from benchmarks.peers.minilm import MAX_BATCH, MiniLm


class Sentiment(litserve.LitAPI):
    """{"text": ...} to {"label": ..., "probabilities": [...]}."""

    def setup(self, device: str) -> None:
        """Load the engine into this worker."""
        self._minilm = MiniLm()

    def decode_request(self, request: dict[str, str], **_: Any) -> str:
        """The text of a request."""
        return request["text"]

    def predict(self, texts: str | list[str], **_: Any) -> Any:
        """Answers of a batch."""
        return self._minilm.classify(texts) if isinstance(texts, list) else self._minilm.classify([texts])[0]

    def unbatch(self, output: list[dict[str, object]]) -> list[dict[str, object]]:
        """One answer for each request of the batch."""
        return output

    def encode_response(self, output: dict[str, object], **_: Any) -> dict[str, object]:
        """The answer's body."""
        return output


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--wait-ms", type=float, default=1.0)
    parser.add_argument("--plain-queue", action="store_true")
    given = parser.parse_args()
    api = Sentiment(max_batch_size=MAX_BATCH, batch_timeout=given.wait_ms / 1e3)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=given.workers, fast_queue=not given.plain_queue
    )
    server.run(
        host="127.0.0.1",
        port=given.port,
        num_api_servers=given.servers,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
