"""The table of bad requests at the decoders themselves: every row is the client's fault, with its field named."""

import json
from typing import Any

import pytest

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.grpc import codec
from greenserve.serve.http import oip
from tests.end_to_end.bad_inputs import GOOD, JSON_ROWS, MESSAGE_ROWS, raw, tensor

MAX_ITEMS = 32


def read_body(body: object) -> tuple[str, ...]:
    """The texts that a body decodes to."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return oip.call_of(content, {}, model="tiny", version="", received_ns=0, max_items=MAX_ITEMS).texts


def read_message(message: pb.ModelInferRequest) -> tuple[str, ...]:
    """The texts that a message decodes to."""
    return codec.call_of(message, {}, received_ns=0, remaining_s=None, max_items=MAX_ITEMS).texts


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in JSON_ROWS], ids=[row[0] for row in JSON_ROWS])
def test_a_bad_body_is_refused_by_its_field(body: Any, field: str) -> None:
    """In few words: what was given is not sent back whole."""
    with pytest.raises(InvalidRequest) as refused:
        read_body(body)

    assert field in str(refused.value)
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(("message", "field"), [row[1:] for row in MESSAGE_ROWS], ids=[row[0] for row in MESSAGE_ROWS])
def test_a_bad_message_is_refused_by_its_field(message: pb.ModelInferRequest, field: str) -> None:
    """The same in protobuf, typed and raw."""
    with pytest.raises(InvalidRequest) as refused:
        read_message(message)

    assert field in str(refused.value)


@pytest.mark.parametrize("count", [1, MAX_ITEMS, MAX_ITEMS + 1])
def test_as_many_texts_as_allowed_and_not_one_more(count: int) -> None:
    """The limit is the same in both protocols; the message says how many were given."""
    body = tensor(shape=[count], data=["good"] * count)
    message = raw(b"\4\0\0\0good" * count, shape=count)

    if count <= MAX_ITEMS:
        assert ("good",) * count == read_body(body) == read_message(message)
        return
    with pytest.raises(InvalidRequest, match=r"1\.\.32 items are allowed, got 33"):
        read_body(body)
    with pytest.raises(InvalidRequest, match=r"1\.\.32 items are allowed, got 33"):
        read_message(message)


def test_a_good_body_stays_good() -> None:
    """The rows above are refused for what was changed in it."""
    assert ("a good day",) == read_body(GOOD)
