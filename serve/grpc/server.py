"""The grpc.aio server: handlers without generated service code, on a port that all replicas share."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from greenserve import __version__
from greenserve.errors import GreenServeError
from greenserve.ids import new_request_id
from greenserve.ports import Clock
from greenserve.proto import inference_pb2 as pb
from greenserve.serve import names
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.codec import call_of, response_of
from greenserve.serve.health import Health
from greenserve.serve.http.oip import metadata_of
from greenserve.serve.status import status_of

log = logging.getLogger("greenserve.grpc")
SERVICE = "inference.GRPCInferenceService"
CONCURRENT_RPCS = 768
Method = Callable[[Any, Any], Awaitable[Any]]


class InferenceService:
    """The RPCs of `inference.GRPCInferenceService`."""

    def __init__(self, *, gateway: Gateway, health: Health, clock: Clock, max_items: int) -> None:
        self._gateway = gateway
        self._health = health
        self._clock = clock
        self._max_items = max_items

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service as a generic handler."""
        methods: dict[str, tuple[Method, Any, Any]] = {
            "ServerLive": (self._server_live, pb.ServerLiveRequest, pb.ServerLiveResponse),
            "ServerReady": (self._server_ready, pb.ServerReadyRequest, pb.ServerReadyResponse),
            "ModelReady": (self._model_ready, pb.ModelReadyRequest, pb.ModelReadyResponse),
            "ServerMetadata": (self._server_metadata, pb.ServerMetadataRequest, pb.ServerMetadataResponse),
            "ModelMetadata": (self._model_metadata, pb.ModelMetadataRequest, pb.ModelMetadataResponse),
            "ModelInfer": (self._model_infer, pb.ModelInferRequest, pb.ModelInferResponse),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    _guarded(method),
                    request_deserializer=request.FromString,
                    response_serializer=response.SerializeToString,
                )
                for name, (method, request, response) in methods.items()
            },
        )

    async def _server_live(self, request: Any, context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._health.ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        self._gateway.models.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._health.ready)

    async def _server_metadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="greenserve", version=__version__, extensions=[])

    async def _model_metadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        described: Any = metadata_of(self._gateway.models.find(request.name, request.version))
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=described["name"],
            versions=described["versions"],
            platform=described["platform"],
            inputs=[tensor(**entry) for entry in described["inputs"]],
            outputs=[tensor(**entry) for entry in described["outputs"]],
        )

    async def _model_infer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        call = call_of(
            request,
            {name: value for name, value in context.invocation_metadata() if isinstance(value, str)},
            received_ns=self._clock.monotonic_ns(),
            remaining_s=context.time_remaining(),
            max_items=self._max_items,
        )
        answer = await self._gateway.handle(call)
        context.set_trailing_metadata(tuple((name.lower(), value) for name, value in names.facts_of(answer)))
        return response_of(answer, raw=bool(request.raw_input_contents))


def _guarded(method: Method) -> Method:
    """Map errors to gRPC status with the code in trailing metadata; no trace leaves."""

    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except GreenServeError as error:
            return await _abort(context, error)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            log.exception("RPC failed")
            return await _abort(context, GreenServeError("the gateway failed on this request; its log says why"))

    return guarded


async def _abort(context: Any, error: GreenServeError) -> NoReturn:
    trailing = [("greenserve-code", error.code), (names.REQUEST_ID.lower(), new_request_id())]
    if error.retry_after_s is not None:
        trailing.append(("retry-after", str(error.retry_after_s)))
    await context.abort(grpc.StatusCode[status_of(error).grpc], str(error), tuple(trailing))
    raise AssertionError("abort raises")


class GrpcServer:
    """One server with inference, health and reflection."""

    def __init__(self, service: InferenceService, *, max_message_bytes: int) -> None:
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=CONCURRENT_RPCS,
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_metadata_size", 16_384),
                ("grpc.max_concurrent_streams", 256),
                ("grpc.keepalive_time_ms", 60_000),
            ),
        )
        self._server.add_generic_rpc_handlers((service.handlers(),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names_served = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names_served, self._server)

    async def start(self, *, host: str, port: int) -> int:
        """Listen; the port that was bound. Raises OSError where it is taken."""
        bound = self._server.add_insecure_port(f"{host}:{port}")
        if bound == 0:
            raise OSError(f"gRPC cannot listen on {host}:{port}")
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(bound)

    async def stop(self, *, grace_s: float) -> None:
        """Report NOT_SERVING, refuse new calls, let running ones end within `grace_s`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
