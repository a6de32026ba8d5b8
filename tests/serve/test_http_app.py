"""The HTTP application without a server: every path, every error, as a server would call it."""

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.clock import SystemClock
from greenserve.errors import BudgetExhausted, InvalidKey, NotReady
from greenserve.serve.gateway import Gateway
from greenserve.serve.health import Health
from greenserve.serve.http.app import HttpApp
from greenserve.serve.statistics import Statistics
from tests.serve.asking import LIMITS, WIDE, AtOnce, Raising, an_app, ask, models_of_every_task, said
from tests.serve.building import HeldEngines, an_answer

INFER = "/v2/models/tiny/infer"
GOOD = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good", "bad bad"]}], "id": "mine"}


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny/versions/1/infer", INFER + "/"])
async def test_a_good_question_is_answered(path: str, gateway: Gateway) -> None:
    """Outputs in the protocol's form, the caller's id, and the facts as headers in lower case."""
    answer = await said(an_app(gateway)[0], "POST", path, GOOD)

    assert 200 == answer.status, answer.body
    assert ("tiny", "1", "mine") == tuple(answer.document[name] for name in ("model_name", "model_version", "id"))
    label, probabilities = answer.document["outputs"]
    assert {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["negative", "positive"]} == label
    assert ("FP32", [2, 3], 6) == (probabilities["datatype"], probabilities["shape"], len(probabilities["data"]))
    assert answer.document["parameters"]["greenserve_request_id"] == answer.headers["greenserve-request-id"]
    assert answer.headers["greenserve-route"].startswith("north/")


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        ("GET", "/", 404, "not-found", "/v2"),
        ("POST", "/v2/models/tiny/infers", 404, "not-found", "/v2/models/tiny/infers"),
        ("GET", INFER, 405, "method-not-allowed", "takes POST, got GET"),
        ("DELETE", "/v2", 405, "method-not-allowed", "takes GET, HEAD, got DELETE"),
        ("POST", "/v2/models/nobody/infer", 404, "model-unknown", "served are tiny"),
        ("POST", "/v2/models/tiny/versions/9/infer", 404, "model-unknown", "version 1 here, not '9'"),
        ("GET", "/v2/models/nobody", 404, "model-unknown", "served are tiny"),
        ("GET", "/v2/models/tiny/versions/9/ready", 404, "model-unknown", "version 1 here, not '9'"),
        ("GET", "/v2/models/nobody/config", 404, "model-unknown", "served are tiny"),
        ("GET", "/v2/models/nobody/stats", 404, "model-unknown", "served are tiny"),
        ("GET", "/v1/models/nobody", 404, "model-unknown", "served are tiny"),
        ("GET", "/v1/embeddings", 405, "method-not-allowed", "takes POST, got GET"),
        ("POST", "/v1/chat/completions", 404, "not-found", "chat completions are not offered"),
        ("POST", "/v1/audio/speech/", 404, "not-found", "audio are not offered"),
        ("GET", "/v1/files", 404, "not-found", "no path /v1/files"),
        ("POST", "/readyz", 405, "method-not-allowed", "takes GET, HEAD, got POST"),
    ],
)
async def test_an_error_says_its_code_and_what_to_do(
    method: str, path: str, status: int, code: str, words: str, gateway: Gateway
) -> None:
    """A code for programs, words for people, an id for both; no retry where it does not help."""
    answer = await said(an_app(gateway)[0], method, path, GOOD)

    assert (status, code) == (answer.status, answer.code)
    assert words in answer.words
    assert "retry-after" not in answer.headers
    assert (status == 405) == ("allow" in answer.headers)


@pytest.mark.parametrize(
    ("path", "shape", "content_type"),
    [
        ("/v2/no", {"error", "code", "request_id"}, "application/json"),
        ("/v1/no", {"error"}, "application/json"),
        ("/no", {"type", "title", "status", "detail", "code", "request_id"}, "application/problem+json"),
        ("/v1/receipts/no", {"type", "title", "status", "detail", "code", "request_id"}, "application/problem+json"),
    ],
)
async def test_an_error_has_the_shape_of_its_path(path: str, shape: set[str], content_type: str) -> None:
    """The Open Inference Protocol's, OpenAI's, or problem details; the id is the header's."""
    answer = await said(an_app(Raising(NotReady("x")))[0], "GET", path)

    document = answer.document
    assert (shape, content_type) == (set(document), answer.headers["content-type"])
    holder = document["error"] if shape == {"error"} else document
    assert answer.headers["greenserve-request-id"] == holder["request_id"]


