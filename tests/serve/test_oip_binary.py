"""Binary tensors: bytes behind a JSON head, both ways; whatever the bytes are, only InvalidRequest is raised."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest
from greenserve.manifest import TensorSpec
from greenserve.serve.call import Call
from greenserve.serve.http.binary import Wanted, head_length, raw_input
from greenserve.serve.http.oip import body_of, call_of
from greenserve.serve.tensors import DTYPES, Tensor, raw_of, tensor_of
from tests.serve.asking import DTYPE_VALUES
from tests.serve.building import an_answer

HEADER = "inference-header-content-length"
MOST = 1_000


def read(body: bytes, length: int | str | None, specs: Sequence[TensorSpec] = ()) -> tuple[Call, Wanted]:
    """The call of a body whose head is `length` bytes long."""
    headers = {} if length is None else {HEADER: str(length)}
    return call_of(body, headers, model="tiny", version="", received_ns=0, most_elements=MOST, specs=specs)


def packed(tensors: Sequence[Tensor], **members: Any) -> tuple[bytes, int]:
    """A body with all tensors as bytes, and the length of its head."""
    raw = [raw_of(tensor) for tensor in tensors]
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
            "parameters": {"binary_data_size": len(piece)},
        }
        for tensor, piece in zip(tensors, raw, strict=True)
    ]
    head = orjson.dumps({"inputs": inputs} | members)
    return head + b"".join(raw), len(head)


@st.composite
def tensors(draw: st.DrawFn, name: str = "x") -> Tensor:
    """Any tensor: every datatype, up to three axes."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    count = int(np.prod(shape))
    datatype = draw(st.sampled_from([*DTYPES, "BYTES"]))
    if datatype == "BYTES":
        elements = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
        return Tensor(name=name, datatype=datatype, shape=shape, data=tuple(elements))
    flat = draw(st.lists(DTYPE_VALUES[datatype], min_size=count, max_size=count))
    return Tensor(name=name, datatype=datatype, shape=shape, data=np.array(flat, dtype=DTYPES[datatype]).reshape(shape))


def assert_same(left: Tensor, right: Tensor) -> None:
    """Name, datatype, shape and every element."""
    assert (left.name, left.datatype, left.shape) == (right.name, right.datatype, right.shape)
    if isinstance(left.data, tuple) or isinstance(right.data, tuple):
        assert left.data == right.data
    else:
        np.testing.assert_array_equal(left.data, right.data)


@given(tensors(), tensors("z"))
def test_what_is_packed_is_read_as_it_was(first: Tensor, second: Tensor) -> None:
    """All datatypes, BF16 and BYTES too, in the order of the inputs."""
    call, _ = read(*packed([first, second]))

    assert_same(first, call.inputs[0])
    assert_same(second, call.inputs[1])


@given(tensors(), tensors("z"))
def test_an_answer_in_bytes_can_be_read_back(first: Tensor, second: Tensor) -> None:
    """Its outputs sent as inputs are the same tensors; the head says how long each is."""
    body, length = body_of(an_answer(outputs=(first, second)), Wanted(by_default=True, named={}))

    assert length is not None
    head = orjson.loads(body[:length])
    again = orjson.dumps({"inputs": head["outputs"]})
    call, _ = read(again + body[length:], len(again))
    assert_same(first, call.inputs[0])
    assert_same(second, call.inputs[1])


@pytest.mark.parametrize(
    ("parameters", "outputs", "binary"),
    [
        ({}, None, (False, False)),
        ({"binary_data_output": True}, None, (True, True)),
        ({"binary_data_output": False}, [], (False, False)),
        ({}, [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}], (True, False)),
        (
            {"binary_data_output": True},
            [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}],
            (False, True),
        ),
    ],
)
def test_an_output_says_itself_whether_it_is_bytes(
    parameters: dict[str, bool], outputs: Any, binary: tuple[bool, bool]
) -> None:
    """Else the request does, else it is JSON."""
    one = Tensor(name="x", datatype="INT8", shape=(1,), data=np.ones(1, dtype=np.int8))

    _, wanted = read(*packed([one], parameters=parameters, outputs=outputs))

    assert binary == (wanted.binary("a"), wanted.binary("b"))


def test_bytes_and_json_stand_side_by_side() -> None:
    """One output in each form: the bytes behind the head are the one's alone."""
    numbers = tensor_of("y", np.array([[1.5, 2.5]], dtype=np.float32))
    label = Tensor(name="label", datatype="BYTES", shape=(1,), data=("é",))

    body, length = body_of(an_answer(outputs=(numbers, label)), Wanted(named={"label": True}))

    assert length is not None
    first, second = orjson.loads(body[:length])["outputs"]
    assert ([1.5, 2.5], "parameters" in first) == (first["data"], False)
    assert ({"binary_data_size": 6}, "data" in second) == (second["parameters"], False)
    assert b"\x02\0\0\0\xc3\xa9" == body[length:]


