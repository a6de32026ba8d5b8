"""Every bad message gets its status and words over real gRPC, and the server answers good ones afterwards."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from greenserve.clock import SystemClock
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.grpc.service import SERVICE
from tests.serve.bad_messages import ROWS, Row
from tests.serve.building import HeldEngines, a_config, a_gateway, models_of
from tests.serve.grpc_serving import HOST, a_message, serving

CODES = {"INVALID_ARGUMENT": {"invalid-request", "body-too-large"}, "NOT_FOUND": {"model-unknown"}}


class InThread:
    """A gateway behind gRPC on a loop of its own, for blocking clients."""

    def __init__(self, manifest: Path, folder: Path) -> None:
        self._manifest, self._folder = manifest, folder
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.port = 0

    def __enter__(self) -> "InThread":
        self._thread.start()
        assert self._listening.wait(20.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20.0)
        self._loop.close()

    async def _serve(self) -> None:
        config = a_config(self._manifest, self._folder)
        gateway = a_gateway(config, models_of(config, HeldEngines()), self._folder, SystemClock())
        gateway.batcher.start()
        gateway.recorder.start()
        async with serving(gateway) as served:
            self.port = served.port
            self._listening.set()
            await self._over.wait()
        await gateway.batcher.close()
        await gateway.recorder.close()
        gateway.cache.close()


@pytest.fixture(scope="module")
def infer(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """ModelInfer of a server that all rows share."""
    with (
        InThread(tiny_manifest, tmp_path_factory.mktemp("bad")) as server,
        grpc.insecure_channel(f"{HOST}:{server.port}") as channel,
    ):
        yield channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_refused_in_words(infer: Any, row: Row) -> None:
    """Status, code, request id, and a message that names the field; nothing of our code in it."""
    with pytest.raises(grpc.RpcError) as caught:
        infer(row.message, metadata=row.metadata, timeout=10.0)

    error: Any = caught.value
    trailing = dict(error.trailing_metadata())
    assert row.status == error.code().name, error.details()
    assert trailing["greenserve-code"] in CODES[row.status]
    assert 36 == len(trailing["greenserve-request-id"])
    assert [] == [word for word in row.words if word not in error.details()], error.details()
    assert not any(word in error.details() for word in ("Traceback", "File ", "site-packages", "0x"))


def test_there_are_enough_of_them_and_the_server_lives(infer: Any) -> None:
    """At least 150 different ways to be wrong, and a good request after all of them."""
    assert 150 <= len({row.name for row in ROWS})
    assert len(ROWS) == len({row.name for row in ROWS})
    assert 2 == len(infer(a_message(), timeout=10.0).outputs)
