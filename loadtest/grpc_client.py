"""A small Open Inference Protocol client over gRPC, blocking and asynchronous, without generated service code."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import grpc

from greenserve.errors import (
    DeadlineExceeded,
    GreenServeError,
    InferenceFailed,
    InvalidKey,
    InvalidRequest,
    ModelUnknown,
    NotReady,
    RateLimited,
)
from greenserve.proto.inference_pb2 import ModelInferRequest, ModelInferResponse

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT_S = 30.0
_ERRORS: Mapping[str, type[GreenServeError]] = MappingProxyType(
    {
        "UNAUTHENTICATED": InvalidKey,
        "PERMISSION_DENIED": InvalidKey,
        "NOT_FOUND": ModelUnknown,
        "INVALID_ARGUMENT": InvalidRequest,
        "RESOURCE_EXHAUSTED": RateLimited,
        "DEADLINE_EXCEEDED": DeadlineExceeded,
        "UNAVAILABLE": NotReady,
    }
)

Answer = tuple[ModelInferResponse, Mapping[str, str]]


@contextmanager
def channel_to(address: str) -> Iterator[Any]:
    """An open channel to `host:port`, without TLS (this version's gateway listens on loopback only)."""
    with grpc.insecure_channel(address) as channel:
        yield channel


def request_of(model: str, texts: Sequence[str]) -> ModelInferRequest:
    """One request with a BYTES tensor `text` of shape [len(texts)]."""
    request = ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    tensor.contents.bytes_contents.extend(text.encode() for text in texts)
    return request


def infer(
    channel: Any, model: str, texts: Sequence[str], key: str | None = None, *, timeout_s: float = TIMEOUT_S
) -> Answer:
    """Send texts on a `grpc.Channel`; the response, and its trailing metadata by name in lower case.

    Raises the GreenServeError that fits the status, with the server's own words.
    """
    try:
        response, call = _call(channel).with_call(request_of(model, texts), timeout=timeout_s, metadata=_metadata(key))
    except grpc.RpcError as error:
        raise _mapped(error) from None
    return response, _texts_of(call.trailing_metadata())


async def infer_async(
    channel: Any, model: str, texts: Sequence[str], key: str | None = None, *, timeout_s: float = TIMEOUT_S
) -> Answer:
    """The same on a `grpc.aio.Channel`."""
    call = _call(channel)(request_of(model, texts), timeout=timeout_s, metadata=_metadata(key))
    try:
        response = await call
        trailing = await call.trailing_metadata()
    except grpc.RpcError as error:
        raise _mapped(error) from None
    return response, _texts_of(trailing)


def _call(channel: Any) -> Any:
    return channel.unary_unary(
        METHOD,
        request_serializer=ModelInferRequest.SerializeToString,
        response_deserializer=ModelInferResponse.FromString,
    )


def _metadata(key: str | None) -> tuple[tuple[str, str], ...]:
    return () if key is None else (("authorization", f"Bearer {key}"),)


def _texts_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Mapping[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}


def _mapped(error: Any) -> GreenServeError:
    status = error.code().name
    return _ERRORS.get(status, InferenceFailed)(f"gRPC {status}: {error.details() or 'no details'}")
