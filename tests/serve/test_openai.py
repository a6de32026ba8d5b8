"""OpenAI's embeddings and models: every form of input, both encodings, exact usage, typed errors."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InferenceFailed, InvalidRequest
from greenserve.serve.http.openai import MOST_ITEMS, MOST_TOKENS, Embed, embed_of, embeddings_body
from greenserve.serve.tensors import tensor_of
from tests.serve.asking import DIMENSIONS, WIDE, AtOnce, Raising, an_app, models_of_every_task, said
from tests.serve.building import an_answer
from tests.serve.test_oip import json_values

EMBED = "/v1/embeddings"
VECTORS = np.array([[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=np.float32)
MEMBERS = ("model", "input", "encoding_format", "dimensions", "user", "other")


@pytest.fixture
def gateway(tiny_manifest: Path) -> AtOnce:
    """Answers every request for two items with VECTORS."""
    return AtOnce(models_of_every_task(tiny_manifest), tensor_of("sentence_embedding", VECTORS))


def asked(**changes: Any) -> Embed:
    """A request for two texts."""
    whole: dict[str, Any] = {
        "model": "embed", "texts": ("a", "b"), "token_rows": None, "encoding": "float", "dimensions": None,
    }  # fmt: skip
    return Embed(**(whole | changes))


@pytest.mark.parametrize(
    ("given_input", "texts", "token_rows"),
    [
        ("good", ("good",), None),
        (["good", "bad"], ("good", "bad"), None),
        ([1, 2], None, ((1, 2),)),
        ([[1, 2], [3]], None, ((1, 2), (3,))),
        ([1.0, 2], None, ((1, 2),)),
        ([[1, 2.0], [3.0]], None, ((1, 2), (3,))),
    ],
)
async def test_every_form_of_input_reaches_the_model(
    given_input: Any, texts: Any, token_rows: Any, gateway: AtOnce
) -> None:
    """A text, texts, token ids, lists of token ids; the protocol is named in the call."""
    answer = await said(an_app(gateway)[0], "POST", EMBED, {"model": "embed", "input": given_input, "user": "me"})

    assert 200 == answer.status, answer.body
    call = gateway.calls[0]
    assert ("openai", token_rows, "embed") == (call.protocol, call.token_rows, call.model)
    assert texts == (call.inputs[0].data if call.inputs else None)


async def test_an_answer_has_the_clients_form_and_our_facts(gateway: AtOnce) -> None:
    """One embedding per item in their order, usage in tokens, energy and carbon with their tier."""
    answer = await said(an_app(gateway)[0], "POST", EMBED, {"model": "embed", "input": ["good bad", "awful"]})

    document = answer.document
    assert ("list", "embed") == (document["object"], document["model"])
    assert [("embedding", 0), ("embedding", 1)] == [(each["object"], each["index"]) for each in document["data"]]
    np.testing.assert_array_equal(VECTORS, np.array([each["embedding"] for each in document["data"]], dtype="<f4"))
    assert {"prompt_tokens": 3, "total_tokens": 3} == document["usage"]
    assert "class_average" == document["greenserve"]["tier"]
    assert document["greenserve"]["request_id"] == answer.headers["greenserve-request-id"]
    assert str(document["greenserve"]["energy_uj"]) == answer.headers["greenserve-energy"].partition(";")[0]


async def test_base64_is_little_endian_floats(gateway: AtOnce) -> None:
    """What OpenAI's SDK asks for unless told otherwise."""
    body = {"model": "embed", "input": ["good", "bad"], "encoding_format": "base64"}

    answer = await said(an_app(gateway)[0], "POST", EMBED, body)

    rows = [np.frombuffer(b64decode(each["embedding"]), dtype="<f4") for each in answer.document["data"]]
    np.testing.assert_array_equal(VECTORS, np.stack(rows))


async def test_shorter_vectors_come_from_models_made_for_it(gateway: AtOnce) -> None:
    """Cut and brought back to length 1; zeros stay zeros."""
    body = {"model": "nested", "input": ["good", "bad"], "dimensions": 1}

    answer = await said(an_app(gateway)[0], "POST", EMBED, body)

    assert [[1.0], [0.0]] == [each["embedding"] for each in answer.document["data"]]


