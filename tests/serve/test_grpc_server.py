"""A real gRPC server and real clients on loopback: every RPC, deadlines, cancellation, refusals, drain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from greenserve.proto import inference_pb2 as pb
from greenserve.serve import describe
from greenserve.serve.door import Door
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.admitting import host_of
from greenserve.serve.grpc.carbon import CARBON_SERVICE
from greenserve.serve.grpc.service import SERVICE
from greenserve.serve.trust import TrustedPeers
from tests.serve.building import HeldEngines, until
from tests.serve.grpc_serving import MAX_BODY_BYTES, Served, a_message, refusal, serving

HEALTH = "grpc.health.v1.Health"
RPCS = {
    *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"),
    *("ModelStreamInfer", "ModelConfig", "ModelStatistics", "RepositoryIndex"),
}
CHECK = (health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)


@pytest.fixture
async def served(gateway: Gateway) -> AsyncIterator[Served]:
    """The tiny model behind gRPC."""
    async with serving(gateway) as running:
        yield running


async def status_of(served: Served, service: str) -> int:
    """What health says of a service."""
    check = served.unary("Check", *CHECK, service=HEALTH)
    return int((await check(health_pb2.HealthCheckRequest(service=service))).status)


async def test_an_answer_carries_its_facts_in_parameters_and_in_trailing_metadata(served: Served) -> None:
    """The same request id in both; typed contents where the request was typed."""
    response, trailing = await served.infer(a_message("a good day", id="mine"))

    assert ("tiny", "1", "mine") == (response.model_name, response.model_version, response.id)
    assert ["label", "probabilities"] == [output.name for output in response.outputs]
    assert 1 == len(response.outputs[0].contents.bytes_contents)
    assert [] == list(response.raw_output_contents)
    assert response.parameters["greenserve_request_id"].string_param == trailing["greenserve-request-id"]
    assert trailing["greenserve-route"].startswith(response.parameters["greenserve_region"].string_param + "/")


async def test_a_raw_question_gets_a_raw_answer_with_the_same_values(served: Served) -> None:
    """The answer mirrors the request's form."""
    typed, _ = await served.infer(a_message("a good day", "an awful day"))

    raw, _ = await served.infer(a_message("a good day", "an awful day", raw=True))

    assert 2 == len(raw.raw_output_contents)
    assert not any(output.HasField("contents") for output in raw.outputs)
    assert len(typed.outputs[1].contents.fp32_contents) * 4 == len(raw.raw_output_contents[1])


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_read(served: Served, compression: grpc.Compression) -> None:
    """gRPC's own compression works both ways."""
    response, _ = await served.infer(a_message("a good day " * 10), compression=compression)

    assert 2 == len(response.outputs)


async def test_what_the_server_says_of_a_model_is_what_http_says(served: Served, gateway: Gateway) -> None:
    """Metadata and configuration come from one document per model."""
    model = gateway.models.find("tiny")
    named: Any = {"name": "tiny", "version": "1"}

    metadata, _ = await served.call("ModelMetadata", pb.ModelMetadataRequest(**named), pb.ModelMetadataResponse)
    config, _ = await served.call("ModelConfig", pb.ModelConfigRequest(**named), pb.ModelConfigResponse)
    server, _ = await served.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)

    def shown(message: Message) -> dict[str, Any]:
        return MessageToDict(message, preserving_proto_field_name=True)

    told: Any = describe.metadata_of(model)
    assert told["platform"] == metadata.platform
    assert [tuple(each["shape"]) for each in told["outputs"]] == [tuple(each.shape) for each in metadata.outputs]
    assert [each["datatype"] for each in told["inputs"]] == [each.datatype for each in metadata.inputs]
    configured: Any = describe.config_of(model)
    assert configured["parameters"] == shown(config)["config"]["parameters"]
    assert [each["data_type"] for each in configured["output"]] == [
        each["data_type"] for each in shown(config)["config"]["output"]
    ]
    assert describe.server_metadata()["extensions"] == list(server.extensions)


