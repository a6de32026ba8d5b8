"""MLServer: a custom runtime with adaptive batching, over HTTP and gRPC."""

import argparse
import asyncio

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.minilm import LABELS, MAX_BATCH, MiniLm


class Sentiment(MLModel):
    """One text per element of the BYTES tensor `text`."""

    async def load(self) -> bool:
        """Load the engine into this process."""
        self._minilm = MiniLm()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Labels and probabilities; the batcher has merged the requests into one tensor."""
        texts = StringCodec.decode_input(payload.inputs[0])
        shares = await asyncio.get_running_loop().run_in_executor(None, self._minilm.probabilities, texts)
        labels = [LABELS[best] for best in shares.argmax(axis=-1)]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("label", labels),
                NumpyCodec.encode_output("probabilities", shares),
            ],
        )


async def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--wait-ms", type=float, default=2.0)
    given = parser.parse_args()
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=given.port,
        grpc_port=given.grpc_port,
        parallel_workers=given.workers,
        metrics_endpoint=None,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    model = ModelSettings(
        name="sentiment",
        implementation="benchmarks.peers.mlserver.server.Sentiment",
        max_batch_size=MAX_BATCH,
        max_batch_time=given.wait_ms / 1e3,
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
