"""Load over both protocols on models in both placements, by clients that do as they are told."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import grpc

from greenserve.loadtest.grpc_client import METHOD, request_of
from greenserve.proto.inference_pb2 import ModelInferResponse
from tests.faults.load import Load

TIMEOUT_S = 15.0
CLIENTS = 2
PAUSE_S = 0.04
"""Between a client's requests: who saturates two cores makes each new replica start twice as long."""


class GrpcLoad:
    """As `Load`, over gRPC channels of its own. State: `answered` and `failed`, under one lock."""

    def __init__(self, address: str, key: str, model: str) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {key}"), ("greenserve-cache", "no-store"))
        self._model = model
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]
        self.answered = 0
        self.failed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        sent = 0
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(self._address, options=options) as channel:
            call = channel.unary_unary(
                METHOD,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=ModelInferResponse.FromString,
            )
            while not self._stopping.is_set():
                sent += 1
                question = request_of(self._model, [f"good word{number + 10} word{sent % 100 + 20}"])
                try:
                    call(question, timeout=TIMEOUT_S, metadata=self._metadata)
                except grpc.RpcError as error:
                    with self._lock:
                        self.failed[" ".join(str(error).split())] += 1
                    self._stopping.wait(0.05)
                else:
                    with self._lock:
                        self.answered += 1
                    self._stopping.wait(PAUSE_S)


class MixedLoad:
    """HTTP on the model that runs in the gateways and on the remote one, gRPC on the latter."""

    def __init__(self, url: str, grpc_address: str, key: str) -> None:
        self.http = Load(url, key, pause_s=PAUSE_S)
        self.remote = Load(url, key, model="far", pause_s=PAUSE_S)
        self.grpc = GrpcLoad(grpc_address, key, "far")

    def __enter__(self) -> Self:
        for load in (self.http, self.remote, self.grpc):
            load.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for load in (self.http, self.remote, self.grpc):
            load.__exit__(kind, error, at)

    @property
    def failed(self) -> Counter[str]:
        """What went wrong, of all."""
        return self.http.failed + self.remote.failed + self.grpc.failed

    @property
    def counts(self) -> tuple[int, int, int]:
        """Answers so far: inline over HTTP, remote over HTTP, remote over gRPC."""
        return self.http.count(), self.remote.count(), self.grpc.answered