async def test_statistics_are_those_of_the_replica(served: Served) -> None:
    """For one model or for all; a model that was never asked shows no time of a last inference."""
    served.statistics.ran("tiny", "1", "fp32", items=4, took_ns=3_000_000)
    served.statistics.failed("tiny", "1", after_ns=500)

    one, _ = await served.call("ModelStatistics", pb.ModelStatisticsRequest(name="tiny"), pb.ModelStatisticsResponse)
    every, _ = await served.call("ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)

    assert one == every
    (found,) = one.model_stats
    assert ("tiny", "1", 1, 0) == (found.name, found.version, found.execution_count, found.last_inference)
    assert (1, 500) == (found.inference_stats.fail.count, found.inference_stats.fail.ns)
    assert [(4, 1, 3_000_000)] == [
        (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) for batch in found.batch_stats
    ]


async def test_the_repository_lists_what_is_served_and_whether_it_answers(served: Served) -> None:
    """A gateway that drains has nothing that is ready."""
    ready, _ = await served.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse)
    served.health.draining = True

    draining, _ = await served.call("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    none, _ = await served.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse)

    assert [("tiny", "1", "READY")] == [(model.name, model.version, model.state) for model in ready.models]
    assert ["UNAVAILABLE"] == [model.state for model in draining.models]
    assert [] == list(none.models)


@pytest.mark.parametrize(
    ("name", "request_", "kind"),
    [
        ("ModelReady", pb.ModelReadyRequest(name="large"), pb.ModelReadyResponse),
        ("ModelMetadata", pb.ModelMetadataRequest(name="tiny", version="9"), pb.ModelMetadataResponse),
        ("ModelConfig", pb.ModelConfigRequest(name="large"), pb.ModelConfigResponse),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="large"), pb.ModelStatisticsResponse),
        ("RepositoryIndex", pb.RepositoryIndexRequest(repository_name="other"), pb.RepositoryIndexResponse),
        ("ModelInfer", pb.ModelInferRequest(model_name="large"), pb.ModelInferResponse),
    ],
)
async def test_what_is_not_there_is_not_found(
    served: Served, name: str, request_: Message, kind: type[Message]
) -> None:
    """The message repeats what was asked for."""
    if isinstance(request_, pb.ModelInferRequest):
        request_ = a_message("good", model_name="large")

    refused = await refusal(served.call(name, request_, kind))

    assert "NOT_FOUND" == refused.status
    assert refused.trailing["greenserve-code"] in {"model-unknown", "not-found"}
    assert any(word in str(refused) for word in ("'large'", "'9'", "'other'"))


@pytest.mark.parametrize("name", ["RepositoryModelLoad", "SystemSharedMemoryRegister", "TraceSetting", "Nothing"])
async def test_other_calls_of_the_service_are_unimplemented_and_say_what_is_offered(served: Served, name: str) -> None:
    """The refusal names the call and lists those that work."""
    refused = await refusal(served.unary(name, Empty, Empty)(Empty()))

    assert ("UNIMPLEMENTED", "not-implemented") == (refused.status, refused.trailing["greenserve-code"])
    assert repr(name) in str(refused)
    assert all(offered in str(refused) for offered in RPCS)


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x2a\x01\x0a"])
async def test_bytes_that_are_no_message_are_refused_in_words(served: Served, raw: bytes) -> None:
    """Broken protobuf and text that is not UTF-8 are the request's fault, not the server's."""
    call = served.channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw)

    refused = await refusal(call)

    assert ("INVALID_ARGUMENT", "invalid-request") == (refused.status, refused.trailing["greenserve-code"])
    assert "ModelInferRequest" in str(refused)


async def test_a_message_over_the_limit_is_refused_by_size(served: Served) -> None:
    """With the limit in the message; twice the limit is refused by gRPC itself, and the server lives on."""
    refused = await refusal(served.infer(a_message("x" * MAX_BODY_BYTES)))
    far_over = await refusal(served.infer(a_message("x" * 3 * MAX_BODY_BYTES)))
    bomb = await refusal(served.infer(a_message("x" * 200 * MAX_BODY_BYTES), compression=grpc.Compression.Gzip))

    assert ("INVALID_ARGUMENT", "body-too-large") == (refused.status, refused.trailing["greenserve-code"])
    assert f"{MAX_BODY_BYTES:,}" in str(refused)
    assert ["RESOURCE_EXHAUSTED"] * 2 == [far_over.status, bomb.status]
    assert (await served.infer(a_message()))[0].outputs


