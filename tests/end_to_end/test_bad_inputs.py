"""Whatever a client sends, it gets its own fault explained, never ours: no 5xx, no trace, and the gateway lives on."""

import gzip
import json
from typing import Any

import pytest

from greenserve.proto import inference_pb2 as pb
from tests.end_to_end.bad_inputs import GOOD, JSON_ROWS, MESSAGE_ROWS
from tests.end_to_end.protocols import OverGrpc, OverHttp, Told, told

PATH = "/v2/models/tiny/infer"
NAMES = [row[0].replace(" ", "-") for row in JSON_ROWS]
MESSAGE_NAMES = [row[0].replace(" ", "-") for row in MESSAGE_ROWS]


def send(http: OverHttp, body: bytes, key: str, **headers: str) -> Told:
    """POST raw bytes."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return told(http.http.post(PATH, content=body, headers={"authorization": f"Bearer {key}"} | fields))


def test_the_table_is_long_enough() -> None:
    """At least forty rows of JSON and twenty of protobuf, each named once."""
    assert len(set(NAMES)) == len(NAMES) >= 40
    assert len(set(MESSAGE_NAMES)) == len(MESSAGE_NAMES) >= 20


@pytest.mark.parametrize(("name", "body", "field"), JSON_ROWS, ids=NAMES)
def test_a_bad_body_is_a_400_that_names_the_field(
    name: str, body: Any, field: str, http: OverHttp, keys: dict[str, str]
) -> None:
    """What was given and what is allowed, without a trace; the next request is answered."""
    said = send(http, body if isinstance(body, bytes) else json.dumps(body).encode(), keys["acme"])

    assert (400, "invalid-request") == (said.status, said.code)
    assert field in said.message
    assert "Traceback" not in said.message
    assert len(said.message) < 1_000
    assert "ok" == send(http, json.dumps(GOOD).encode(), keys["acme"]).code


@pytest.mark.parametrize(("name", "message", "field"), MESSAGE_ROWS, ids=MESSAGE_NAMES)
def test_a_bad_message_is_an_invalid_argument_that_names_the_field(
    name: str, message: pb.ModelInferRequest, field: str, grpc: OverGrpc, keys: dict[str, str]
) -> None:
    """The same over gRPC."""
    said = grpc.infer(message, {"authorization": f"Bearer {keys['acme']}"})

    assert ("INVALID_ARGUMENT", "invalid-request") == (said.status, said.code)
    assert field in said.message
    assert "Traceback" not in said.message


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
