"""Open Inference Protocol v2 in protobuf: the same calls and answers as in JSON, typed and raw."""

import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.call import Call
from greenserve.serve.grpc.codec import call_of, response_of
from greenserve.serve.http import oip
from tests.serve.test_names import an_answer

texts = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5)


def a_message(given_texts: list[str], *, raw: bool) -> pb.ModelInferRequest:
    """A request with typed or raw contents."""
    message = pb.ModelInferRequest(model_name="tiny", model_version="1", id="mine")
    tensor = message.inputs.add(name="text", datatype="BYTES", shape=[len(given_texts)])
    encoded = [text.encode() for text in given_texts]
    if raw:
        message.raw_input_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in encoded))
    else:
        tensor.contents.bytes_contents.extend(encoded)
    return message


def read(message: pb.ModelInferRequest, *, remaining_s: float | None = None, **metadata: str) -> Call:
    """The call of a message."""
    return call_of(message, metadata, received_ns=7, remaining_s=remaining_s, max_items=32)


@given(texts, st.booleans())
def test_typed_and_raw_contents_are_read_like_json(given_texts: list[str], raw: bool) -> None:
    """But for the protocol's name the call is the same."""
    document = {
        "id": "mine",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(given_texts)], "data": given_texts}],
    }
    over_http = oip.call_of(orjson.dumps(document), {}, model="tiny", version="1", received_ns=7, max_items=32)

    over_grpc = read(a_message(given_texts, raw=raw))

    assert ("grpc", "http") == (over_grpc.protocol, over_http.protocol)
    names = ("model", "version", "texts", "outputs", "received_ns", "hints", "timeout_s", "client_id", "credential")
    assert [getattr(over_http, name) for name in names] == [getattr(over_grpc, name) for name in names]


@given(st.binary(max_size=40), st.integers(-2, 5))
def test_any_raw_contents_are_read_or_refused_in_words(raw: bytes, count: int) -> None:
    """No other error than InvalidRequest; what is read is what a writer would have written."""
    message = pb.ModelInferRequest(model_name="tiny")
    message.inputs.add(name="text", datatype="BYTES", shape=[count])
    message.raw_input_contents.append(raw)
    try:
        texts_read = read(message).texts
    except InvalidRequest:
        return

    assert raw == b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts_read)


@given(st.integers(1, 4), st.booleans(), st.data())
def test_an_answer_can_be_read_back(rows: int, raw: bool, data: st.DataObject) -> None:
    """Typed or raw, as it was asked: labels, and the same 32-bit floats in little-endian order."""
    floats = st.floats(0, 1, width=32)
    probabilities = np.array(
        data.draw(st.lists(st.lists(floats, min_size=3, max_size=3), min_size=rows, max_size=rows)), dtype=np.float32
    )
    labels = tuple(data.draw(st.lists(st.text(max_size=5), min_size=rows, max_size=rows)))
    answer = an_answer("exact", labels=labels, probabilities=probabilities, outputs=("label", "probabilities"))

    response = response_of(answer, raw=raw)

    assert [[rows], [rows, 3]] == [list(output.shape) for output in response.outputs]
    if raw:
        assert (
            b"".join(struct.pack("<I", len(label.encode())) + label.encode() for label in labels)
            == (response.raw_output_contents[0])
        )
        found = np.frombuffer(response.raw_output_contents[1], dtype="<f4")
    else:
        assert list(labels) == [label.decode() for label in response.outputs[0].contents.bytes_contents]
        found = np.array(response.outputs[1].contents.fp32_contents, dtype=np.float32)
    assert probabilities.ravel().tolist() == found.tolist()


@pytest.mark.parametrize(
    ("remaining_s", "timeout_us", "expected_s"),
    [(None, None, None), (2.0, None, 2.0), (None, 500_000, 0.5), (2.0, 500_000, 0.5), (0.1, 500_000, 0.1)],
)
def test_the_shorter_of_deadline_and_timeout_counts(
    remaining_s: float | None, timeout_us: int | None, expected_s: float | None
) -> None:
    """The client's gRPC deadline and the protocol's parameter."""
    message = a_message(["good"], raw=False)
    if timeout_us is not None:
        message.parameters["timeout"].int64_param = timeout_us

    assert expected_s == read(message, remaining_s=remaining_s).timeout_s


def test_metadata_carries_key_and_hints() -> None:
    """In lower case, as gRPC has it."""
    metadata = {"authorization": "Bearer gs_1", "greenserve-cache": "no-store"}

    call = call_of(a_message(["good"], raw=False), metadata, received_ns=7, remaining_s=None, max_items=32)

    assert ("gs_1", True) == (call.credential, call.hints.no_store)


def test_parameters_keep_their_types() -> None:
    """Integers as int64, everything else as text."""
    parameters = response_of(an_answer("exact"), raw=False).parameters

    assert ("int64_param", 402_345) == (
        parameters["greenserve_energy_uj"].WhichOneof("parameter_choice"),
        parameters["greenserve_energy_uj"].int64_param,
    )
    assert "0.402345" == parameters["greenserve_energy_joules"].string_param