async def test_the_clients_deadline_ends_the_work(served: Served, engines: HeldEngines) -> None:
    """What waits for the engine past its client's deadline never runs."""
    engines.hold()
    first = asyncio.ensure_future(served.infer(a_message("good"), timeout=10.0))
    await until(lambda: len(engines.batches) == 1)

    refused = await refusal(served.infer(a_message("bad"), timeout=0.05))
    await until(lambda: served.calls.running == 1)
    engines.release(10)
    await first

    assert "DEADLINE_EXCEEDED" == refused.status
    assert 1 == len(engines.batches)


async def test_a_client_that_leaves_takes_its_work_with_it(served: Served, engines: HeldEngines) -> None:
    """Cancelled before it ran, it never runs."""
    engines.hold()
    first = asyncio.ensure_future(served.infer(a_message("good")))
    await until(lambda: len(engines.batches) == 1)
    second = served.unary("ModelInfer", pb.ModelInferRequest, pb.ModelInferResponse)(a_message("bad"))
    await until(lambda: served.calls.running == 2)

    second.cancel()
    await until(lambda: served.calls.running == 1)
    engines.release(10)
    await first

    assert 1 == len(engines.batches)


async def test_a_stream_answers_in_the_order_of_completion(served: Served, engines: HeldEngines) -> None:
    """A refusal overtakes what still runs, and carries its own request's id."""
    engines.hold()
    stream = served.stream()
    await stream.write(a_message("good", id="slow"))
    await until(lambda: len(engines.batches) == 1)
    await stream.write(a_message("good", model_name="large", id="refused"))

    refused = await stream.read()
    engines.release(10)
    answered = await stream.read()
    await stream.done_writing()

    assert ("refused", "large") == (refused.infer_response.id, refused.infer_response.model_name)
    assert "'large'" in refused.error_message
    assert "model-unknown" == refused.infer_response.parameters["greenserve_code"].string_param
    assert ("slow", "") == (answered.infer_response.id, answered.error_message)
    assert answered.infer_response.parameters["triton_final_response"].bool_param
    assert grpc.aio.EOF is await stream.read()
    assert grpc.StatusCode.OK is await stream.code()


async def test_a_broken_message_on_a_stream_is_answered_on_the_stream(served: Served) -> None:
    """The stream goes on after it."""
    stream = served.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer", response_deserializer=pb.ModelStreamInferResponse.FromString
    )()
    await stream.write(b"\xff\xff")
    refused = await stream.read()
    await stream.write(a_message("good", raw=True).SerializeToString())

    answered = await stream.read()
    await stream.done_writing()

    assert "ModelInferRequest" in refused.error_message
    assert ("", 2) == (answered.error_message, len(answered.infer_response.raw_output_contents))


async def test_a_client_that_leaves_its_stream_takes_all_its_work_with_it(served: Served, engines: HeldEngines) -> None:
    """What waits never runs; the server forgets the stream."""
    engines.hold()
    stream = served.stream()
    await stream.write(a_message("good"))
    await until(lambda: len(engines.batches) == 1)
    for word in ("bad", "great"):
        await stream.write(a_message(word))
    await until(lambda: served.calls.running == 3)

    stream.cancel()
    await until(lambda: served.calls.running == 0)
    await until(lambda: "0 open" in repr(served.service.streams))
    engines.release(10)

    assert 1 == len(engines.batches)


async def test_a_server_that_stops_answers_what_a_stream_asked_and_then_ends_it(
    served: Served, engines: HeldEngines
) -> None:
    """UNAVAILABLE, with the code `draining` and when to come back."""
    engines.hold()
    stream = served.stream()
    await stream.write(a_message("good", id="last"))
    await until(lambda: len(engines.batches) == 1)

    stopping = asyncio.ensure_future(served.server.stop(grace_s=5.0))
    await asyncio.sleep(0)
    engines.release(10)
    answered = await stream.read()
    code = await stream.code()
    await stopping

    assert ("last", "") == (answered.infer_response.id, answered.error_message)
    assert grpc.StatusCode.UNAVAILABLE is code
    trailing = dict(await stream.trailing_metadata())
    assert ("draining", "1") == (trailing["greenserve-code"], trailing["retry-after"])


