"""Clients that leave in the middle: nobody else notices."""

import json
import socket
import struct

import grpc
import httpx
import pytest

from greenserve.loadtest.grpc_client import METHOD, infer, request_of
from greenserve.proto.inference_pb2 import ModelInferResponse
from tests.faults.conftest import Target
from tests.faults.load import Load
from tests.gateway_process import HOST, GatewayProcess, wait_until

TIMES = 50
RESET = struct.pack("ii", 1, 0)


def body(text: str) -> bytes:
    """A JSON request."""
    return json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}).encode()


def leave_http(gateway: GatewayProcess, key: str, number: int, *, whole: bool, reset: bool) -> None:
    """Send a request or its beginning, and go without reading."""
    content = body(f"good word{number + 10}")
    head = (
        f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"GreenServe-Cache: no-store\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((HOST, gateway.http_port)) as connection:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.sendall(head.encode() + (content if whole else content[: len(content) // 2]))


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("whole", [False, True], ids=["half-sent", "whole"])
def test_http_clients_that_leave_stall_nobody(whole: bool, reset: bool, target: Target) -> None:
    """Fifty go in the middle of their requests while others are served; those see no error."""
    gateway, key = target
    with Load(gateway.url, key) as load:
        for number in range(TIMES):
            leave_http(gateway, key, number, whole=whole, reset=reset)
        gone = load.count()

        assert wait_until(lambda: load.count() > gone + 30, 10.0)

    assert {} == load.failed
    assert 200 == httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code


def test_grpc_calls_that_are_cancelled_stall_nobody(target: Target) -> None:
    """Fifty calls are cancelled under way, some of them batched with others; the rest is answered."""
    gateway, key = target
    metadata = (("authorization", f"Bearer {key}"), ("greenserve-cache", "no-store"))
    with grpc.insecure_channel(gateway.grpc_address) as channel, Load(gateway.url, key) as load:
        call = channel.unary_unary(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=ModelInferResponse.FromString,
        )
        under_way = [
            call.future(request_of("tiny", [f"good word{number + 10}"]), metadata=metadata, timeout=10)
            for number in range(2 * TIMES)
        ]
        for future in under_way[::2]:
            future.cancel()

        answers = [future.result() for future in under_way[1::2]]

        assert TIMES == len(answers)
        assert [b"positive"] * TIMES == [answer.outputs[0].contents.bytes_contents[0] for answer in answers]
        assert b"positive" == infer(channel, "tiny", ["good"], key)[0].outputs[0].contents.bytes_contents[0]
    assert {} == load.failed


def test_what_was_run_for_those_who_left_is_in_a_ledger_that_verifies(target: Target) -> None:
    """Nobody's energy is lost: abandoned runs are lines too, and all parts still sum to the metered integer."""
    gateway, key = target
    for number in range(TIMES):
        leave_http(gateway, key, number, whole=True, reset=False)
    with Load(gateway.url, key) as load:
        assert wait_until(lambda: load.count() > 30, 10.0)

    assert wait_until(lambda: set(load.answered) <= gateway.recorded_requests(), 10.0)
    assert [] == gateway.document("ledger", "verify")["findings"]
