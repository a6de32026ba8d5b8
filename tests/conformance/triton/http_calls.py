"""What tritonclient does over HTTP alone: encodings of tensors and bodies, and requests in the background."""

import asyncio
import http.client
import json

import numpy as np
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.conformance.calls import Calls, check_equal, refused, settled
from tests.conformance.triton.asking import Asking, check_array, check_simple, integers, texts, written_integers

calls = Calls()
blocking_calls = Calls()
SIMPLE_OUTPUTS = ("OUTPUT0", "OUTPUT1")


async def _simple(asking: Asking, *, binary_in: bool, binary_out: bool, **options: object) -> object:
    """An answer of `simple` with the tensors encoded as told."""
    return await settled(
        asking.client.infer(
            "simple",
            asking.tensors(integers(), binary=binary_in),
            outputs=asking.wanted(SIMPLE_OUTPUTS, binary=binary_out),
            headers=asking.target.bearer(),
            **options,
        )
    )


@calls.named("JSON tensors both ways")
async def _json(asking: Asking) -> None:
    check_simple(await _simple(asking, binary_in=False, binary_out=False))


@calls.named("binary tensors both ways")
async def _binary(asking: Asking) -> None:
    check_simple(await _simple(asking, binary_in=True, binary_out=True))


@calls.named("binary in, JSON out")
async def _binary_json(asking: Asking) -> None:
    check_simple(await _simple(asking, binary_in=True, binary_out=False))


@calls.named("JSON in, binary out")
async def _json_binary(asking: Asking) -> None:
    check_simple(await _simple(asking, binary_in=False, binary_out=True))


@calls.named("one input binary and one JSON, one output of each")
async def _mixed(asking: Asking) -> None:
    given = integers()
    inputs = [
        asking.tensor("INPUT0", given["INPUT0"], binary=True),
        asking.tensor("INPUT1", given["INPUT1"], binary=False),
    ]
    outputs = [*asking.wanted(["OUTPUT0"], binary=False), *asking.wanted(["OUTPUT1"], binary=True)]
    check_simple(await settled(asking.client.infer("simple", inputs, outputs=outputs, headers=asking.target.bearer())))


@calls.named("BYTES as JSON both ways")
async def _bytes_json(asking: Asking) -> None:
    result = await settled(
        asking.client.infer(
            "simple_string",
            asking.tensors(written_integers(), binary=False),
            outputs=asking.wanted(SIMPLE_OUTPUTS, binary=False),
            headers=asking.target.bearer(),
        )
    )

    differences = (integers()["INPUT0"] - integers()["INPUT1"]).astype(str).astype(np.object_)
    check_array(differences, result.as_numpy("OUTPUT1"))


@calls.named("request compressed with gzip and deflate")
async def _request_compressed(asking: Asking) -> None:
    for binary in (True, False):
        for algorithm in ("gzip", "deflate"):
            check_simple(
                await _simple(asking, binary_in=binary, binary_out=binary, request_compression_algorithm=algorithm)
            )


@calls.named("response compressed with gzip and deflate")
async def _response_compressed(asking: Asking) -> None:
    long = texts(*["great"] * 32)
    for binary in (True, False):
        for algorithm in ("gzip", "deflate"):
            result = await settled(
                asking.client.infer(
                    "tiny",
                    asking.tensors(long, binary=binary),
                    outputs=asking.wanted(["label", "probabilities"], binary=binary),
                    headers=asking.target.bearer(),
                    response_compression_algorithm=algorithm,
                )
            )
            check_equal((32, 3), result.as_numpy("probabilities").shape)


@calls.named("request and response compressed")
async def _both_compressed(asking: Asking) -> None:
    check_simple(
        await _simple(
            asking,
            binary_in=True,
            binary_out=True,
            request_compression_algorithm="gzip",
            response_compression_algorithm="deflate",
        )
    )


@calls.named("many requests at the same time")
async def _concurrent(asking: Asking) -> None:
    if asyncio.iscoroutinefunction(asking.client.infer):
        for result in await asyncio.gather(*(asking.infer("simple", integers()) for _ in range(24))):
            check_simple(result)
        return
    tensors, headers = asking.tensors(integers()), asking.target.bearer()
    waiting = [asking.client.async_infer("simple", tensors, headers=headers) for _ in range(24)]
    for one in waiting:
        check_simple(one.get_result(timeout=10))


