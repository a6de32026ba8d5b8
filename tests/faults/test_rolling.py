"""Replicas that come and go under load: two share both ports, one ends, and no client notices."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest

from greenserve.loadtest.grpc_client import METHOD, request_of
from greenserve.proto.inference_pb2 import ModelInferResponse
from greenserve.serve.replica import GatewayReplica
from tests.faults.replicas import PATIENCE_S, a_gateway_config, a_replica
from tests.gateway_process import HOST
from tests.serve.listening import a_certificate

CLIENTS = 8
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good day"]}]}


class Pair(NamedTuple):
    """Two replicas of one gateway, and its ports."""

    first: GatewayReplica
    second: GatewayReplica
    http_port: int
    grpc_port: int


@pytest.fixture
def pair(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Both replicas take requests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    config = a_gateway_config(tiny_manifest, tmp_path)
    with a_replica(config, "first") as first, a_replica(config, "second") as second:
        yield Pair(first, second, config.server.http.port, config.server.grpc.port)


class Load:
    """Clients that ask until told to stop. State: `answered`, how often; `failed`, what went wrong."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._stop = asyncio.Event()
        self._more = asyncio.Condition()
        self.answered = 0
        self.failed: list[str] = []

    async def over_http(self) -> None:
        """Keep-alive connections; a new one after `Connection: close`, as every HTTP client does."""
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{self._pair.http_port}", trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    answer = await client.post("/v2/models/tiny/infer", json=BODY, timeout=PATIENCE_S)
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                    continue
                await self._note(None if answer.status_code == 200 else answer.text)

    async def over_grpc(self) -> None:
        """One channel, made anew by gRPC itself when the server sends it away."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"{HOST}:{self._pair.grpc_port}", options=options) as channel:
            call = a_call(channel)
            while not self._stop.is_set():
                try:
                    await call(request_of("tiny", ["good day"]), timeout=PATIENCE_S)
                except grpc.aio.AioRpcError as error:
                    await self._note(f"{error.code()} {error.details()}")
                else:
                    await self._note(None)

    async def _note(self, failure: str | None) -> None:
        if failure is not None:
            self.failed.append(failure)
        async with self._more:
            self.answered += failure is None
            self._more.notify_all()

    async def more(self, requests: int) -> None:
        """Wait for so many more answers."""
        wanted = self.answered + requests
        async with asyncio.timeout(PATIENCE_S), self._more:
            await self._more.wait_for(lambda: self.answered >= wanted or bool(self.failed))

    def stop(self) -> None:
        """Each client ends with the answer that it waits for."""
        self._stop.set()


async def test_a_replica_that_ends_under_load_loses_no_request(pair: Pair) -> None:
    """HTTP clients that reconnect when told to, and gRPC clients as they are: everything is answered."""
    load = Load(pair)
    clients = [asyncio.create_task(load.over_http()) for _ in range(CLIENTS)]
    clients += [asyncio.create_task(load.over_grpc()) for _ in range(CLIENTS)]
    await load.more(100)

    await asyncio.to_thread(pair.first.stop)
    await load.more(100)
    load.stop()
    await asyncio.gather(*clients)

    assert [] == load.failed
    assert (["draining"], []) == (pair.first.state()["missing"], pair.second.state()["missing"])


async def test_both_listeners_speak_tls(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one certificate; who does not know it, or speaks without TLS, is not served."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    certificate = a_certificate(tmp_path / "tls")
    config = a_gateway_config(tiny_manifest, tmp_path, certificate=certificate)
    grpc_address = f"{HOST}:{config.server.grpc.port}"
    with a_replica(config, "only"):
        known = ssl.create_default_context(cafile=str(certificate[0]))
        async with httpx.AsyncClient(verify=known, trust_env=False) as client:
            answer = await client.post(f"https://{HOST}:{config.server.http.port}/v2/models/tiny/infer", json=BODY)
        credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
        async with grpc.aio.secure_channel(grpc_address, credentials) as channel:
            response = await a_call(channel)(request_of("tiny", ["good day"]), timeout=PATIENCE_S)
        async with grpc.aio.insecure_channel(grpc_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await a_call(channel)(request_of("tiny", ["good day"]), timeout=PATIENCE_S)

    assert (200, "tiny", grpc.StatusCode.UNAVAILABLE) == (
        answer.status_code,
        response.model_name,
        refused.value.code(),
    )


def a_call(channel: grpc.aio.Channel) -> Any:
    """ModelInfer on a channel."""
    return channel.unary_unary(
        METHOD,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=ModelInferResponse.FromString,
    )
