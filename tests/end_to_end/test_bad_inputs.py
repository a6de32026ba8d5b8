"""Whatever a client sends, it gets its own fault explained, never ours: no 5xx, no trace, and the gateway lives on."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from greenserve.proto import inference_pb2 as pb
from tests.end_to_end.bad_binary import BINARY_ROWS
from tests.end_to_end.bad_inputs import GOOD, JSON_ROWS
from tests.end_to_end.bad_messages import MESSAGE_ROWS
from tests.end_to_end.protocols import Ask, OverGrpc, OverHttp, Told, told

PATH = "/v2/models/tiny/infer"


def send(http: OverHttp, body: bytes, key: str, **headers: str) -> Told:
    """POST raw bytes."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return told(http.http.post(PATH, content=body, headers={"authorization": f"Bearer {key}"} | fields))


def refused(said: Told, field: str) -> None:
    """The client's own fault, in few words, with the field named."""
    assert (400, "invalid-request") == (said.status, said.code)
    assert field.lower() in said.message.lower()
    assert "Traceback" not in said.message
    assert len(said.message) < 1_000


def is_sent_as_written(row: tuple[str, bytes, Mapping[str, str], str]) -> bool:
    """Spaces around a header's value are taken off on the way."""
    return all(value == value.strip() for value in row[2].values())


SENT_ROWS = [row for row in BINARY_ROWS if is_sent_as_written(row)]


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in JSON_ROWS], ids=[row[0] for row in JSON_ROWS])
def test_a_bad_body_is_a_400_that_names_the_field(body: Any, field: str, http: OverHttp, keys: dict[str, str]) -> None:
    """What was given and what is allowed, without a trace."""
    refused(send(http, body if isinstance(body, bytes) else json.dumps(body).encode(), keys["acme"]), field)


@pytest.mark.parametrize(
    ("body", "headers", "field"), [row[1:] for row in SENT_ROWS], ids=[row[0] for row in SENT_ROWS]
)
def test_bad_bytes_are_a_400_that_names_the_field(
    body: bytes, headers: Mapping[str, str], field: str, http: OverHttp, keys: dict[str, str]
) -> None:
    """The same for binary tensors, heads, hints and encodings."""
    refused(send(http, body, keys["acme"], **headers), field)


@pytest.mark.parametrize(("message", "field"), [row[1:] for row in MESSAGE_ROWS], ids=[row[0] for row in MESSAGE_ROWS])
def test_a_bad_message_is_an_invalid_argument_that_names_the_field(
    message: pb.ModelInferRequest, field: str, grpc: OverGrpc, keys: dict[str, str]
) -> None:
    """The same over gRPC."""
    said = grpc.infer(message, {"authorization": f"Bearer {keys['acme']}"})

    assert ("INVALID_ARGUMENT", "invalid-request") == (said.status, said.code)
    assert field in said.message
    assert "Traceback" not in said.message


def test_the_gateway_answers_after_all_of_them(http: OverHttp, grpc: OverGrpc, keys: dict[str, str]) -> None:
    """Both protocols, on fresh and on used connections."""
    assert "ok" == send(http, json.dumps(GOOD).encode(), keys["acme"]).code
    assert "ok" == grpc.ask(Ask(), keys["acme"]).code


def test_a_body_over_the_limit_is_refused(http: OverHttp, keys: dict[str, str]) -> None:
    """The configured 64 KiB, counted after decompression: a small bomb is none the less too large."""
    large = json.dumps(GOOD | {"id": "x" * 65_536}).encode()

    plain = send(http, large, keys["acme"])
    bomb = send(http, gzip.compress(large), keys["acme"], content_encoding="gzip")

    assert (413, "body-too-large") == (plain.status, plain.code)
    assert (413, "body-too-large") == (bomb.status, bomb.code)
    assert "65,536" in plain.message


def test_a_compressed_body_is_read(http: OverHttp, keys: dict[str, str]) -> None:
    """gzip in the request is transparent."""
    said = send(http, gzip.compress(json.dumps(GOOD).encode()), keys["acme"], content_encoding="gzip")

    assert "ok" == said.code


@pytest.mark.parametrize(
    ("encoding", "status", "code"),
    [("br", 415, "unsupported-encoding"), ("gzip", 400, "invalid-request"), ("deflate", 400, "invalid-request")],
)
def test_an_encoding_that_does_not_fit_is_refused(
    encoding: str, status: int, code: str, http: OverHttp, keys: dict[str, str]
) -> None:
    """Unknown encodings are 415, a body that is not what it says is 400."""
    said = send(http, json.dumps(GOOD).encode(), keys["acme"], content_encoding=encoding)

    assert (status, code) == (said.status, said.code)


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "gs_x"])
def test_another_scheme_of_authorization_is_refused(header: str, http: OverHttp) -> None:
    """Only bearer keys are read, and the answer says so in the header that clients look for."""
    response = http.http.post(PATH, json=GOOD, headers={"authorization": header})

    assert 401 == response.status_code
    assert "Bearer" == response.headers["www-authenticate"]
    assert "invalid-key" == response.json()["code"]
