"""One question, asked over HTTP or over gRPC, and one form for what came back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import httpx

from greenserve.proto import inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question. `caller` names a key of the test's key ring, None sends none; `timeout_us` is the protocol's own."""

    texts: tuple[str, ...] = ("a good day",)
    model: str = "tiny"
    version: str = ""
    outputs: tuple[str, ...] = ()
    client_id: str | None = None
    caller: str | None = "acme"
    variant: str | None = None
    timeout_us: int | None = None
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer or a refusal: `code` is `ok` or the error's, `status` the protocol's own, `headers` are lower case."""

    code: str
    status: int | str
    message: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    outputs: Mapping[str, list[Any]] = field(default_factory=dict)
    shapes: Mapping[str, list[int]] = field(default_factory=dict)
    client_id: str | None = None
    model: str = ""
    version: str = ""


class Client(Protocol):
    """Asks one gateway over one protocol."""

    name: str

    def ask(self, ask: Ask, key: str | None) -> Told:
        """Send the question with a key; refusals are answers too."""

    def is_live(self) -> bool:
        """Whether the server says it lives."""

    def is_ready(self, model: str | None = None) -> bool:
        """Whether the server, or one of its models, says it is ready."""

    def metadata(self, model: str) -> Mapping[str, Any]:
        """What the server says of a model."""


class OverHttp:
    """The Open Inference Protocol in JSON; `http` takes whatever else is to be sent."""

    name = "http"

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()

    def ask(self, ask: Ask, key: str | None) -> Told:
        """POST the question."""
        version = f"/versions/{ask.version}" if ask.version else ""
        headers = dict(ask.hints) | ({} if key is None else {"authorization": f"Bearer {key}"})
        return told(self.http.post(f"/v2/models/{ask.model}{version}/infer", json=body_of(ask), headers=headers))

    def is_live(self) -> bool:
        """GET /v2/health/live."""
        return self.http.get("/v2/health/live").status_code == 200

    def is_ready(self, model: str | None = None) -> bool:
        """GET /v2/health/ready or the model's own."""
        return self.http.get("/v2/health/ready" if model is None else f"/v2/models/{model}/ready").status_code == 200

    def metadata(self, model: str) -> Mapping[str, Any]:
        """GET the model."""
        found: dict[str, Any] = self.http.get(f"/v2/models/{model}").json()
        return found


class OverGrpc:
    """The Open Inference Protocol in protobuf, typed contents."""

    name = "grpc"

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.channel.close()

    def ask(self, ask: Ask, key: str | None) -> Told:
        """Call ModelInfer."""
        return self.infer(
            message_of(ask), dict(ask.hints) | ({} if key is None else {"authorization": f"Bearer {key}"})
        )

    def infer(
        self, message: pb.ModelInferRequest, metadata: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> Told:
        """Call ModelInfer with a message of one's own."""
        call = self._method("ModelInfer", pb.ModelInferRequest, pb.ModelInferResponse)
        try:
            response, state = call.with_call(message, metadata=tuple(metadata.items()), timeout=timeout_s)
        except grpc.RpcError as error:
            refused: Any = error
            trailing = {name: str(value) for name, value in refused.trailing_metadata() or ()}
            return Told(
                code=trailing.get("greenserve-code", ""),
                status=refused.code().name,
                message=refused.details() or "",
                headers=trailing,
            )
        return _answer(response, {name: str(value) for name, value in state.trailing_metadata()})

    def call(self, name: str, request: Any, response: Any) -> Any:
        """Any other RPC of the service."""
        return self._method(name, type(request), response)(request, timeout=TIMEOUT_S)

    def is_live(self) -> bool:
        """Call ServerLive."""
        return bool(self.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live)

    def is_ready(self, model: str | None = None) -> bool:
        """Call ServerReady or ModelReady."""
        if model is None:
            return bool(self.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready)
        return bool(self.call("ModelReady", pb.ModelReadyRequest(name=model), pb.ModelReadyResponse).ready)

    def metadata(self, model: str) -> Mapping[str, Any]:
        """Call ModelMetadata, in JSON's form."""
        found = self.call("ModelMetadata", pb.ModelMetadataRequest(name=model), pb.ModelMetadataResponse)
        tensors = {
            kind: [
                {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in getattr(found, kind)
            ]
            for kind in ("inputs", "outputs")
        }
        return {"name": found.name, "versions": list(found.versions), "platform": found.platform} | tensors

    def _method(self, name: str, request: Any, response: Any) -> Any:
        return self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )


def body_of(ask: Ask) -> dict[str, Any]:
    """The JSON body of a question."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(ask.texts)], "data": list(ask.texts)}
    parameters = {"greenserve_variant": ask.variant, "timeout": ask.timeout_us}
    return {
        "inputs": [tensor],
        "outputs": [{"name": name} for name in ask.outputs],
        "parameters": {name: value for name, value in parameters.items() if value is not None},
    } | ({} if ask.client_id is None else {"id": ask.client_id})


def message_of(ask: Ask) -> pb.ModelInferRequest:
    """The protobuf message of a question."""
    message = pb.ModelInferRequest(model_name=ask.model, model_version=ask.version, id=ask.client_id or "")
    tensor = message.inputs.add(name="text", datatype="BYTES", shape=[len(ask.texts)])
    tensor.contents.bytes_contents.extend(text.encode() for text in ask.texts)
    for name in ask.outputs:
        message.outputs.add(name=name)
    if ask.variant is not None:
        message.parameters["greenserve_variant"].string_param = ask.variant
    if ask.timeout_us is not None:
        message.parameters["timeout"].int64_param = ask.timeout_us
    return message


def told(response: httpx.Response) -> Told:
    """What an HTTP response says."""
    document = response.json()
    if response.status_code != 200:
        return Told(
            code=document["code"],
            status=response.status_code,
            message=document["error"],
            headers=response.headers,
            parameters=document,
        )
    return Told(
        code="ok",
        status=200,
        message="",
        headers=response.headers,
        parameters=document["parameters"],
        outputs={output["name"]: output["data"] for output in document["outputs"]},
        shapes={output["name"]: output["shape"] for output in document["outputs"]},
        client_id=document.get("id"),
        model=document["model_name"],
        version=document["model_version"],
    )


def _answer(response: pb.ModelInferResponse, trailing: Mapping[str, str]) -> Told:
    outputs: dict[str, list[Any]] = {}
    for output in response.outputs:
        contents = output.contents
        outputs[output.name] = [one.decode() for one in contents.bytes_contents] or list(contents.fp32_contents)
    return Told(
        code="ok",
        status="OK",
        message="",
        headers=trailing,
        parameters={
            name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
            for name, value in response.parameters.items()
        },
        outputs=outputs,
        shapes={output.name: list(output.shape) for output in response.outputs},
        client_id=response.id or None,
        model=response.model_name,
        version=response.model_version,
    )
