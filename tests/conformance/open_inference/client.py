"""The clients that are generated from the protocol's own OpenAPI document and proto file, unmodified."""

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from open_inference.grpc import protocol as pb
from open_inference.grpc.service import GRPCInferenceServiceStub
from open_inference.openapi.client import AsyncOpenInferenceClient, OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types import InferenceRequest, RequestInput

from tests.conformance.calls import Calls, Target, check_equal, check_holds, read_target, refused, settled

rest_calls = Calls()
grpc_calls = Calls()
PATIENCE_S = 10.0
ROW = list(range(16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A generated client and whom it asks."""

    client: Any
    target: Target

    def rpc(self, name: str, request: Any, *, tenant: str | None = "acme") -> Any:
        """The answer of an RPC."""
        metadata = () if tenant is None else tuple(self.target.bearer(tenant).items())
        return getattr(self.client, name)(request, metadata=metadata, timeout=PATIENCE_S)


def question() -> InferenceRequest:
    """A question to `simple`."""
    inputs = [RequestInput(name=name, shape=[1, 16], datatype="INT32", data=ROW) for name in ("INPUT0", "INPUT1")]
    return InferenceRequest(id="my-17", inputs=inputs)


def check_answer(answer: Any) -> None:
    """Raise unless the answer to `question()` is right."""
    outputs = {output.name: output for output in answer.outputs}
    data = outputs["OUTPUT0"].data
    check_equal([2 * one for one in ROW], [int(one) for one in getattr(data, "__root__", data)])
    check_equal(("simple", "1", "my-17"), (answer.model_name, answer.model_version, answer.id))
    check_equal(("INT32", [1, 16]), (outputs["OUTPUT0"].datatype, list(outputs["OUTPUT0"].shape)))


@rest_calls.named("check_server_liveness, check_server_readiness")
async def _server(asking: Asking) -> None:
    await settled(asking.client.check_server_liveness())
    await settled(asking.client.check_server_readiness())


@rest_calls.named("check_model_readiness, check_model_version_readiness")
async def _model(asking: Asking) -> None:
    await settled(asking.client.check_model_readiness("simple"))
    await settled(asking.client.check_model_version_readiness("simple", "1"))
    with refused(ApiError) as seen:
        await settled(asking.client.check_model_readiness("nobody"))
    check_equal(404, seen.error.status_code)


@rest_calls.named("read_server_metadata")
async def _server_metadata(asking: Asking) -> None:
    metadata = await settled(asking.client.read_server_metadata())

    check_equal("greenserve", metadata.name)
    check_equal(True, bool(metadata.version))


@rest_calls.named("read_model_metadata, read_model_version_metadata")
async def _model_metadata(asking: Asking) -> None:
    plain = await settled(asking.client.read_model_metadata("simple"))
    version = await settled(asking.client.read_model_version_metadata("simple", "1"))

    check_equal(plain, version)
    check_equal(["INPUT0", "INPUT1"], [one.name for one in plain.inputs])
    check_equal(["1"], plain.versions)


@rest_calls.named("model_infer, model_version_infer")
async def _infer(asking: Asking) -> None:
    check_answer(await settled(asking.client.model_infer("simple", request=question())))
    check_answer(await settled(asking.client.model_version_infer("simple", "1", request=question())))


@rest_calls.named("error: the generated error of a wrong request")
async def _error(asking: Asking) -> None:
    wrong = InferenceRequest(inputs=[RequestInput(name="INPUT0", shape=[1, 4], datatype="INT32", data=[1, 2, 3, 4])])
    with refused(ApiError) as seen:
        await settled(asking.client.model_infer("simple", request=wrong))
    check_equal(400, seen.error.status_code)
    check_holds(seen.error.body, "error", "INPUT")


@grpc_calls.named("ServerLive, ServerReady, ModelReady")
def _grpc_health(asking: Asking) -> None:
    check_equal(True, asking.rpc("ServerLive", pb.ServerLiveRequest()).live)
    check_equal(True, asking.rpc("ServerReady", pb.ServerReadyRequest()).ready)
    check_equal(True, asking.rpc("ModelReady", pb.ModelReadyRequest(name="simple", version="1")).ready)


@grpc_calls.named("ServerMetadata, ModelMetadata")
def _grpc_metadata(asking: Asking) -> None:
    check_equal("greenserve", asking.rpc("ServerMetadata", pb.ServerMetadataRequest()).name)
    metadata = asking.rpc("ModelMetadata", pb.ModelMetadataRequest(name="simple"))

    check_equal(["INPUT0", "INPUT1"], [one.name for one in metadata.inputs])
    check_equal([-1, 16], list(metadata.inputs[0].shape))


@grpc_calls.named("ModelInfer, typed contents")
def _grpc_infer(asking: Asking) -> None:
    answer = asking.rpc("ModelInfer", infer_request(raw=False))

    check_equal([2 * one for one in ROW], list(answer.outputs[0].contents.int_contents))
    check_equal(("simple", "1", "my-17"), (answer.model_name, answer.model_version, answer.id))


@grpc_calls.named("ModelInfer, raw contents")
def _grpc_raw(asking: Asking) -> None:
    answer = asking.rpc("ModelInfer", infer_request(raw=True))

    check_equal(b"".join((2 * one).to_bytes(4, "little") for one in ROW), answer.raw_output_contents[0])


@grpc_calls.named("error: the status of a wrong request")
def _grpc_error(asking: Asking) -> None:
    both = infer_request(raw=True)
    both.inputs[0].contents.int_contents.extend(ROW)
    with refused(grpc.RpcError) as seen:
        asking.rpc("ModelInfer", both)
    check_equal(grpc.StatusCode.INVALID_ARGUMENT, seen.error.code())
    with refused(grpc.RpcError) as seen:
        asking.rpc("ModelInfer", infer_request(raw=True), tenant=None)
    check_equal(grpc.StatusCode.UNAUTHENTICATED, seen.error.code())
    check_holds([name for name, _ in seen.error.trailing_metadata()], "greenserve-code", "greenserve-request-id")


def infer_request(*, raw: bool) -> Any:
    """A question to `simple` as a message."""
    request = pb.ModelInferRequest(model_name="simple", id="my-17")
    for name in ("INPUT0", "INPUT1"):
        tensor = request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        if raw:
            request.raw_input_contents.append(b"".join(one.to_bytes(4, "little") for one in ROW))
        else:
            tensor.contents.int_contents.extend(ROW)
    return request


async def main() -> None:
    """Every call with every generated client."""
    target = read_target()
    headers = target.bearer()
    with httpx.Client(headers=headers, timeout=PATIENCE_S) as http:
        client = OpenInferenceClient(base_url=target.url, httpx_client=http)
        await rest_calls.run("OpenInferenceClient", Asking(client=client, target=target))
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as http_async:
        client = AsyncOpenInferenceClient(base_url=target.url, httpx_client=http_async)
        await rest_calls.run("AsyncOpenInferenceClient", Asking(client=client, target=target))
    with grpc.insecure_channel(target.grpc) as channel:
        asking = Asking(client=GRPCInferenceServiceStub(channel), target=target)
        await grpc_calls.run("GRPCInferenceServiceStub", asking)


if __name__ == "__main__":
    asyncio.run(main())