async def test_a_key_is_needed_as_everywhere(tiny_manifest: Path) -> None:
    """401 of the right type, for models as for embeddings."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest), auth="required"))

    refused = [
        await said(app, "POST", EMBED, {"model": "embed", "input": "x"}),
        await said(app, "GET", "/v1/models"),
        await said(app, "GET", "/v1/models/embed"),
    ]

    assert [(401, "authentication_error")] * 3 == [(each.status, each.document["error"]["type"]) for each in refused]


async def test_models_are_listed_and_retrieved(gateway: AtOnce) -> None:
    """All of them, since their variants were built."""
    app, _ = an_app(gateway)

    listed, one = await said(app, "GET", "/v1/models"), await said(app, "GET", "/v1/models/embed")

    assert ["tiny", "embed", "nested", "pair", "one"] == [each["id"] for each in listed.document["data"]]
    assert {"id": "embed", "object": "model", "created": 1_767_323_045, "owned_by": "greenserve"} == one.document


async def test_an_unknown_model_is_named_as_the_fault(gateway: AtOnce) -> None:
    """404 with `param`."""
    app, _ = an_app(gateway)

    refused = [
        await said(app, "POST", EMBED, {"model": "gpt", "input": "x"}),
        await said(app, "GET", "/v1/models/gpt"),
    ]

    for each in refused:
        error = each.document["error"]
        assert (404, "model", "model-unknown") == (each.status, error["param"], error["code"])
        assert "served are" in error["message"]


async def test_a_model_of_another_kind_says_where_to_ask_it(gateway: AtOnce) -> None:
    """And which ones embed."""
    answer = await said(an_app(gateway)[0], "POST", EMBED, {"model": "tiny", "input": "x"})

    assert (400, "model") == (answer.status, answer.document["error"]["param"])
    assert "/v2/models/tiny/infer" in answer.words
    assert "embed, nested" in answer.words


LONG = "word9 " * 65
ROWS: tuple[tuple[str, Any, str], ...] = (
    ("an unknown member", {"model": "embed", "input": "x", "other": 1}, "other"),
    ("no model", {"input": "x"}, "model"),
    ("model empty", {"model": "", "input": "x"}, "model"),
    ("model a number", {"model": 5, "input": "x"}, "model"),
    ("model nothing", {"model": None, "input": "x"}, "model"),
    ("model a list", {"model": ["embed"], "input": "x"}, "model"),
    ("no input", {"model": "embed"}, "input"),
    ("input nothing", {"model": "embed", "input": None}, "input"),
    ("input a number", {"model": "embed", "input": 5}, "input"),
    ("input true", {"model": "embed", "input": True}, "input"),
    ("input an object", {"model": "embed", "input": {"text": "x"}}, "input"),
    ("input an empty text", {"model": "embed", "input": ""}, "input"),
    ("input an empty list", {"model": "embed", "input": []}, "input"),
    ("input of an empty text", {"model": "embed", "input": ["x", ""]}, "input"),
    ("input of nothing", {"model": "embed", "input": [None]}, "input"),
    ("input of objects", {"model": "embed", "input": [{"text": "x"}]}, "input"),
    ("input of booleans", {"model": "embed", "input": [True]}, "input"),
    ("input of fractions", {"model": "embed", "input": [1.5]}, "input"),
    ("texts and numbers", {"model": "embed", "input": ["x", 5]}, "input"),
    ("texts and lists", {"model": "embed", "input": ["x", [5]]}, "input"),
    ("numbers and texts", {"model": "embed", "input": [5, "x"]}, "input"),
    ("lists and texts", {"model": "embed", "input": [[5], "x"]}, "input"),
    ("an empty list of ids", {"model": "embed", "input": [[5], []]}, "input"),
    ("ids of fractions", {"model": "embed", "input": [[5, 1.5]]}, "input"),
    ("ids of booleans", {"model": "embed", "input": [[5, True]]}, "input"),
    ("ids of texts", {"model": "embed", "input": [["5"]]}, "input"),
    ("ids nested once more", {"model": "embed", "input": [[[5]]]}, "input"),
    ("a negative id", {"model": "embed", "input": [5, -1]}, "input"),
    ("an id over the vocabulary", {"model": "embed", "input": [5_000]}, "input"),
    ("more ids than the model takes", {"model": "embed", "input": [[5] * 65]}, "input"),
    ("more words than the model takes", {"model": "embed", "input": LONG}, "input"),
    ("a text without a token", {"model": "embed", "input": " "}, "input"),
    ("one item too many", {"model": "embed", "input": ["x"] * (MOST_ITEMS + 1)}, "input"),
    ("one list too many", {"model": "embed", "input": [[5]] * (MOST_ITEMS + 1)}, "input"),
    ("more items than the gateway takes", {"model": "embed", "input": ["x"] * 33}, "input"),
    ("another encoding", {"model": "embed", "input": "x", "encoding_format": "hex"}, "encoding_format"),
    ("encoding a number", {"model": "embed", "input": "x", "encoding_format": 5}, "encoding_format"),
    ("encoding nothing", {"model": "embed", "input": "x", "encoding_format": None}, "encoding_format"),
    ("encoding a list", {"model": "embed", "input": "x", "encoding_format": ["float"]}, "encoding_format"),
    ("user a number", {"model": "embed", "input": "x", "user": 5}, "user"),
    ("user an object", {"model": "embed", "input": "x", "user": {}}, "user"),
    ("dimensions of a model without", {"model": "embed", "input": "x", "dimensions": DIMENSIONS}, "dimensions"),
    ("dimensions zero", {"model": "nested", "input": "x", "dimensions": 0}, "dimensions"),
    ("dimensions negative", {"model": "nested", "input": "x", "dimensions": -1}, "dimensions"),
    ("dimensions a fraction", {"model": "nested", "input": "x", "dimensions": 1.5}, "dimensions"),
    ("dimensions true", {"model": "nested", "input": "x", "dimensions": True}, "dimensions"),
    ("dimensions a text", {"model": "nested", "input": "x", "dimensions": "2"}, "dimensions"),
    ("dimensions over the model's", {"model": "nested", "input": "x", "dimensions": DIMENSIONS + 1}, "dimensions"),
    ("a member of chat", {"model": "embed", "input": "x", "messages": []}, "messages"),
    ("stream", {"model": "embed", "input": "x", "stream": True}, "stream"),
)


@pytest.mark.parametrize(("body", "param"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_a_bad_request_names_the_member(body: Any, param: str, gateway: AtOnce) -> None:
    """400 with OpenAI's type, the member as `param` and in the message; nothing of ours breaks."""
    answer = await said(an_app(gateway, limits=WIDE)[0], "POST", EMBED, body)

    error = answer.document["error"]
    assert (400, "invalid_request_error", "invalid-request", param) == (
        answer.status, error["type"], error["code"], error["param"],
    )  # fmt: skip
    assert len(error["message"]) < 1_000
    assert [] == gateway.calls


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 2_000, b'{"model": NaN}'])
async def test_a_body_that_is_no_object_is_refused(body: bytes, gateway: AtOnce) -> None:
    """In OpenAI's form as well."""
    answer = await said(an_app(gateway)[0], "POST", EMBED, body)

    assert (400, "invalid-request") == (answer.status, answer.code)
    assert "body" in answer.words


