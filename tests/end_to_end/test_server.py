"""What the server says of itself: health, readiness, metadata, reflection, unknown paths, `greenserve status`."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import grpc as grpc_library
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from greenserve import __version__
from greenserve.proto import inference_pb2 as pb
from tests.end_to_end.protocols import SERVICE, Ask, Client, OverGrpc, OverHttp, Told
from tests.gateway_process import GatewayProcess

Asking = Callable[[Client, Ask], Told]
METADATA = {
    "name": "tiny",
    "versions": ["1"],
    "platform": "greenserve",
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ],
}


def test_a_running_gateway_is_live_and_ready(client: Client) -> None:
    """Server and model, over both protocols."""
    assert (True, True, True) == (client.is_live(), client.is_ready(), client.is_ready("tiny"))


def test_the_model_describes_its_tensors(client: Client) -> None:
    """The same metadata over both protocols."""
    assert METADATA == client.metadata("tiny")


def test_the_server_names_itself(http: OverHttp, grpc: OverGrpc) -> None:
    """Name and version of the program, and the protocol's extensions."""
    extensions = ["binary_tensor_data", "model_configuration", "schedule_policy", "statistics"]
    over_grpc = grpc.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)

    assert {"name": "greenserve", "version": __version__, "extensions": extensions} == http.http.get("/v2").json()
    assert ("greenserve", __version__, extensions) == (over_grpc.name, over_grpc.version, list(over_grpc.extensions))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v3", 404, "not-found"),
        ("GET", "/v2/models", 404, "not-found"),
        ("GET", "/v2/models/tiny/explain", 404, "not-found"),
        ("GET", "/v2/models/nobody", 404, "model-unknown"),
        ("GET", "/v2/models/nobody/ready", 404, "model-unknown"),
        ("GET", "/v2/models/tiny/versions/9", 404, "model-unknown"),
        ("GET", "/v2/models/tiny/infer", 405, "method-not-allowed"),
        ("DELETE", "/v2/models/tiny/versions/1/infer", 405, "method-not-allowed"),
        ("POST", "/v2/models/tiny", 405, "method-not-allowed"),
        ("PUT", "/v2/health/ready", 405, "method-not-allowed"),
    ],
)
def test_a_wrong_path_or_method_is_said(method: str, path: str, status: int, code: str, http: OverHttp) -> None:
    """JSON with a code; on the protocol's own paths in its shape, elsewhere as problem details."""
    response = http.http.request(method, path)

    assert (status, code) == (response.status_code, response.json()["code"])
    kind = "application/json" if path.startswith("/v2") else "application/problem+json"
    assert kind == response.headers["content-type"]


@pytest.mark.parametrize(
    "path", ["/v2/models/tiny/versions/1", "/v2/models/tiny/versions/1/ready", "/livez", "/readyz"]
)
def test_the_other_paths_answer(path: str, http: OverHttp) -> None:
    """Versions, and the short health paths for probes."""
    assert 200 == http.http.get(path).status_code


def test_the_standard_health_service_answers(grpc: OverGrpc) -> None:
    """For the server as a whole and for the inference service; unknown services are NOT_FOUND."""
    stub = health_pb2_grpc.HealthStub(grpc.channel)

    for service in ("", SERVICE):
        found = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert health_pb2.HealthCheckResponse.SERVING == found.status
    with pytest.raises(grpc_library.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert "NOT_FOUND" == refused.value.code().name


def test_reflection_lists_the_service(grpc: OverGrpc) -> None:
    """A generic client finds out what there is to call."""
    stub = reflection_pb2_grpc.ServerReflectionStub(grpc.channel)

    (answer,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)

    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


def test_an_unknown_rpc_is_unimplemented(grpc: OverGrpc) -> None:
    """Not an internal error."""
    with pytest.raises(grpc_library.RpcError) as refused:
        grpc.call("CudaSharedMemoryStatus", pb.ServerLiveRequest(), pb.ServerLiveResponse)

    assert "UNIMPLEMENTED" == refused.value.code().name


def test_unknown_models_are_said_by_every_rpc(grpc: OverGrpc) -> None:
    """ModelReady and ModelMetadata map errors like ModelInfer."""
    for name, request, response in (
        ("ModelReady", pb.ModelReadyRequest(name="nobody"), pb.ModelReadyResponse),
        ("ModelMetadata", pb.ModelMetadataRequest(name="nobody"), pb.ModelMetadataResponse),
    ):
        with pytest.raises(grpc_library.RpcError) as refused:
            grpc.call(name, request, response)
        assert "NOT_FOUND" == refused.value.code().name


def test_raw_requests_get_raw_answers(grpc: OverGrpc, keys: dict[str, str]) -> None:
    """Length-prefixed strings in, length-prefixed labels and little-endian floats out."""
    request = pb.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="text", datatype="BYTES", shape=[2, 1])
    request.raw_input_contents.append(b"\4\0\0\0good\3\0\0\0bad")
    call = grpc.channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )

    response = call(request, metadata=(("authorization", f"Bearer {keys['acme']}"),), timeout=10)

    labels, probabilities = response.raw_output_contents
    assert b"\x08\0\0\0positive\x08\0\0\0negative" == labels
    assert 2 * 3 * 4 == len(probabilities)
    assert not response.outputs[0].HasField("contents")


def test_status_shows_the_running_gateway(gateway: GatewayProcess) -> None:
    """Addresses, models, regions and meter, for people and as JSON."""
    shown = gateway.run("status")
    document: Mapping[str, Any] = json.loads(gateway.run("status", "--json").stdout)

    assert 0 == shown.returncode
    assert gateway.url in shown.stdout
    assert "executed on this machine" in shown.stdout
    assert (True, gateway.url, 2) == (document["ready"], document["http"], document["replicas"])
    assert {"tiny": ["fp32", "int8-dyn", "static-8-int8"]} == document["models"]
    assert document["meter"]["tier"] in {"metered", "measured", "measured_raw", "modelled", "class_average"}
