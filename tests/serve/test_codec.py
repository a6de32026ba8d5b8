"""Open Inference Protocol v2 in protobuf: the same calls and answers as in JSON, typed and raw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.call import Call
from greenserve.serve.grpc.codec import call_of, response_of
from greenserve.serve.grpc.contents import FIELDS, RAW_ONLY, fill, typed_data
from greenserve.serve.tensors import DATATYPES, DTYPES, Tensor, raw_of
from tests.serve.building import an_answer
from tests.serve.grpc_serving import a_message

MOST_ELEMENTS = 4_096
FLOATS = {"FP16": 16, "FP32": 32, "FP64": 64}


def read(message: pb.ModelInferRequest, *, remaining_s: float | None = None, **metadata: str) -> Call:
    """The call of a message."""
    return call_of(message, metadata, received_ns=7, remaining_s=remaining_s, most_elements=MOST_ELEMENTS)


@st.composite
def tensors(draw: st.DrawFn, datatypes: tuple[str, ...] = DATATYPES) -> Tensor:
    """A tensor of any datatype, shape and finite values."""
    datatype = draw(st.sampled_from(datatypes))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    count = int(np.prod(shape))
    name = draw(st.text(min_size=1, max_size=8))
    if datatype == "BYTES":
        strings = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
        return Tensor(name=name, datatype=datatype, shape=shape, data=tuple(strings))
    values = draw(st.lists(_elements(datatype), min_size=count, max_size=count))
    return Tensor(name=name, datatype=datatype, shape=shape, data=np.array(values, DTYPES[datatype]).reshape(shape))


def _elements(datatype: str) -> st.SearchStrategy[object]:
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BF16":
        return st.integers(0, 0x7F7F)
    if datatype in FLOATS:
        return st.floats(width=FLOATS[datatype], allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
    allowed = np.iinfo(DTYPES[datatype].type)  # type: ignore[type-var]
    return st.integers(int(allowed.min), int(allowed.max))


def a_request(given_tensors: list[Tensor], *, raw: bool) -> pb.ModelInferRequest:
    """A message with these inputs."""
    message = pb.ModelInferRequest(model_name="any")
    for tensor in given_tensors:
        added = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            message.raw_input_contents.append(raw_of(tensor))
        else:
            fill(added.contents, tensor)
    return message


def seen(tensor: Tensor) -> tuple[str, str, tuple[int, ...], object]:
    """A tensor in a form that can be compared."""
    data = tensor.data if isinstance(tensor.data, tuple) else (tensor.data.dtype.str, tensor.data.tolist())
    return tensor.name, tensor.datatype, tensor.shape, data


@given(st.lists(tensors(), min_size=1, max_size=4))
def test_raw_tensors_of_every_datatype_come_out_as_they_went_in(sent: list[Tensor]) -> None:
    """Names, datatypes, shapes and every bit of the data, after a trip over the wire."""
    wire = a_request(sent, raw=True).SerializeToString()

    assert [seen(tensor) for tensor in sent] == [
        seen(tensor) for tensor in read(pb.ModelInferRequest.FromString(wire)).inputs
    ]


@given(st.lists(tensors(tuple(FIELDS)), min_size=1, max_size=4))
def test_typed_tensors_of_every_datatype_come_out_as_they_went_in(sent: list[Tensor]) -> None:
    """All but the two half-precision types have a typed field."""
    wire = a_request(sent, raw=False).SerializeToString()

    assert [seen(tensor) for tensor in sent] == [
        seen(tensor) for tensor in read(pb.ModelInferRequest.FromString(wire)).inputs
    ]


def test_half_precision_travels_raw_only() -> None:
    """FP16 and BF16 have no typed field; every other datatype has one."""
    assert {"FP16", "BF16"} == RAW_ONLY
    assert set(DATATYPES) == RAW_ONLY | FIELDS.keys()


@given(st.lists(tensors(), min_size=1, max_size=3), st.booleans())
def test_an_answer_can_be_read_back(outputs: list[Tensor], raw: bool) -> None:
    """Typed or raw, as it was asked; one half-precision output makes all of it raw, never both forms at once."""
    wire = response_of(an_answer(outputs=tuple(outputs)), raw=raw).SerializeToString()
    response = pb.ModelInferResponse.FromString(wire)
    is_raw = raw or any(tensor.datatype in RAW_ONLY for tensor in outputs)

    assert len(outputs) * is_raw == len(response.raw_output_contents)
    for index, (sent, got) in enumerate(zip(outputs, response.outputs, strict=True)):
        assert (sent.name, sent.datatype, sent.shape) == (got.name, got.datatype, tuple(got.shape))
        if is_raw:
            assert raw_of(sent) == response.raw_output_contents[index]
        else:
            data = typed_data(got.contents, got.datatype, sent.shape, sent.size, place="outputs")
            assert seen(sent) == seen(Tensor(name=got.name, datatype=got.datatype, shape=sent.shape, data=data))


@given(st.binary(max_size=40), st.integers(-2, 5), st.sampled_from((*DATATYPES, "FP8")))
def test_any_raw_contents_are_read_or_refused_in_words(raw: bytes, count: int, datatype: str) -> None:
    """No other error than InvalidRequest; what is read is what a writer would have written."""
    message = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[raw])
    message.inputs.add(name="text", datatype=datatype, shape=[count])
    try:
        (tensor,) = read(message).inputs
    except InvalidRequest:
        return

    assert raw == raw_of(tensor)


@given(st.binary(max_size=60))
def test_any_message_is_read_or_refused_in_words(wire: bytes) -> None:
    """Whatever protobuf takes for a request makes a call or an InvalidRequest."""
    message = pb.ModelInferRequest()
    message.ParseFromString(a_message("good").SerializeToString())
    try:
        message.MergeFromString(wire)
    except Exception:  # no protobuf: not what is tested here
        return
    try:
        call = read(message)
    except InvalidRequest:
        return

    assert call.inputs


def test_strings_stay_bytes_until_a_model_reads_them() -> None:
    """BYTES need not be UTF-8: that is for the model to say."""
    message = a_message("x")
    message.inputs[0].contents.bytes_contents[0] = b"\xff\x00"

    assert (b"\xff\x00",) == read(message).inputs[0].data


@pytest.mark.parametrize(
    ("remaining_s", "timeout_us", "expected_s"),
    [(None, None, None), (2.0, None, 2.0), (None, 500_000, 0.5), (2.0, 500_000, 0.5), (0.1, 500_000, 0.1)],
)
def test_the_shorter_of_deadline_and_timeout_counts(
    remaining_s: float | None, timeout_us: int | None, expected_s: float | None
) -> None:
    """The client's gRPC deadline and the protocol's parameter."""
    message = a_message()
    if timeout_us is not None:
        message.parameters["timeout"].int64_param = timeout_us

    assert expected_s == read(message, remaining_s=remaining_s).timeout_s


@pytest.mark.parametrize(("given_priority", "expected"), [(0, 2), (1, 1), (2, 2), (3, 3)])
def test_priority_is_read_as_clients_send_it(given_priority: int, expected: int) -> None:
    """Signed or unsigned; 0 is the default, 2."""
    signed, unsigned = a_message(), a_message()
    signed.parameters["priority"].int64_param = given_priority
    unsigned.parameters["priority"].uint64_param = given_priority

    assert [expected, expected] == [read(message).hints.priority for message in (signed, unsigned)]


def test_parameters_of_others_change_nothing() -> None:
    """Clients of Triton send parameters that mean nothing here."""
    message = a_message()
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    message.parameters["sequence_id"].int64_param = 0
    message.inputs[0].parameters["binary_data_size"].int64_param = 8

    assert read(a_message()).hints == read(message).hints


def test_metadata_carries_key_and_hints() -> None:
    """In lower case, as gRPC has it."""
    metadata = {"authorization": "Bearer gs_1", "greenserve-cache": "no-store"}

    call = call_of(a_message(), metadata, received_ns=7, remaining_s=None, most_elements=MOST_ELEMENTS)

    assert ("gs_1", True) == (call.credential, call.hints.no_store)


def test_a_variant_can_be_pinned_and_outputs_named() -> None:
    """`greenserve_variant` and the outputs in the order asked for."""
    message = a_message(id="mine")
    message.parameters["greenserve_variant"].string_param = "fp32"
    for name in ("probabilities", "label"):
        message.outputs.add(name=name)

    call = read(message)

    assert ("fp32", ("probabilities", "label"), "mine") == (call.hints.variant, call.outputs, call.client_id)


def test_parameters_of_an_answer_keep_their_types() -> None:
    """Integers as int64, everything else as text."""
    parameters = response_of(an_answer(), raw=False).parameters

    assert ("int64_param", 1_234_567) == (
        parameters["greenserve_energy_uj"].WhichOneof("parameter_choice"),
        parameters["greenserve_energy_uj"].int64_param,
    )
    assert "1.234567" == parameters["greenserve_energy_joules"].string_param
