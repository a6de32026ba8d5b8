"""gRPC on a whole running gateway of two replicas: what only this protocol has."""

from collections.abc import Iterator
from typing import Any

import grpc as grpc_client
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from greenserve.proto import carbon_pb2 as carbon
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.supervisor import wait_until
from tests.end_to_end.protocols import SERVICE, Ask, OverGrpc, message_of
from tests.gateway_process import GatewayProcess

QUESTIONS = 20


@pytest.fixture
def metadata(keys: dict[str, str], gateway: GatewayProcess) -> tuple[tuple[str, str], ...]:
    """The key of acme."""
    return (("authorization", f"Bearer {keys['acme']}"),)


def streamed(channel: Any, messages: Iterator[pb.ModelInferRequest], metadata: Any) -> list[Any]:
    """The answers of one ModelStreamInfer."""
    call = channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    return list(call(messages, metadata=metadata, timeout=20.0))


def test_a_stream_answers_every_question_of_its_own(grpc: OverGrpc, metadata: Any) -> None:
    """Twenty questions and a bad one, each answered with its own id."""
    asks = [Ask(texts=(f"a good day {number}",), client_id=str(number)) for number in range(QUESTIONS)]
    messages = [*map(message_of, asks), message_of(Ask(model="large", client_id="bad"))]

    answers = streamed(grpc.channel, iter(messages), metadata)

    refused = {each.infer_response.id: each.error_message for each in answers if each.error_message}
    answered = {each.infer_response.id for each in answers if not each.error_message}
    assert {str(number) for number in range(QUESTIONS)} == answered
    assert ["bad"] == list(refused)
    assert all(each.infer_response.parameters["triton_final_response"].bool_param for each in answers)


def test_a_stream_without_a_key_is_refused_before_it_is_read(grpc: OverGrpc, gateway: GatewayProcess) -> None:
    """As a whole, with the code of a missing key."""
    with pytest.raises(grpc_client.RpcError) as refused:
        streamed(grpc.channel, iter([message_of(Ask())]), ())

    assert grpc_client.StatusCode.UNAUTHENTICATED is refused.value.code()
    assert "invalid-key" == dict(refused.value.trailing_metadata())["greenserve-code"]


def test_configuration_and_repository_show_the_model(grpc: OverGrpc) -> None:
    """As Triton's clients ask for them."""
    config = grpc.call("ModelConfig", pb.ModelConfigRequest(name="tiny"), pb.ModelConfigResponse).config
    index = grpc.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse)

    assert ("tiny", ["text"]) == (config.name, [each.name for each in config.input])
    assert ("tiny", "READY") in [(model.name, model.state) for model in index.models]


def test_the_carbon_service_knows_the_request(grpc: OverGrpc, keys: dict[str, str], metadata: Any) -> None:
    """Its receipt once the ledger has it, why it went where it went, and the grid that it ran on."""

    def call(name: str, request: Any, response: Any, kind: str = "unary_unary") -> Any:
        path = f"/greenserve.v1.Carbon/{name}"
        method = getattr(grpc.channel, kind)(
            path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return method(request, metadata=metadata, timeout=20.0)

    def receipt_of(request_id: str) -> Any:
        try:
            return call("GetReceipt", carbon.GetReceiptRequest(request_id=request_id), carbon.Receipt)
        except grpc_client.RpcError as error:
            pending: Any = error
            assert "NOT_FOUND" == pending.code().name
            return None

    told = grpc.ask(Ask(), keys["acme"])
    request_id = str(told.parameters["greenserve_request_id"])
    wait_until(lambda: receipt_of(request_id) is not None, 10.0)
    receipt = receipt_of(request_id)
    explained = call("Explain", carbon.ExplainRequest(model="tiny"), carbon.Explanation)
    stream = call("StreamIntensity", carbon.StreamIntensityRequest(), carbon.Intensity, "unary_stream")
    grid = {next(stream).zone for _ in range(2)}
    stream.cancel()

    assert (request_id, "acme", "grpc") == (receipt.request_id, receipt.tenant, receipt.protocol)
    assert receipt.energy.tier
    assert receipt.energy.energy_joules
    assert explained.grids[0].picked
    assert {"ZZ-HERE", "ZZ-NORTH"} == grid


def test_health_is_told_per_service(grpc: OverGrpc) -> None:
    """With the standard client's own stub."""
    stub = health_pb2_grpc.HealthStub(grpc.channel)

    for service in ("", SERVICE, "greenserve.v1.Carbon"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5.0)
        assert health_pb2.HealthCheckResponse.SERVING == answer.status
    with pytest.raises(grpc_client.RpcError):
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=5.0)
