"""The gRPC client against a real server on loopback."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from greenserve.errors import InvalidKey, NotReady
from greenserve.loadtest.answer import cost_of
from greenserve.loadtest.grpc_client import infer, infer_async, request_of
from greenserve.proto.inference_pb2 import ModelInferRequest, ModelInferResponse

KEY = "gs_test"


def answer(request: Any, context: Any) -> Any:
    if ("authorization", f"Bearer {KEY}") not in {(name, value) for name, value in context.invocation_metadata()}:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown key")
    texts = request.inputs[0].contents.bytes_contents
    context.set_trailing_metadata((("greenserve-energy", f"{100 * len(texts)};u=uJ;tier=modelled"), ("x-bin", b"\x00")))
    return ModelInferResponse(model_name=request.model_name, id=texts[-1].decode())


@pytest.fixture
def address() -> Iterator[str]:
    """A gRPC server that answers ModelInfer."""
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=ModelInferRequest.FromString,
        response_serializer=ModelInferResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_texts_go_out_as_one_bytes_tensor() -> None:
    """UTF-8, shape [n]."""
    request = request_of("sentiment", ["good", "schön"])

    assert ("text", "BYTES", [2]) == (request.inputs[0].name, request.inputs[0].datatype, list(request.inputs[0].shape))
    assert [b"good", "schön".encode()] == list(request.inputs[0].contents.bytes_contents)


def test_a_blocking_call_returns_answer_and_costs(address: str) -> None:
    """The response, and the trailing metadata that a cost is read from."""
    with grpc.insecure_channel(address) as channel:
        response, trailing = infer(channel, "sentiment", ["a", "b"], KEY)

    assert ("sentiment", "b") == (response.model_name, response.id)
    assert 200 == cost_of(trailing).energy_uj


async def test_an_asynchronous_call_returns_the_same(address: str) -> None:
    """grpc.aio: same answer, same costs."""
    async with grpc.aio.insecure_channel(address) as channel:
        response, trailing = await infer_async(channel, "sentiment", ["a"], KEY)

    assert "a" == response.id
    assert (100, "modelled") == (cost_of(trailing).energy_uj, cost_of(trailing).tier)


async def test_a_status_becomes_an_error_of_ours(address: str) -> None:
    """The server's words are kept; nobody there is `not-ready`."""
    with grpc.insecure_channel(address) as channel, pytest.raises(InvalidKey, match="unknown key"):
        infer(channel, "sentiment", ["a"], "wrong")
    async with grpc.aio.insecure_channel(address) as aio_channel:
        with pytest.raises(InvalidKey, match="UNAUTHENTICATED"):
            await infer_async(aio_channel, "sentiment", ["a"])
    with grpc.insecure_channel("127.0.0.1:9") as nobody, pytest.raises(NotReady, match="UNAVAILABLE"):
        infer(nobody, "sentiment", ["a"], timeout_s=5.0)
