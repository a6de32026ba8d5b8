"""BentoML: two workers with adaptive batching; `bentoml serve benchmarks.peers.bentoml.server:Sentiment` starts it."""

from typing import Any

import bentoml

from benchmarks.peers.minilm import MAX_BATCH, MiniLm


@bentoml.service(
    name="sentiment",
    workers=2,
    threads=1,
    traffic={"timeout": 60, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    monitoring={"enabled": False},
)
class Sentiment:
    """Each worker holds an engine and batches what reaches it."""

    def __init__(self) -> None:
        self._minilm = MiniLm()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=1000)
    def classify(self, texts: list[str]) -> list[dict[str, Any]]:
        """One answer for each text; the texts of several requests run as one batch."""
        return self._minilm.classify(texts)