async def test_a_body_over_the_limit_and_a_bad_one_are_the_clients_errors(gateway: Gateway) -> None:
    """413 and 400, each naming what is wrong."""
    app, _ = an_app(gateway)

    large, bad = (
        await said(app, "POST", INFER, b"x" * (LIMITS.max_body_bytes + 1)),
        await said(app, "POST", INFER, b"{"),
    )

    assert (413, "body-too-large") == (large.status, large.document["code"])
    assert (400, "invalid-request") == (bad.status, bad.document["code"])


async def test_a_missing_key_is_asked_for_in_the_protocols_way(tiny_manifest: Path) -> None:
    """401 with the scheme."""
    gateway = Raising(InvalidKey("a key is needed"), models_of_every_task(tiny_manifest))

    answer = await said(an_app(gateway)[0], "POST", INFER, GOOD)

    assert (401, "Bearer") == (answer.status, answer.headers["www-authenticate"])


async def test_a_refusal_that_heals_says_when_and_why(tiny_manifest: Path) -> None:
    """Seconds in the header, the budget's figures in the body."""
    error = BudgetExhausted("used up", retry_after_s=7, details={"limit": "1", "used": "1"})

    answer = await said(an_app(Raising(error, models_of_every_task(tiny_manifest)))[0], "POST", INFER, GOOD)

    assert (429, "7") == (answer.status, answer.headers["retry-after"])
    assert {"error": "used up", "code": "budget-exhausted", "limit": "1", "used": "1"}.items() <= (
        answer.document.items()
    )


async def test_a_fault_of_ours_leaves_without_a_trace_and_is_logged(
    caplog: pytest.LogCaptureFixture, tiny_manifest: Path
) -> None:
    """The client learns that it was us, the log learns why."""
    gateway = Raising(RuntimeError("/a/secret/path"), models_of_every_task(tiny_manifest))
    with caplog.at_level(logging.ERROR, "greenserve.http"):
        answer = await said(an_app(gateway)[0], "POST", INFER, GOOD)

    assert (500, "internal") == (answer.status, answer.document["code"])
    assert b"secret" not in answer.body
    assert "/a/secret/path" in caplog.text


async def test_who_left_gets_no_answer(gateway: Gateway, engines: HeldEngines) -> None:
    """Nothing is sent and nothing is run for a client that went before its body was whole."""
    assert await ask(an_app(gateway)[0], "POST", INFER, GOOD, gone=True) is None
    assert [] == engines.batches


async def test_readiness_follows_the_replica(gateway: Gateway) -> None:
    """Alive from the start; ready when nothing is missing, and until it drains; what is missing is named."""
    app, health = an_app(gateway, "models")
    paths = ("/readyz", "/v2/health/ready", "/v2/models/tiny/ready")

    waiting = [await said(app, "GET", path) for path in paths]
    health.has("models")
    ready = [await said(app, "GET", path) for path in paths]
    health.draining = True
    draining = [await said(app, "GET", path) for path in paths]

    assert [503, 503, 503] == [answer.status for answer in waiting]
    assert ["models"] == waiting[0].document["waiting_for"]
    assert [200, 200, 200] == [answer.status for answer in ready]
    assert [503, 503, 503] == [answer.status for answer in draining]
    assert ["draining"] == draining[0].document["waiting_for"]
    assert [200, 200] == [(await said(app, method, "/livez")).status for method in ("GET", "HEAD")]


