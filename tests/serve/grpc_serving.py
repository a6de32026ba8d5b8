"""A real gRPC server on a gateway of the tests, and short words to call it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from greenserve.clock import SystemClock
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.call import Answer, Call
from greenserve.serve.door import Door
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.admitting import Gate
from greenserve.serve.grpc.carbon import CarbonService
from greenserve.serve.grpc.server import GrpcServer
from greenserve.serve.grpc.service import SERVICE, InferenceService
from greenserve.serve.health import Health
from greenserve.serve.statistics import Statistics
from greenserve.serve.trust import TrustedPeers

MAX_BODY_BYTES = 64 * 1024
HOST = "127.0.0.1"


Carbon = Callable[[Gateway, Gate], CarbonService]


def without_ledger(gateway: Gateway, gate: Gate) -> CarbonService:
    """The service of a gateway that has no ledger and explains nothing: only its streams work."""
    return CarbonService(gateway=gateway, receipts=cast(Any, None), explainer=cast(Any, None), gate=gate)


class Counting:
    """A gateway that counts the calls that it is handling."""

    def __init__(self, gateway: Gateway) -> None:
        self.models = gateway.models
        self.admission = gateway.admission
        self.running = 0
        self._gateway = gateway

    async def handle(self, call: Call) -> Answer:
        """As the gateway."""
        self.running += 1
        try:
            return await self._gateway.handle(call)
        finally:
            self.running -= 1


class Served:
    """A server that listens, its health and statistics, and a channel to it."""

    def __init__(
        self,
        gateway: Gateway,
        trusted: TrustedPeers | None = None,
        carbon: Carbon | None = None,
        door: Door | None = None,
    ) -> None:
        self.calls = Counting(gateway)
        self.health = Health(missing=set())
        self.statistics = Statistics(clock=SystemClock())
        self.service = InferenceService(
            gateway=cast(Gateway, self.calls),
            health=self.health,
            clock=SystemClock(),
            statistics=self.statistics,
            trusted=trusted,
            door=door,
            max_body_bytes=MAX_BODY_BYTES,
            max_elements=4_096,
        )
        self.carbon = (carbon or without_ledger)(gateway, self.service.gate)
        self.server = GrpcServer(self.service, self.carbon, max_message_bytes=2 * MAX_BODY_BYTES)
        self.port = 0
        self.channel: Any = None

    async def call(self, name: str, request: Message, kind: type[Message], **options: Any) -> Any:
        """The response to a unary call, and its trailing metadata; raises grpc.aio.AioRpcError."""
        call = self.unary(name, type(request), kind)(request, **options)
        return await call, dict(await call.trailing_metadata())

    async def infer(
        self, request: pb.ModelInferRequest, **options: Any
    ) -> tuple[pb.ModelInferResponse, dict[str, str]]:
        """ModelInfer."""
        found: tuple[pb.ModelInferResponse, dict[str, str]] = await self.call(
            "ModelInfer", request, pb.ModelInferResponse, **options
        )
        return found

    def unary(self, name: str, request: type[Message], response: type[Message], service: str = SERVICE) -> Any:
        """A method of the channel."""
        return self.channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def stream(self, **options: Any) -> Any:
        """An open ModelStreamInfer."""
        return self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )(**options)


@asynccontextmanager
async def serving(
    gateway: Gateway,
    *,
    trusted: TrustedPeers | None = None,
    carbon: Carbon | None = None,
    door: Door | None = None,
) -> AsyncIterator[Served]:
    """The gateway behind a real server on a free port of loopback; `carbon` makes the other service."""
    served = Served(gateway, trusted, carbon, door)
    served.port = await served.server.start(host=HOST, port=0)
    served.channel = grpc.aio.insecure_channel(f"{HOST}:{served.port}")
    try:
        yield served
    finally:
        await served.channel.close()
        await served.server.stop(grace_s=1.0)


class Refused(Exception):
    """What a refusal said."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.details())
        self.status: str = error.code().name
        self.trailing: Mapping[str, str] = dict(error.trailing_metadata())


async def refusal(call: Any) -> Refused:
    """The refusal with which a call ends; AssertionError where it is answered."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return Refused(error)
    raise AssertionError("it was answered")


def a_message(*texts: str, raw: bool = False, **fields: Any) -> pb.ModelInferRequest:
    """A question of the tiny model."""
    given = [text.encode() for text in texts or ("good",)]
    message = pb.ModelInferRequest(**({"model_name": "tiny"} | fields))
    tensor = message.inputs.add(name="text", datatype="BYTES", shape=[len(given)])
    if raw:
        message.raw_input_contents.append(b"".join(len(text).to_bytes(4, "little") + text for text in given))
    else:
        tensor.contents.bytes_contents.extend(given)
    return message
