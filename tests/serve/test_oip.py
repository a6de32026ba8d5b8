"""Open Inference Protocol v2 in JSON: what goes in comes out, and nothing else raises but what we name."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest
from greenserve.records import Tenant
from greenserve.serve.http.oip import body_of, call_of
from tests.serve.building import a_decision
from tests.serve.test_names import an_answer

texts = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5)
outputs = st.lists(st.sampled_from(["label", "probabilities"]), unique=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
MEMBERS = ("id", "parameters", "inputs", "outputs", "name", "datatype", "shape", "data", "timeout", "text", "BYTES")


def read(document: object, **headers: str) -> Any:
    """The call of a JSON document."""
    return call_of(orjson.dumps(document), headers, model="tiny", version="", received_ns=7, max_items=32)


def a_document(given_texts: list[str], **members: object) -> dict[str, object]:
    return {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(given_texts)], "data": given_texts}]
    } | members


@given(texts, outputs, st.none() | st.text(max_size=9), st.none() | st.integers(1, 10**12))
def test_a_good_body_is_read_as_it_is(
    given_texts: list[str], wanted: list[str], client_id: str | None, timeout_us: int | None
) -> None:
    """Texts, outputs in their order (none: all), id, timeout in seconds."""
    parameters = {} if timeout_us is None else {"timeout": timeout_us}
    members: dict[str, object] = {"outputs": [{"name": name} for name in wanted], "parameters": parameters}

    call = read(a_document(given_texts, **members, **({} if client_id is None else {"id": client_id})))

    assert (tuple(given_texts), client_id, 7) == (call.texts, call.client_id, call.received_ns)
    assert (tuple(wanted) or ("label", "probabilities")) == call.outputs
    assert (None if timeout_us is None else timeout_us / 1e6) == call.timeout_s


@given(json_values | st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4))
def test_any_json_is_refused_in_words(document: object) -> None:
    """A document that happens to be good is not among these; no other error than InvalidRequest, whatever it is."""
    with pytest.raises(InvalidRequest, match=r"body|unknown member|inputs|outputs|parameters|id:"):
        read(document)


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=6))
def test_any_tensor_is_read_or_refused_in_words(tensor: dict[str, object]) -> None:
    """The same one level deeper."""
    try:
        texts_read = read({"inputs": [tensor]}).texts
    except InvalidRequest:
        return

    assert tensor["data"] == list(texts_read)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_words(body: bytes) -> None:
    """Also those that are no JSON at all."""
    with pytest.raises(InvalidRequest):
        call_of(body, {}, model="tiny", version="", received_ns=7, max_items=32)


@given(st.integers(1, 4), st.data())
def test_an_answer_can_be_read_back(rows: int, data: st.DataObject) -> None:
    """Labels, and the very same 32-bit floats."""
    floats = st.floats(0, 1, width=32)
    probabilities = np.array(
        data.draw(st.lists(st.lists(floats, min_size=3, max_size=3), min_size=rows, max_size=rows)), dtype=np.float32
    )
    labels = tuple(data.draw(st.lists(st.text(max_size=5), min_size=rows, max_size=rows)))
    answer = an_answer("exact", labels=labels, probabilities=probabilities, outputs=("probabilities", "label"))

    document = orjson.loads(body_of(answer))

    first, second = document["outputs"]
    assert ("probabilities", "FP32", [rows, 3]) == (first["name"], first["datatype"], first["shape"])
    assert probabilities.ravel().tolist() == np.array(first["data"], dtype=np.float32).tolist()
    assert ("label", "BYTES", [rows], list(labels)) == (
        second["name"], second["datatype"], second["shape"], second["data"],
    )  # fmt: skip


def test_the_id_is_echoed_only_where_it_was_given() -> None:
    """An empty id is an id."""
    bodies = [orjson.loads(body_of(an_answer("exact", client_id=client_id))) for client_id in (None, "", "mine")]

    assert [None, "", "mine"] == [body.get("id") for body in bodies]
    assert "id" not in bodies[0]


def test_the_parameters_of_the_body_follow_the_exposure() -> None:
    """A tenant without exposure gets no figures in the body either."""
    silent = an_answer("exact", tenant=Tenant(tenant_id="x", name="x", exposure="off"), decision=a_decision())

    assert "greenserve_energy_uj" not in orjson.loads(body_of(silent))["parameters"]
    assert "greenserve_energy_uj" in orjson.loads(body_of(an_answer("exact")))["parameters"]