@pytest.mark.parametrize("item", ["x", [5]])
def test_a_request_holds_2_048_items(item: Any) -> None:
    """And not one more, texts and lists of ids alike."""
    most = embed_of(orjson.dumps({"model": "embed", "input": [item] * 2_048}))

    assert 2_048 == len(most.token_rows or most.texts)
    with pytest.raises(InvalidRequest, match=r"1\.\.2,048 items are allowed, got 2,049"):
        embed_of(orjson.dumps({"model": "embed", "input": [item] * 2_049}))


async def test_a_request_holds_300_000_tokens(gateway: AtOnce) -> None:
    """The gateway is told so, for texts and for token ids."""
    for item in ("x", [5]):
        await said(an_app(gateway)[0], "POST", EMBED, {"model": "embed", "input": item})

    assert [MOST_TOKENS] * 2 == [call.most_tokens for call in gateway.calls]


async def test_texts_that_could_be_too_long_are_counted_and_answered(gateway: AtOnce) -> None:
    """Many characters are not many tokens."""
    body = {"model": "embed", "input": ["verylongword" * 3_000] * 10}

    answer = await said(an_app(gateway, limits=WIDE)[0], "POST", EMBED, body)

    assert (200, 10) == (answer.status, answer.document["usage"]["total_tokens"])


async def test_who_has_no_key_makes_nobody_count_tokens(tiny_manifest: Path) -> None:
    """A long text without a key is refused before it is read by the tokenizer."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest), auth="required"), limits=WIDE)

    answer = await said(app, "POST", EMBED, {"model": "embed", "input": "x " * (MOST_TOKENS // 2 + 1)})

    assert 401 == answer.status


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=6))
def test_any_request_is_read_or_refused_with_its_member(document: dict[str, object]) -> None:
    """No other error than InvalidRequest, and it always says which member."""
    try:
        found = embed_of(orjson.dumps(document))
    except InvalidRequest as error:
        param = error.details["param"]
    else:
        param = "model" if found.model == document["model"] else None

    assert param in MEMBERS


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=5), min_size=1, max_size=4), st.booleans())
def test_vectors_arrive_as_the_model_gave_them(rows: list[list[float]], in_base64: bool) -> None:
    """To the last bit, as numbers and in base64."""
    vectors = np.array([row[:2] for row in rows], dtype=np.float32)
    answer = an_answer(outputs=(tensor_of("sentence_embedding", vectors),))

    document = json.loads(embeddings_body(answer, asked(encoding="base64" if in_base64 else "float")))

    shown = [each["embedding"] for each in document["data"]]
    read = [np.frombuffer(b64decode(each), "<f4") if in_base64 else np.array(each, "<f4") for each in shown]
    np.testing.assert_array_equal(vectors, np.stack(read))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_no_number_is_the_models_failure(value: float) -> None:
    """It is said, not sent."""
    answer = an_answer(outputs=(tensor_of("sentence_embedding", np.array([[value]], dtype=np.float32)),))

    with pytest.raises(InferenceFailed, match="NaN or infinity"):
        embeddings_body(answer, asked())


async def test_a_fault_of_ours_has_openais_form_too(tiny_manifest: Path) -> None:
    """500 as server_error, without a trace."""
    app, _ = an_app(Raising(RuntimeError("secret"), models_of_every_task(tiny_manifest)))

    answer = await said(app, "POST", EMBED, {"model": "embed", "input": "x"})

    assert (500, "server_error") == (answer.status, answer.document["error"]["type"])
    assert b"secret" not in answer.body
