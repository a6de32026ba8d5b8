"""KServe's InferenceRESTClient and InferenceGRPCClient, unmodified."""

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

from tests.conformance.calls import Calls, Target, check_equal, check_holds, read_target, refused

both = Calls()
rest_only = Calls()
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One of the two clients, with the same methods for what both can do."""

    client: Any
    target: Target
    is_grpc: bool

    async def infer(self, request: InferRequest | dict[str, Any], *, model: str, tenant: str | None = "acme") -> Any:
        """An inference with a tenant's key."""
        headers = {} if tenant is None else self.target.bearer(tenant)
        if self.is_grpc:
            return await self.client.infer(request, headers=tuple(headers.items()))
        return await self.client.infer(self.target.url, request, model_name=model, headers=headers)

    async def health(self, method: str, *arguments: str) -> bool:
        """A health question."""
        place = () if self.is_grpc else (self.target.url,)
        return bool(await getattr(self.client, method)(*place, *arguments))


def tensor(name: str, array: np.ndarray[Any, Any], datatype: str, *, binary: bool) -> InferInput:
    """An input; `binary` decides how it travels."""
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def simple(*, binary: bool) -> InferRequest:
    """A question to `simple`."""
    rows = {"INPUT0": np.arange(16, dtype=np.int32)[None, :], "INPUT1": np.full((1, 16), 3, dtype=np.int32)}
    inputs = [tensor(name, array, "INT32", binary=binary) for name, array in rows.items()]
    return InferRequest(model_name="simple", infer_inputs=inputs, request_id="my-17")


def check_simple(response: Any) -> None:
    """Raise unless the answer to `simple()` is right."""
    found = {output.name: output.as_numpy() for output in response.outputs}
    check_equal(list(range(3, 19)), found["OUTPUT0"].ravel().tolist())
    check_equal(list(range(-3, 13)), found["OUTPUT1"].ravel().tolist())
    check_equal("my-17", response.id)
    check_equal("simple", response.model_name)


@both.named("server live and ready")
async def _live(asking: Asking) -> None:
    check_equal(True, await asking.health("is_server_live"))
    check_equal(True, await asking.health("is_server_ready"))


@both.named("model ready")
async def _model_ready(asking: Asking) -> None:
    check_equal(True, await asking.health("is_model_ready", "simple"))


@both.named("an unknown model is not ready")
async def _model_not_ready(asking: Asking) -> None:
    try:
        check_equal(False, await asking.health("is_model_ready", "nobody"))
    except grpc.RpcError as error:
        check_equal(grpc.StatusCode.NOT_FOUND, error.code())


@both.named("infer, plain tensors")
async def _plain(asking: Asking) -> None:
    check_simple(await asking.infer(simple(binary=False), model="simple"))


@both.named("infer, binary tensors")
async def _binary(asking: Asking) -> None:
    check_simple(await asking.infer(simple(binary=True), model="simple"))


@both.named("infer BYTES, plain and binary")
async def _bytes(asking: Asking) -> None:
    words = np.array(["great", "awful"], dtype=np.object_)
    for binary in (False, True):
        request = InferRequest(model_name="tiny", infer_inputs=[tensor("text", words, "BYTES", binary=binary)])
        response = await asking.infer(request, model="tiny")
        labels = {output.name: output for output in response.outputs}["label"].as_numpy().ravel().tolist()
        check_equal(["positive", "negative"], [one.decode() if isinstance(one, bytes) else one for one in labels])


@both.named("infer FP16, which travels in binary only")
async def _half(asking: Asking) -> None:
    request = InferRequest(model_name="every_type", infer_inputs=_every_type())
    response = await asking.infer(request, model="every_type")
    found = {output.name: output.as_numpy() for output in response.outputs}
    check_equal([0.5, -2.0], found["OUT_FP16"].ravel().tolist())
    check_equal([2**64 - 1, 0], found["OUT_UINT64"].ravel().tolist())