@pytest.mark.parametrize(
    ("datatype", "shape", "body", "expected"),
    [
        ("BYTES", (-1,), b"a text", (1,)),
        ("BYTES", (-1, 1), b"a text", (1, 1)),
        ("INT32", (-1, 2), bytes(16), (2, 2)),
        ("FP32", (-1,), bytes(12), (3,)),
        ("FP16", (-1, -1, 3), bytes(12), (1, 2, 3)),
    ],
)
def test_a_raw_body_gives_its_shape_by_its_length(
    datatype: str, shape: tuple[int, ...], body: bytes, expected: tuple[int, ...]
) -> None:
    """The last axis without a size takes what there is; a text is the whole body."""
    call, wanted = read(body, 0, [TensorSpec(name="x", datatype=datatype, shape=shape)])

    assert ("x", datatype, expected) == (call.inputs[0].name, call.inputs[0].datatype, call.inputs[0].shape)
    assert wanted.binary("anything")


@pytest.mark.parametrize(
    ("specs", "body", "words"),
    [
        ([("x", "INT32", (-1, 2)), ("y", "INT32", (-1,))], bytes(8), "has 2 inputs, x, y; send a JSON head"),
        ([("x", "INT32", (-1, 2))], bytes(12), "a multiple of 8 bytes is needed, got 12"),
        ([("x", "INT32", (-1, 2))], b"", "a multiple of 8 bytes is needed, got 0"),
        ([("x", "FP32", (-1,))], b"\0\0\xc0\x7f", "finite numbers"),
        ([("x", "BYTES", (-1, 2))], b"text", "takes several texts; send a head"),
        ([("x", "BYTES", (-1,))], b"", "1..1,048,576 bytes are allowed, got 0"),
        ([("x", "BYTES", (-1,))], bytes(1_048_577), "1..1,048,576 bytes are allowed, got 1,048,577"),
        ([("x", "INT8", (-1,))], bytes(MOST + 1), "up to 1,000 elements are allowed, got 1,001"),
    ],
)
def test_a_raw_body_that_is_ambiguous_or_wrong_is_refused(
    specs: list[tuple[str, str, tuple[int, ...]]], body: bytes, words: str
) -> None:
    """With what it would need."""
    given_specs = [TensorSpec(name=name, datatype=datatype, shape=shape) for name, datatype, shape in specs]

    with pytest.raises(InvalidRequest, match=f"the raw body: .*{words}"):
        raw_input(body, given_specs, most_elements=MOST)


@given(st.text(max_size=8) | st.integers(-5, 50).map(str), st.binary(max_size=20))
def test_a_head_length_is_a_number_within_the_body_or_refused(given_length: str, body: bytes) -> None:
    """Only plain digits count."""
    if given_length.isascii() and given_length.isdigit() and int(given_length) <= len(body):
        assert int(given_length) == head_length(given_length, body)
    else:
        with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
            head_length(given_length, body)


SPECS = st.sampled_from(
    [
        (),
        (TensorSpec(name="text", datatype="BYTES", shape=(-1,)),),
        (TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    ]
)


def read_or_refused(body: bytes, length: int | str | None, specs: Sequence[TensorSpec]) -> None:
    """Either a call whose tensors have as many elements as their shapes say, or InvalidRequest."""
    try:
        call, _ = read(body, length, specs)
    except InvalidRequest:
        return
    for tensor in call.inputs:
        assert int(np.prod(tensor.shape)) == tensor.size <= MOST


@given(st.binary(max_size=200), st.none() | st.integers(0, 220) | st.text(max_size=5), SPECS)
def test_any_bytes_behind_any_head_are_read_or_refused(
    body: bytes, length: int | str | None, specs: Sequence[TensorSpec]
) -> None:
    """No other error than InvalidRequest leaves the decoder."""
    read_or_refused(body, length, specs)


@given(st.lists(tensors(), min_size=1, max_size=3), st.data())
def test_a_mutated_body_is_read_or_refused(given_tensors: list[Tensor], data: st.DataObject) -> None:
    """Good bodies with bytes flipped, cut out, put in or repeated, and with another length of head."""
    good, length = packed(
        [Tensor(name=f"x{i}", datatype=t.datatype, shape=t.shape, data=t.data) for i, t in enumerate(given_tensors)]
    )
    body = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        kind = data.draw(st.sampled_from(["flip", "cut", "put", "repeat"]))
        if kind == "flip" and at < len(body):
            body[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del body[at : at + data.draw(st.integers(1, 8))]
        elif kind == "put":
            body[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            body[at:at] = body[max(0, at - 8) : at]
    shift = data.draw(st.sampled_from([0, 0, 0, -1, 1, 7, -9, len(body)]))

    read_or_refused(bytes(body), max(0, length + shift), ())


@given(
    st.fixed_dictionaries(
        {
            "name": st.just("x"),
            "datatype": st.sampled_from([*DTYPES, "BYTES"]),
            "shape": st.lists(st.integers(-1, 5) | st.sampled_from([2**31, 2**63, 2**64 - 1]), max_size=4),
            "parameters": st.fixed_dictionaries(
                {"binary_data_size": st.integers(-2, 80) | st.sampled_from([2**63, None])}
            ),
        }
    ),
    st.binary(max_size=80),
)
def test_any_announcement_of_any_bytes_is_read_or_refused(entry: dict[str, Any], tail: bytes) -> None:
    """A well-formed head that says anything about what follows."""
    head = orjson.dumps({"inputs": [entry]})

    read_or_refused(head + tail, len(head), ())
