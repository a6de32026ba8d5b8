"""The RPCs of `inference.GRPCInferenceService`, handled without generated service code."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from greenserve.errors import GreenServeError, InvalidRequest, NotFound, NotImplementedHere
from greenserve.ports import Clock
from greenserve.proto import inference_pb2 as pb
from greenserve.serve import describe, names
from greenserve.serve.door import Door, turned_away
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.admitting import Gate, check_peer, readable
from greenserve.serve.grpc.codec import call_of, response_of
from greenserve.serve.grpc.described import message_of
from greenserve.serve.grpc.parsing import parsed
from greenserve.serve.grpc.refusals import abort, known, metadata_of
from greenserve.serve.grpc.stream import Streams
from greenserve.serve.health import Health
from greenserve.serve.hints import credential_of
from greenserve.serve.statistics import Statistics
from greenserve.serve.trust import TrustedPeers

SERVICE = "inference.GRPCInferenceService"
MIB = 1_048_576
Method = Callable[[Any, Any], Awaitable[Message]]
Rpc = Callable[[bytes, Any], Awaitable[bytes]]


class InferenceService:
    """Decodes, calls the gateway, encodes; `max_body_bytes` and `max_elements` bound a message and a tensor.

    `trusted` are the only peers that are answered (a proxy that ends TLS); None answers everybody.
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        health: Health,
        clock: Clock,
        statistics: Statistics,
        trusted: TrustedPeers | None = None,
        door: Door | None = None,
        max_body_bytes: int = 8 * MIB,
        max_elements: int = 4 * MIB,
    ) -> None:
        self.health = health
        self.gate = Gate()
        self.streams = Streams(gate=self.gate)
        self._gateway = gateway
        self._door = door or Door()
        self._clock = clock
        self._statistics = statistics
        self._trusted = trusted
        self._max_body_bytes = max_body_bytes
        self._max_elements = max_elements
        unary: dict[str, tuple[Method, type[Message]]] = {
            "ServerLive": (self._server_live, pb.ServerLiveRequest),
            "ServerReady": (self._server_ready, pb.ServerReadyRequest),
            "ModelReady": (self._model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self._server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self._model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": (self._model_config, pb.ModelConfigRequest),
            "ModelStatistics": (self._model_statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": (self._repository_index, pb.RepositoryIndexRequest),
            "ModelInfer": (self._model_infer, pb.ModelInferRequest),
        }
        self._handlers = {
            f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(self._guarded(method, kind))
            for name, (method, kind) in unary.items()
        } | {f"/{SERVICE}/ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._model_stream_infer)}

    def service(self, details: Any) -> Any:
        """What gRPC asks a handler of paths: one RPC's handler, a refusal for those not offered, None for others."""
        handler = self._handlers.get(details.method)
        if handler is None and details.method.startswith(f"/{SERVICE}/"):
            return grpc.stream_stream_rpc_method_handler(self._not_offered(details.method))
        return handler

    def _guarded(self, method: Method, kind: type[Message]) -> Rpc:
        """Parse and serialise around a method; every fault leaves as a status."""

        async def guarded(raw: bytes, context: Any) -> bytes:
            try:
                if self._trusted is not None:
                    check_peer(context, self._trusted)
                message = await method(parsed(kind, raw, most_bytes=self._max_body_bytes), context)
                answer = message.SerializeToString()
            except Exception as error:
                await self.gate.passed()
                told = known(error)
                error.__traceback__ = None  # its frames hold what the request waited for, which holds it: a ring
                return await abort(context, told)
            if self.gate.held:
                await self.gate.passed()
            return answer

        return guarded

    def _not_offered(self, path: str) -> Callable[[Any, Any], Awaitable[None]]:
        offered = ", ".join(sorted(each.rpartition("/")[2] for each in self._handlers))
        name = path.rpartition("/")[2]

        async def refuse(_requests: Any, context: Any) -> None:
            await abort(context, NotImplementedHere(f"{name!r:.80} is not offered here; offered are {offered}"))

        return refuse

    async def _server_live(self, request: Any, context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.health.ready)

    async def _server_metadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:
        return message_of(describe.server_metadata(), pb.ServerMetadataResponse)

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        self._gateway.models.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=self.health.ready)

    async def _model_metadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        model = self._gateway.models.find(request.name, request.version)
        return message_of(describe.metadata_of(model), pb.ModelMetadataResponse)

    async def _model_config(self, request: pb.ModelConfigRequest, context: Any) -> pb.ModelConfigResponse:
        model = self._gateway.models.find(request.name, request.version)
        return message_of({"config": describe.config_of(model)}, pb.ModelConfigResponse)

    async def _model_statistics(self, request: pb.ModelStatisticsRequest, context: Any) -> pb.ModelStatisticsResponse:
        models = self._gateway.models
        asked = [models.find(request.name, request.version)] if request.name else models
        return message_of(describe.statistics_of(asked, self._statistics), pb.ModelStatisticsResponse)

    async def _repository_index(self, request: pb.RepositoryIndexRequest, context: Any) -> pb.RepositoryIndexResponse:
        if request.repository_name:
            raise NotFound(f"no repository {request.repository_name!r:.80}; there is one, and it has no name")
        ready = self.health.ready
        listed = describe.index_of(self._gateway.models, ready=ready) if ready or not request.ready else []
        return message_of({"models": listed}, pb.RepositoryIndexResponse)

    async def _model_infer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        metadata = readable(context)
        credential = metadata.get("authorization", "").partition(" ")[2].strip() or None
        if not self._door.lets_in(credential, request.model_name, self._clock.monotonic_ns()):
            raise turned_away()
        answer = await self._gateway.handle(self._call(request, metadata, context.time_remaining()))
        context.set_trailing_metadata(metadata_of(names.facts_of(answer)))
        return response_of(answer, raw=bool(request.raw_input_contents))

    async def _model_stream_infer(self, _requests: Any, context: Any) -> None:
        metadata = readable(context)

        credential = metadata.get("authorization", "").partition(" ")[2].strip() or None

        async def answering(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
            if not self._door.lets_in(credential, request.model_name, self._clock.monotonic_ns()):
                raise turned_away()
            if names.IDEMPOTENCY_KEY in metadata:
                raise InvalidRequest("Idempotency-Key: it names one request, a stream holds many; call ModelInfer")
            answer = await self._gateway.handle(self._call(request, metadata, context.time_remaining()))
            return response_of(answer, raw=bool(request.raw_input_contents))

        def parse(raw: bytes) -> pb.ModelInferRequest:
            return parsed(pb.ModelInferRequest, raw, most_bytes=self._max_body_bytes)

        try:
            if self._trusted is not None:
                check_peer(context, self._trusted)
            self._gateway.admission.authenticate(credential_of(metadata))  # nothing is read for those without a key
            await self.streams.answer(context, parse, answering)
        except GreenServeError as error:
            await self.gate.passed()
            await abort(context, error)

    def _call(self, request: pb.ModelInferRequest, metadata: dict[str, str], remaining_s: float | None) -> Any:
        return call_of(
            request,
            metadata,
            received_ns=self._clock.monotonic_ns(),
            remaining_s=remaining_s,
            most_elements=self._max_elements,
        )
