"""Open Inference Protocol v2 in JSON: what goes in comes out, and nothing else raises but what we name."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InferenceFailed, InvalidRequest
from greenserve.records import Tenant
from greenserve.serve.http.binary import Wanted
from greenserve.serve.http.oip import body_of, call_of, json_object
from greenserve.serve.tensors import DTYPES, LONGEST_ELEMENT_BYTES, Tensor, tensor_of
from tests.serve.asking import DTYPE_VALUES
from tests.serve.building import an_answer

texts = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5)
outputs = st.lists(st.sampled_from(["label", "probabilities"]), unique=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
MEMBERS = ("id", "parameters", "inputs", "outputs", "name", "datatype", "shape", "data", "timeout", "text", "BYTES")
IN_JSON = tuple(name for name in DTYPES if name != "BF16")


def read_with(document: object, **headers: str) -> tuple[Any, Wanted]:
    """The call of a JSON document, and how to answer it."""
    return call_of(
        orjson.dumps(document), headers, model="tiny", version="", received_ns=7, most_elements=1_000, specs=()
    )


def read(document: object) -> Any:
    """The call of a JSON document."""
    return read_with(document)[0]


def a_document(given_texts: list[str], **members: object) -> dict[str, object]:
    return {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(given_texts)], "data": given_texts}]
    } | members


@given(texts, outputs, st.none() | st.text(max_size=9), st.none() | st.integers(1, 10**12))
def test_a_good_body_is_read_as_it_is(
    given_texts: list[str], wanted: list[str], client_id: str | None, timeout_us: int | None
) -> None:
    """Texts, outputs in their order (none: the model's), id, timeout in seconds."""
    parameters = {} if timeout_us is None else {"timeout": timeout_us}
    members: dict[str, object] = {"outputs": [{"name": name} for name in wanted], "parameters": parameters}

    call = read(a_document(given_texts, **members, **({} if client_id is None else {"id": client_id})))

    assert (("text",), tuple(given_texts)) == (tuple(each.name for each in call.inputs), call.inputs[0].data)
    assert (client_id, 7, tuple(wanted)) == (call.client_id, call.received_ns, call.outputs)
    assert (None if timeout_us is None else timeout_us / 1e6) == call.timeout_s


@pytest.mark.parametrize(("given_priority", "priority"), [(None, 2), (0, 2), (1, 1), (2, 2), (3, 3)])
def test_a_priority_is_read(given_priority: int | None, priority: int) -> None:
    """1 first, 3 last; nothing and 0 are the default."""
    parameters = {} if given_priority is None else {"priority": given_priority}

    assert priority == read(a_document(["x"], parameters=parameters)).hints.priority


def test_the_trace_that_a_caller_is_in_goes_along() -> None:
    """The W3C header as it came, whatever it says; none where there is none."""
    traced, _ = read_with(a_document(["x"]), traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

    assert "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" == traced.traceparent
    assert None is read(a_document(["x"])).traceparent


def test_parameters_that_are_not_ours_are_left_to_who_sent_them() -> None:
    """Unmodified clients send more than we read, on every level; what would change the answer is refused elsewhere."""
    document = a_document(["x"], parameters={"sequence_id": 0, "sequence_start": False, "anything": [1]})
    document["outputs"] = [{"name": "label", "parameters": {"classification": 0, "hint": "x"}}]
    document["inputs"][0]["parameters"] = {"content_type": "str"}  # type: ignore[index]

    assert ("label",) == read(document).outputs


@given(st.sampled_from(IN_JSON), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.booleans(), st.data())
def test_a_tensor_is_read_nested_or_flat(datatype: str, shape: list[int], nested: bool, data: st.DataObject) -> None:
    """Every datatype with a form in JSON: the array that was sent, element by element."""
    count = int(np.prod(shape))
    flat = data.draw(st.lists(DTYPE_VALUES[datatype], min_size=count, max_size=count))
    sent = np.array(flat, dtype=DTYPES[datatype]).reshape(shape)
    shown = sent.tolist() if nested else sent.ravel().tolist()

    tensor = read({"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": shown}]}).inputs[0]

    assert (datatype, tuple(shape), DTYPES[datatype]) == (tensor.datatype, tensor.shape, tensor.data.dtype)
    np.testing.assert_array_equal(sent, tensor.data)


