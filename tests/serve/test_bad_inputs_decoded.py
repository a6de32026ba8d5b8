"""The tables of bad requests at the decoders themselves: every row is the client's fault, with its field named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.grpc import codec
from greenserve.serve.models import ServedModel
from tests.end_to_end.bad_binary import BINARY_ROWS
from tests.end_to_end.bad_inputs import GOOD, JSON_ROWS, tensor
from tests.end_to_end.bad_messages import MESSAGE_ROWS, raw
from tests.serve.asking import WIDE, AtOnce, a_model, an_app, models_of_every_task, said

MAX_ITEMS = 32
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def tiny(tiny_manifest: Path) -> ServedModel:
    """The model that all rows ask."""
    return a_model(tiny_manifest, "text-classification", "tiny")


@pytest.fixture(scope="module")
def gateway(tiny_manifest: Path) -> AtOnce:
    """Reads requests as the real one and answers at once."""
    return AtOnce(models_of_every_task(tiny_manifest))


def read_message(message: pb.ModelInferRequest, model: ServedModel) -> int:
    """How many items a message has, as decoder, gateway and model read it."""
    call = codec.call_of(message, {}, received_ns=0, remaining_s=None, most_elements=WIDE.max_elements)
    if unknown := set(call.outputs) - model.task.offered:
        raise InvalidRequest(f"outputs: {min(unknown)} is not offered")
    return len(model.task.rows(call))


async def refused(gateway: AtOnce, body: bytes, headers: Mapping[str, str], field: str) -> None:
    """400 in the protocol's form, the field named in few words, nothing run."""
    answered = len(gateway.calls)

    answer = await said(an_app(gateway, limits=WIDE)[0], "POST", INFER, body, **headers)

    assert (400, "invalid-request") == (answer.status, answer.code), answer.body
    assert field.lower() in answer.words.lower()
    assert len(answer.words) < 1_000
    assert "Traceback" not in answer.words
    assert answered == len(gateway.calls)


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in JSON_ROWS], ids=[row[0] for row in JSON_ROWS])
async def test_a_bad_body_is_refused_by_its_field(body: Any, field: str, gateway: AtOnce) -> None:
    """In few words: what was given is not sent back whole."""
    await refused(gateway, body if isinstance(body, bytes) else json.dumps(body).encode(), {}, field)


@pytest.mark.parametrize(
    ("body", "headers", "field"), [row[1:] for row in BINARY_ROWS], ids=[row[0] for row in BINARY_ROWS]
)
async def test_bad_bytes_are_refused_by_their_field(
    body: bytes, headers: Mapping[str, str], field: str, gateway: AtOnce
) -> None:
    """Binary tensors, heads, hints and encodings alike."""
    await refused(gateway, body, headers, field)


@pytest.mark.parametrize(("message", "field"), [row[1:] for row in MESSAGE_ROWS], ids=[row[0] for row in MESSAGE_ROWS])
def test_a_bad_message_is_refused_by_its_field(message: pb.ModelInferRequest, field: str, tiny: ServedModel) -> None:
    """The same in protobuf, typed and raw."""
    with pytest.raises(InvalidRequest) as refusal:
        read_message(message, tiny)

    assert field in str(refusal.value)


@pytest.mark.parametrize("count", [1, MAX_ITEMS, MAX_ITEMS + 1])
async def test_as_many_texts_as_allowed_and_not_one_more(count: int, gateway: AtOnce, tiny: ServedModel) -> None:
    """The limit is the same in both protocols; the message says how many were given."""
    body = tensor(shape=[count], data=["good"] * count)
    message = raw(b"\4\0\0\0good" * count, shape=count)

    answer = await said(an_app(gateway, limits=WIDE)[0], "POST", INFER, body)

    if count <= MAX_ITEMS:
        assert (200, count) == (answer.status, read_message(message, tiny))
        return
    assert "1..32 items are allowed in one request, got 33" in answer.words
    with pytest.raises(InvalidRequest, match=r"1\.\.32 items are allowed in one request, got 33"):
        read_message(message, tiny)


async def test_a_good_body_stays_good(gateway: AtOnce) -> None:
    """The rows above are refused for what was changed in it."""
    assert 200 == (await said(an_app(gateway, limits=WIDE)[0], "POST", INFER, GOOD)).status


def test_the_tables_are_long_and_name_each_row_once() -> None:
    """Over HTTP alone: JSON and bytes."""
    for table, least in ((JSON_ROWS, 300), (BINARY_ROWS, 140), (MESSAGE_ROWS, 20)):
        assert len({row[0] for row in table}) == len(table) >= least