def _every_type() -> list[InferInput]:
    kinds = {
        "BOOL": np.array([[True, False]]),
        "FP16": np.array([[0.5, -2.0]], dtype=np.float16),
        "FP32": np.array([[0.5, -2.0]], dtype=np.float32),
        "FP64": np.array([[0.5, -2.0]], dtype=np.float64),
        "BYTES": np.array([["a", "b"]], dtype=np.object_),
    }
    for bits in (8, 16, 32, 64):
        kinds[f"INT{bits}"] = np.array([[-(2 ** (bits - 1)), 1]], dtype=f"int{bits}")
        kinds[f"UINT{bits}"] = np.array([[2**bits - 1, 0]], dtype=f"uint{bits}")
    return [tensor(f"IN_{name}", array, name, binary=True) for name, array in kinds.items()]


@both.named("infer with parameters")
async def _parameters(asking: Asking) -> None:
    request = simple(binary=True)
    request.parameters = {"priority": 1, "timeout": 5_000_000, "greenserve_variant": "fp32"}
    response = await asking.infer(request, model="simple")

    check_simple(response)
    check_holds(dict(response.parameters), "greenserve_energy_uj", "fp32")


@both.named("error: unknown model")
async def _unknown_model(asking: Asking) -> None:
    request = simple(binary=True)
    request.model_name = "nobody"
    with refused((grpc.RpcError, httpx.HTTPStatusError), "nobody") as seen:
        await asking.infer(request, model="nobody")
    check_status(asking, seen.error, 404, "NOT_FOUND")


@both.named("error: wrong datatype")
async def _wrong_datatype(asking: Asking) -> None:
    array = np.zeros((1, 16), dtype=np.float32)
    inputs = [tensor(name, array, "FP32", binary=True) for name in ("INPUT0", "INPUT1")]
    with refused((grpc.RpcError, httpx.HTTPStatusError), "INPUT0", "INT32") as seen:
        await asking.infer(InferRequest(model_name="simple", infer_inputs=inputs), model="simple")
    check_status(asking, seen.error, 400, "INVALID_ARGUMENT")


@both.named("error: no key")
async def _no_key(asking: Asking) -> None:
    with refused((grpc.RpcError, httpx.HTTPStatusError), "key") as seen:
        await asking.infer(simple(binary=True), model="simple", tenant=None)
    check_status(asking, seen.error, 401, "UNAUTHENTICATED")


def check_status(asking: Asking, error: Any, http: int, name: str) -> None:
    """Raise unless the error has the protocol's status."""
    if asking.is_grpc:
        check_equal(grpc.StatusCode[name], error.code())
    else:
        check_equal(http, error.response.status_code)


@rest_only.named("infer, a dictionary instead of a request")
async def _dictionary(asking: Asking) -> None:
    document = {
        "id": "my-17",
        "inputs": [
            {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": list(range(16))},
            {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": [[3] * 16]},
        ],
    }
    check_simple(await asking.infer(document, model="simple"))


@rest_only.named("the answer's headers tell energy and carbon")
async def _headers(asking: Asking) -> None:
    headers: dict[str, str] = {}
    await asking.client.infer(
        asking.target.url,
        simple(binary=True),
        model_name="simple",
        headers=asking.target.bearer(),
        response_headers=headers,
    )

    check_holds(list(headers), "greenserve-request-id", "greenserve-energy", "greenserve-carbon")


async def main() -> None:
    """Every call with both clients."""
    target = read_target()
    rest = Asking(
        client=InferenceRESTClient(RESTConfig(protocol="v2", timeout=PATIENCE_S)), target=target, is_grpc=False
    )
    await both.run("InferenceRESTClient", rest)
    await rest_only.run("InferenceRESTClient", rest)
    async with InferenceGRPCClient(target.grpc, timeout=PATIENCE_S) as client:
        await both.run("InferenceGRPCClient", Asking(client=client, target=target, is_grpc=True))


if __name__ == "__main__":
    asyncio.run(main())