@given(st.sampled_from(IN_JSON), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_an_output_comes_back_as_the_input_that_it_was(datatype: str, shape: list[int], data: st.DataObject) -> None:
    """What `body_of` writes, `call_of` reads: the very same elements."""
    count = int(np.prod(shape))
    flat = data.draw(st.lists(DTYPE_VALUES[datatype], min_size=count, max_size=count))
    tensor = tensor_of("x", np.array(flat, dtype=DTYPES[datatype]).reshape(shape))

    body, head = body_of(an_answer(outputs=(tensor,)))
    again = read({"inputs": orjson.loads(body)["outputs"]}).inputs[0]

    assert None is head
    assert (tensor.name, tensor.datatype, tensor.shape) == (again.name, again.datatype, again.shape)
    np.testing.assert_array_equal(tensor.data, again.data)


@pytest.mark.parametrize(
    ("given_members", "path_version", "version"),
    [
        ({"model_name": "tiny"}, "", ""),
        ({"model_name": None, "model_version": None}, "1", "1"),
        ({"model_name": "tiny", "model_version": ""}, "1", "1"),
        ({"model_version": "2"}, "", "2"),
        ({"model_version": "2"}, "2", "2"),
    ],
)
def test_a_body_may_name_the_model_again(given_members: dict[str, object], path_version: str, version: str) -> None:
    """Some clients do; a version that only the body names counts."""
    body = orjson.dumps(a_document(["x"]) | given_members)

    call, _ = call_of(body, {}, model="tiny", version=path_version, received_ns=0, most_elements=9, specs=())

    assert ("tiny", version) == (call.model, call.version)


@pytest.mark.parametrize(
    "members", [{"model_name": "other"}, {"model_name": 5}, {"model_version": "2"}, {"model_version": 1}]
)
def test_a_body_that_names_another_model_is_refused(members: dict[str, object]) -> None:
    """Nobody can know which one was meant."""
    body = orjson.dumps(a_document(["x"]) | members)

    with pytest.raises(InvalidRequest, match=next(iter(members))):
        call_of(body, {}, model="tiny", version="1", received_ns=0, most_elements=9, specs=())


@pytest.mark.parametrize(
    ("element", "datatype", "value"),
    [(2.0, "INT32", 2), (-0.0, "INT8", 0), (255.0, "UINT8", 255), (9_007_199_254_740_992.0, "INT64", 2**53)],
)
def test_a_whole_number_is_an_integer_however_it_is_written(element: float, datatype: str, value: int) -> None:
    """JSON has one kind of number."""
    tensor = {"name": "x", "datatype": datatype, "shape": [2], "data": [element, 1]}

    assert [value, 1] == read({"inputs": [tensor]}).inputs[0].data.tolist()


@given(json_values | st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4))
def test_any_json_is_refused_in_words(document: object) -> None:
    """A document that happens to be good is not among these; no other error than InvalidRequest, whatever it is."""
    with pytest.raises(InvalidRequest, match=r"body|unknown member|inputs|outputs|parameters|id:"):
        read(document)


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=6))
def test_any_tensor_is_read_or_refused_in_words(tensor: dict[str, object]) -> None:
    """The same one level deeper."""
    try:
        found = read({"inputs": [tensor]}).inputs[0]
    except InvalidRequest:
        return

    assert tensor["name"] == found.name


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_words(body: bytes) -> None:
    """Also those that are no JSON at all."""
    with pytest.raises(InvalidRequest):
        call_of(body, {}, model="tiny", version="", received_ns=7, most_elements=32, specs=())


@pytest.mark.parametrize(("levels", "allowed"), [(30, True), (31, True), (32, False), (900, False)])
def test_a_body_is_at_most_32_levels_deep(levels: int, allowed: bool) -> None:
    """The object itself is the first; brackets in texts and beside each other are no depth."""
    deep = (
        b'{"x": ["' + b"[" * 100 + b'"], "wide": [' + b"[]," * 100 + b'1], "y": ' + b"[" * levels + b"]" * levels + b"}"
    )

    if allowed:
        assert {"x", "wide", "y"} == set(json_object(deep, needs="anything"))
    else:
        with pytest.raises(InvalidRequest, match="up to 32 levels"):
            json_object(deep, needs="anything")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("x" * LONGEST_ELEMENT_BYTES, True), ("x" * (LONGEST_ELEMENT_BYTES + 1), False), ("é" * 524_289, False)],
    ids=["1 MiB", "a byte more", "a byte more in UTF-8"],
)
def test_an_element_of_bytes_holds_one_mebibyte(text: str, allowed: bool) -> None:
    """Counted in UTF-8."""
    if allowed:
        assert (text,) == read(a_document([text])).inputs[0].data
    else:
        with pytest.raises(InvalidRequest, match=r"data\[0\]: up to 1,048,576 bytes per element"):
            read(a_document([text]))