async def test_only_trusted_peers_are_answered_where_a_proxy_ends_tls(gateway: Gateway) -> None:
    """Others are refused, on unary calls and on streams."""
    async with serving(gateway, trusted=TrustedPeers(("10.0.0.0/8",))) as strict:
        refused = await refusal(strict.infer(a_message()))
        stream = strict.stream()
        code = await stream.code()
    async with serving(gateway, trusted=TrustedPeers(("127.0.0.0/8",))) as fair:
        answered, _ = await fair.infer(a_message())

    assert ("PERMISSION_DENIED", grpc.StatusCode.PERMISSION_DENIED) == (refused.status, code)
    assert "127.0.0.1" in str(refused)
    assert 2 == len(answered.outputs)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:[::1]:5000", "::1"),
        ("ipv6:%5Bfe80::1%5D:5000", "fe80::1"),
        ("unix:/tmp/x", ""),
    ],
)
def test_the_host_of_a_peer_is_read(peer: str, host: str) -> None:
    """In the forms that gRPC has for it."""
    assert host == host_of(peer)


@pytest.mark.parametrize("service", ["", SERVICE, CARBON_SERVICE, HEALTH, "grpc.reflection.v1alpha.ServerReflection"])
async def test_health_follows_the_replicas_own(served: Served, service: str) -> None:
    """SERVING while requests are taken, NOT_SERVING at once when it drains."""
    before = await status_of(served, service)
    served.health.draining = True

    after = await status_of(served, service)

    status = health_pb2.HealthCheckResponse
    assert [status.SERVING, status.NOT_SERVING] == [before, after]


async def test_health_of_an_unknown_service_is_not_found(served: Served) -> None:
    """As the protocol of health has it."""
    check = served.unary("Check", *CHECK, service=HEALTH)

    assert "NOT_FOUND" == (await refusal(check(health_pb2.HealthCheckRequest(service="other")))).status


async def test_who_watches_health_hears_of_the_drain_and_holds_up_no_stop(served: Served) -> None:
    """NOT_SERVING is told before the stream ends, and the server does not wait its grace for a watcher."""
    request, response = CHECK
    watch = served.channel.unary_stream(
        f"/{HEALTH}/Watch", request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )(request(service=SERVICE))
    first = await watch.read()

    async with asyncio.timeout(3.0):
        await served.server.stop(grace_s=30.0)
    second = await watch.read()

    assert [response.SERVING, response.NOT_SERVING] == [first.status, second.status]


@pytest.mark.parametrize(
    ("service", "rpcs"), [(SERVICE, RPCS), (CARBON_SERVICE, {"GetReceipt", "Explain", "StreamIntensity"})]
)
async def test_reflection_shows_every_rpc(served: Served, service: str, rpcs: set[str]) -> None:
    """Those that are answered and no others."""
    ask = served.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await ask.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
    answer = await ask.read()
    await ask.done_writing()

    (file,) = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    assert rpcs == {method.name for described in file.service for method in described.method}


async def test_requests_of_a_stream_ask_the_door_as_all_others_do(gateway: Gateway) -> None:
    """Who finds no room is refused on the stream, which goes on."""

    class Once(Door):
        asked = 0

        def lets_in(self, credential: object, model: str | None, now_ns: int) -> bool:
            self.asked += 1
            return self.asked == 1

    async with serving(gateway, door=Once()) as served:
        stream = served.stream()
        answers = []
        for number in range(3):
            await stream.write(a_message("good", id=str(number)))
            answers.append(await stream.read())
        await stream.done_writing()

    codes = [each.infer_response.parameters["greenserve_code"].string_param for each in answers]
    assert ["", "overloaded", "overloaded"] == codes
    assert ["0", "1", "2"] == [each.infer_response.id for each in answers]