async def test_a_draining_replica_answers_and_asks_clients_to_leave(gateway: Gateway) -> None:
    """Good answers and errors alike carry `connection: close`, and only then."""
    app, health = an_app(gateway)
    before = await said(app, "POST", INFER, GOOD)
    health.draining = True

    good, bad = await said(app, "POST", INFER, GOOD), await said(app, "POST", INFER, b"{")

    assert "connection" not in before.headers
    assert [(200, "close"), (400, "close")] == [(each.status, each.headers["connection"]) for each in (good, bad)]


async def test_the_server_and_its_models_describe_themselves(gateway: Gateway) -> None:
    """Names, version, tensors with as many columns as there are classes."""
    app, _ = an_app(gateway)

    server, model = await said(app, "GET", "/v2"), await said(app, "GET", "/v2/models/tiny")

    assert "greenserve" == server.document["name"]
    assert ("tiny", ["1"]) == (model.document["name"], model.document["versions"])
    assert ["text"] == [tensor["name"] for tensor in model.document["inputs"]]
    assert [[-1], [-1, 3]] == [tensor["shape"] for tensor in model.document["outputs"]]


async def test_statistics_are_told_by_model_and_variant(gateway: Gateway) -> None:
    """Of one model and of all; what was never asked has counters of zero and no time of a last inference."""
    app, statistics = an_app(gateway)[0], Statistics(clock=SystemClock())
    asked = HttpApp(
        gateway=gateway, health=Health(missing=set()), clock=SystemClock(), statistics=statistics, limits=LIMITS
    )
    statistics.seen(an_answer())
    statistics.ran("tiny", "1", "fp32", items=2, took_ns=70)

    (never,) = (await said(app, "GET", "/v2/models/tiny/stats")).document["model_stats"]
    (once,) = (await said(asked, "GET", "/v2/models/stats")).document["model_stats"]

    assert ("tiny", "1", 0, False) == (
        never["name"],
        never["version"],
        never["execution_count"],
        "last_inference" in never,
    )
    assert (1, 3_000_000) == tuple(once["inference_stats"]["success"].values())
    assert [{"batch_size": 2, "compute_infer": {"count": 1, "ns": 70}}] == once["batch_stats"]
    assert [("fp32", 2)] == [(each["name"], each["inference_count"]) for each in once["variants"]]
    assert once["last_inference"] > 1_000_000_000_000