@calls.named("a query string does not disturb")
async def _query(asking: Asking) -> None:
    check_simple(await asking.infer("simple", integers(), query_params={"test": "1"}))


@blocking_calls.named("async_infer: requests in the background")
def _async_infer(asking: Asking) -> None:
    waiting = [
        asking.client.async_infer("simple", asking.tensors(integers()), headers=asking.target.bearer())
        for _ in range(8)
    ]
    for one in waiting:
        check_simple(one.get_result(timeout=10))


@blocking_calls.named("async_infer: an error arrives with its result")
def _async_error(asking: Asking) -> None:
    one = asking.client.async_infer("nobody", asking.tensors(integers()), headers=asking.target.bearer())
    with refused(InferenceServerException, "nobody"):
        one.get_result(timeout=10)


@blocking_calls.named("the client gives up waiting, and the next request is served")
def _network_timeout(asking: Asking) -> None:
    row = np.random.default_rng().random((1, 16), dtype=np.float32)
    with InferenceServerClient(asking.target.http, network_timeout=0.03) as hasty, refused(Exception, "timed out"):
        hasty.infer("slow", asking.tensors({"INPUT0": row}), headers=asking.target.bearer())
    check_simple(asking.client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer()))


@blocking_calls.named("bodies built and parsed by the client, carried by http.client")
def _own_transport(asking: Asking) -> None:
    body, head_bytes = InferenceServerClient.generate_request_body(asking.tensors(integers()))
    answer, headers = _post(asking, "simple", body, {"Inference-Header-Content-Length": str(head_bytes)})

    check_simple(
        InferenceServerClient.parse_response_body(answer, header_length=int(headers["inference-header-content-length"]))
    )


@blocking_calls.named("a long answer is compressed on the wire where the client takes it, and else not")
def _compressed_on_the_wire(asking: Asking) -> None:
    rows = np.zeros((64, 16), dtype=np.float32)
    head = {"Inference-Header-Content-Length": "0"}
    for accepted, told in (("gzip", "gzip"), ("deflate", "deflate"), ("identity", None), ("br", None)):
        answer, headers = _post(asking, "simple_identity", rows.tobytes(), head | {"Accept-Encoding": accepted})
        check_equal(told, headers.get("content-encoding"))
        check_equal(told is None, len(answer) > rows.nbytes)


@blocking_calls.named("error: a body over the limit, and the next request is served")
def _too_large(asking: Asking) -> None:
    huge = {name: np.repeat(array, 20_000, axis=0) for name, array in integers().items()}
    with refused(InferenceServerException, "1,048,576") as seen:
        asking.client.infer("simple", asking.tensors(huge), headers=asking.target.bearer())
    check_equal("413", seen.error.status())
    check_simple(asking.client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer()))


@blocking_calls.named("error: too many rows")
def _too_many_rows(asking: Asking) -> None:
    many = {name: np.repeat(array, 65, axis=0) for name, array in integers().items()}
    with refused(InferenceServerException, "64", "65") as seen:
        asking.client.infer("simple", asking.tensors(many), headers=asking.target.bearer())
    check_equal("400", seen.error.status())


@blocking_calls.named("a raw body without JSON")
def _raw(asking: Asking) -> None:
    row = np.linspace(-1, 1, 16, dtype=np.float32)[None, :]
    answer, headers = _post(asking, "simple_identity", row.tobytes(), {"Inference-Header-Content-Length": "0"})
    head_bytes = int(headers["inference-header-content-length"])

    check_equal("OUTPUT0", json.loads(answer[:head_bytes])["outputs"][0]["name"])
    check_equal(row.tobytes(), answer[head_bytes:])


def _post(asking: Asking, model: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(asking.target.http, timeout=10)
    connection.request("POST", f"/v2/models/{model}/infer", body, asking.target.bearer() | headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    check_equal(200, response.status)
    return answer, {name.lower(): value for name, value in response.getheaders()}