@given(st.integers(1, 4), st.data())
def test_an_answer_can_be_read_back(rows: int, data: st.DataObject) -> None:
    """Labels, and the very same 32-bit floats."""
    floats = st.floats(0, 1, width=32)
    probabilities = np.array(
        data.draw(st.lists(st.lists(floats, min_size=3, max_size=3), min_size=rows, max_size=rows)), dtype=np.float32
    )
    labels = tuple(data.draw(st.lists(st.text(max_size=5), min_size=rows, max_size=rows)))
    named = Tensor(name="label", datatype="BYTES", shape=(rows,), data=labels)

    document = orjson.loads(body_of(an_answer(outputs=(tensor_of("probabilities", probabilities), named)))[0])

    first, second = document["outputs"]
    assert ("probabilities", "FP32", [rows, 3]) == (first["name"], first["datatype"], first["shape"])
    assert probabilities.ravel().tolist() == np.array(first["data"], dtype=np.float32).tolist()
    assert ("label", "BYTES", [rows], list(labels)) == (
        second["name"], second["datatype"], second["shape"], second["data"],
    )  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_carry_is_said_and_not_sent_as_null(value: float) -> None:
    """NaN would arrive as nothing: a model that gives it failed, while its bytes can be had."""
    answer = an_answer(outputs=(tensor_of("y", np.array([[1.0, value]], dtype=np.float32)),))

    with pytest.raises(InferenceFailed, match="NaN or infinity in y"):
        body_of(answer)
    assert body_of(answer, Wanted(by_default=True, named={}))[1] is not None


def test_a_text_that_says_null_is_no_missing_number() -> None:
    """The word is allowed in answers."""
    label = Tensor(name="label", datatype="BYTES", shape=(1,), data=("null",))

    body, _ = body_of(an_answer(outputs=(label, tensor_of("y", np.ones((1, 1), dtype=np.float32)))))

    assert ["null"] == orjson.loads(body)["outputs"][0]["data"]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor(name="y", datatype="BF16", shape=(1,), data=np.zeros(1, dtype=np.uint16)), "y is BF16"),
        (Tensor(name="y", datatype="BYTES", shape=(1,), data=(b"\xff",)), "y holds bytes that are not UTF-8"),
    ],
    ids=["BF16", "not UTF-8"],
)
def test_an_output_without_a_form_in_json_is_offered_as_bytes(tensor: Tensor, words: str) -> None:
    """The message says how to get it."""
    with pytest.raises(InvalidRequest, match=f"{words}.*binary_data"):
        body_of(an_answer(outputs=(tensor,)))


def test_bytes_that_are_utf8_leave_as_text() -> None:
    """As an engine or a binary request gave them."""
    tensor = Tensor(name="y", datatype="BYTES", shape=(2,), data=("é".encode(), "b"))

    assert ["é", "b"] == orjson.loads(body_of(an_answer(outputs=(tensor,)))[0])["outputs"][0]["data"]


def test_the_id_is_echoed_only_where_it_was_given() -> None:
    """An empty id is an id."""
    bodies = [orjson.loads(body_of(an_answer(client_id=client_id))[0]) for client_id in (None, "", "mine")]

    assert [None, "", "mine"] == [body.get("id") for body in bodies]
    assert "id" not in bodies[0]


def test_the_parameters_of_the_body_follow_the_exposure() -> None:
    """A tenant without exposure gets no figures in the body either."""
    silent = an_answer(tenant=Tenant(tenant_id="x", name="x", exposure="off"))

    assert "greenserve_energy_uj" not in orjson.loads(body_of(silent)[0])["parameters"]
    assert "greenserve_energy_uj" in orjson.loads(body_of(an_answer())[0])["parameters"]