async def test_only_requests_are_answered(gateway: Gateway) -> None:
    """Another kind of scope, as of a lifespan, is left alone."""
    sent: list[object] = []

    async def receive() -> Mapping[str, Any]:
        raise AssertionError("nothing is read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await an_app(gateway)[0]({"type": "lifespan"}, receive, send)

    assert [] == sent


async def test_a_question_about_the_head_is_answered_without_a_body(gateway: Gateway) -> None:
    """The same status and length as with GET."""
    app, _ = an_app(gateway)

    for path in ("/v2", "/v2/models/tiny", "/livez", "/openapi.json", "/v2/no"):
        head, whole = await said(app, "HEAD", path), await said(app, "GET", path)
        assert (whole.status, whole.headers["content-length"]) == (head.status, head.headers["content-length"])


async def test_every_model_path_takes_a_version(gateway: Gateway) -> None:
    """And a slash at its end."""
    app, _ = an_app(gateway)

    for base in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        for last in ("", "/ready", "/config", "/stats", "/", "/config/"):
            assert 200 == (await said(app, "GET", base + last)).status, base + last


async def test_the_configuration_says_what_a_client_must_know(gateway: Gateway) -> None:
    """Triton's names of types; whole shapes where the batch is a text tensor's only axis."""
    document = (await said(an_app(gateway)[0], "GET", "/v2/models/tiny/config")).document

    assert ("tiny", "greenserve", 0) == tuple(document[name] for name in ("name", "backend", "max_batch_size"))
    assert [{"name": "text", "data_type": "TYPE_STRING", "dims": [-1]}] == document["input"]
    assert {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [-1, 3]} == document["output"][1]
    assert {"specific": {"versions": [1]}} == document["version_policy"]


async def test_the_configuration_of_a_tensor_model_leaves_the_batch_out(tiny_manifest: Path) -> None:
    """As the protocol has it where every tensor has more axes."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest)))

    document = (await said(app, "GET", "/v2/models/one/config")).document

    assert 1 == document["max_batch_size"]
    assert [{"name": "x", "data_type": "TYPE_INT32", "dims": [2]}] == document["input"]


@pytest.mark.parametrize(
    ("body", "ready", "found"),
    [
        (b"", True, ["READY"]),
        ({}, False, ["UNAVAILABLE"]),
        ({"ready": True}, True, ["READY"]),
        ({"ready": True}, False, []),
    ],
)
async def test_the_repository_lists_the_models(body: object, ready: bool, found: list[str], gateway: Gateway) -> None:
    """With their state; on demand only those that take requests."""
    app, _ = an_app(gateway, *([] if ready else ["ledger"]))

    answer = await said(app, "POST", "/v2/repository/index", body)

    assert [("tiny", "1", state) for state in found] == [
        (each["name"], each["version"], each["state"]) for each in answer.document
    ]


@pytest.mark.parametrize("body", [b"{", [], {"name": 1}, {"ready": "yes"}])
async def test_a_bad_question_to_the_repository_is_refused(body: object, gateway: Gateway) -> None:
    """400, naming the member."""
    answer = await said(an_app(gateway)[0], "POST", "/v2/repository/index", body)

    assert (400, "invalid-request") == (answer.status, answer.code)


@pytest.mark.parametrize("accepted", ["gzip", "deflate"])
async def test_long_answers_of_a_model_are_compressed_for_who_asks(accepted: str, tiny_manifest: Path) -> None:
    """Over 1 KiB only, and nothing but a model's answers: clients that ask by habit do not unpack the rest."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest)), limits=WIDE)
    many = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [32], "data": ["good"] * 32}]}

    packed = await said(app, "POST", INFER, many, accept_encoding=accepted)
    short = await said(app, "POST", INFER, GOOD, accept_encoding=accepted)
    document = await said(app, "GET", "/openapi.json", accept_encoding=accepted)

    assert (accepted, "accept-encoding") == (packed.headers["content-encoding"], packed.headers["vary"])
    assert "tiny" == json.loads(zlib.decompress(packed.body, 47))["model_name"]
    assert [False, False] == ["content-encoding" in answer.headers for answer in (short, document)]


async def test_binary_in_and_out_over_the_whole_path(gateway: Gateway) -> None:
    """As tritonclient asks by default: bytes behind a JSON head both ways."""
    head = json.dumps(
        {
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 8}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()

    answer = await said(
        an_app(gateway)[0], "POST", INFER, head + b"\4\0\0\0good", inference_header_content_length=str(len(head))
    )

    assert (200, "application/octet-stream") == (answer.status, answer.headers["content-type"])
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.body[:length])["outputs"]
    assert [12, 12] == [output["parameters"]["binary_data_size"] for output in outputs]
    assert b"\x08\0\0\0negative" == answer.body[length : length + 12]
    assert length + 24 == len(answer.body)


async def test_a_raw_body_is_one_text(gateway: Gateway) -> None:
    """A head of no bytes: the body is the one input, and the outputs come back as bytes."""
    answer = await said(an_app(gateway)[0], "POST", INFER, b"good", inference_header_content_length="0")

    assert 200 == answer.status
    assert b"negative" in answer.body


PARTS = st.sampled_from(
    ["v1", "v2", "models", "tiny", "versions", "1", "infer", "embeddings", "ready", "health", "live", "", "é", ".."]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "BREW"]),
    path=st.lists(PARTS, max_size=6).map("/".join),
    body=st.binary(max_size=40) | st.just(json.dumps(GOOD).encode()),
    encoding=st.sampled_from(["identity", "gzip", "br"]),
)
async def test_whatever_comes_in_a_status_leaves(
    gateway: Gateway, method: str, path: str, body: bytes, encoding: str
) -> None:
    """Good answers and the client's own errors only: nothing that is sent makes a fault of ours."""
    answer = await said(an_app(gateway)[0], method, f"/{path}", body, content_encoding=encoding)

    assert answer.status in {200, 400, 404, 405, 413, 415}
    assert 200 == answer.status or method == "HEAD" or answer.code != "ok"
