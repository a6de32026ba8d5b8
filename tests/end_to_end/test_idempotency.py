"""`Idempotency-Key` on a whole running gateway of two replicas, over both protocols."""

from collections import Counter

import pytest

from greenserve.proto import inference_pb2 as pb
from tests.end_to_end.protocols import SERVICE, Ask, Client, OverGrpc, OverHttp, message_of
from tests.gateway_process import GatewayProcess

AGAIN = 12
CONFLICT = {"http": 409, "grpc": "ALREADY_EXISTS"}


def test_every_replica_and_protocol_gives_the_one_answer(
    gateway: GatewayProcess, http: OverHttp, grpc: OverGrpc, keys: dict[str, str]
) -> None:
    """Twelve new connections, which the kernel spreads over both replicas, and gRPC: one id, all but one replayed."""
    question = Ask(texts=("once and for all",), hints={"idempotency-key": "end-to-end-1"})
    first = http.ask(question, keys["acme"])
    again = [grpc.ask(question, keys["acme"])]
    for _ in range(AGAIN):
        with OverHttp(gateway.url) as fresh:
            again.append(fresh.ask(question, keys["acme"]))

    assert "greenserve-replayed" not in first.headers
    assert {"true"} == {told.headers["greenserve-replayed"] for told in again}
    assert {first.headers["greenserve-request-id"]} == {told.headers["greenserve-request-id"] for told in again}
    assert [first.outputs["label"]] * (AGAIN + 1) == [told.outputs["label"] for told in again]


def test_another_tenant_may_use_the_same_key(client: Client, keys: dict[str, str]) -> None:
    """Keys are a tenant's own."""
    hints = {"idempotency-key": f"shared-{client.name}"}

    ids = Counter(
        str(client.ask(Ask(hints=hints), keys[caller]).parameters["greenserve_request_id"])
        for caller in ("acme", "globex", "acme", "globex")
    )

    assert [2, 2] == list(ids.values())


def test_another_question_under_the_same_key_is_a_conflict(client: Client, keys: dict[str, str]) -> None:
    """With the error's own code and status."""
    hints = {"idempotency-key": f"conflict-{client.name}"}
    client.ask(Ask(hints=hints), keys["acme"])

    refused = client.ask(Ask(texts=("something else",), hints=hints), keys["acme"])

    assert ("idempotency-conflict", CONFLICT[client.name]) == (refused.code, refused.status)
    assert "stands for another request" in refused.message


def test_a_key_that_cannot_be_one_is_the_callers_error(client: Client, keys: dict[str, str]) -> None:
    """Never ignored: the caller counts on it."""
    refused = client.ask(Ask(hints={"idempotency-key": "two words"}), keys["acme"])

    assert "invalid-request" == refused.code
    assert "1..255 visible ASCII characters" in refused.message


@pytest.mark.parametrize("key", ["stream-1"])
def test_a_stream_has_many_requests_and_takes_no_key(grpc: OverGrpc, keys: dict[str, str], key: str) -> None:
    """The metadata is the stream's, so that it would name all of them."""
    call = grpc.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    metadata = (("authorization", f"Bearer {keys['acme']}"), ("idempotency-key", key))

    (answer,) = call(iter([message_of(Ask())]), metadata=metadata, timeout=20.0)

    assert "a stream holds many" in answer.error_message
