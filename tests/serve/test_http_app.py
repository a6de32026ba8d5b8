"""The HTTP application without a server: every path, every error, as a server would call it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.clock import SystemClock
from greenserve.errors import BudgetExhausted, InvalidKey
from greenserve.serve.call import Answer, Call
from greenserve.serve.gateway import Gateway
from greenserve.serve.health import Health
from greenserve.serve.http.app import HttpApp
from tests.serve.building import HeldEngines

INFER = "/v2/models/tiny/infer"
GOOD = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good", "bad bad"]}], "id": "mine"}
LIMIT = 10_000


@dataclass(frozen=True)
class Said:
    """One answer: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, which is always JSON."""
        return json.loads(self.body)


class Raising:
    """A gateway that fails on every call."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def handle(self, call: Call) -> Answer:
        """Raise."""
        raise self._error


def an_app(gateway: Gateway | Raising, *missing: str) -> tuple[HttpApp, Health]:
    """An application and its health, ready unless something is `missing`."""
    health = Health(missing=set(missing))
    app = HttpApp(gateway=cast(Gateway, gateway), health=health, clock=SystemClock(), max_body_bytes=LIMIT, max_items=4)
    return app, health


async def ask(
    app: HttpApp, method: str, path: str, body: object = b"", *, gone: bool = False, **headers: str
) -> Said | None:
    """What the application sends; None for nothing. Checks what holds for every answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[dict[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        if gone:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": pairs}, receive, send)
    if not sent:
        return None
    start, end = sent
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    assert ("http.response.start", "http.response.body") == (start["type"], end["type"])
    assert (str(len(end["body"])), "application/json") == (told["content-length"], told["content-type"])
    return Said(start["status"], told, end["body"])


async def said(app: HttpApp, method: str, path: str, body: object = b"", **headers: str) -> Said:
    """The answer, which there is."""
    answer = await ask(app, method, path, body, gone=False, **headers)
    assert answer is not None
    return answer


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
        ("DELETE", "/v2", 405, "method-not-allowed", "read with GET, got DELETE"),
        ("POST", "/v2/models/nobody/infer", 404, "model-unknown", "served are tiny"),
        ("POST", "/v2/models/tiny/versions/9/infer", 404, "model-unknown", "version 1 here, not '9'"),
        ("GET", "/v2/models/nobody", 404, "model-unknown", "served are tiny"),
        ("GET", "/v2/models/tiny/versions/9/ready", 404, "model-unknown", "version 1 here, not '9'"),
    ],
)
async def test_an_error_says_its_code_and_what_to_do(
    method: str, path: str, status: int, code: str, words: str, gateway: Gateway
) -> None:
    """A code for programs, words for people, an id for both; no retry where it does not help."""
    answer = await said(an_app(gateway)[0], method, path, GOOD)

    assert (status, code) == (answer.status, answer.document["code"])
    assert words in answer.document["error"]
    assert answer.document["request_id"] == answer.headers["greenserve-request-id"]
    assert "retry-after" not in answer.headers


async def test_a_body_over_the_limit_and_a_bad_one_are_the_clients_errors(gateway: Gateway) -> None:
    """413 and 400, each naming what is wrong."""
    app, _ = an_app(gateway)

    large, bad = await said(app, "POST", INFER, b"x" * (LIMIT + 1)), await said(app, "POST", INFER, b"{")

    assert (413, "body-too-large") == (large.status, large.document["code"])
    assert (400, "invalid-request") == (bad.status, bad.document["code"])


async def test_a_missing_key_is_asked_for_in_the_protocols_way() -> None:
    """401 with the scheme."""
    answer = await said(an_app(Raising(InvalidKey("a key is needed")))[0], "POST", INFER, GOOD)

    assert (401, "Bearer") == (answer.status, answer.headers["www-authenticate"])


async def test_a_refusal_that_heals_says_when_and_why() -> None:
    """Seconds in the header, the budget's figures in the body."""
    error = BudgetExhausted("used up", retry_after_s=7, details={"limit": "1", "used": "1"})

    answer = await said(an_app(Raising(error))[0], "POST", INFER, GOOD)

    assert (429, "7") == (answer.status, answer.headers["retry-after"])
    assert {"error": "used up", "code": "budget-exhausted", "limit": "1", "used": "1"}.items() <= (
        answer.document.items()
    )


async def test_a_fault_of_ours_leaves_without_a_trace_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns that it was us, the log learns why."""
    with caplog.at_level(logging.ERROR, "greenserve.http"):
        answer = await said(an_app(Raising(RuntimeError("/a/secret/path")))[0], "POST", INFER, GOOD)

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


async def test_only_requests_are_answered(gateway: Gateway) -> None:
    """Another kind of scope, as of a lifespan, is left alone."""
    sent: list[object] = []

    async def receive() -> Mapping[str, Any]:
        raise AssertionError("nothing is read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await an_app(gateway)[0]({"type": "lifespan"}, receive, send)

    assert [] == sent


PARTS = st.sampled_from(["v2", "models", "tiny", "versions", "1", "infer", "ready", "health", "live", "", "é", ".."])


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
    assert 200 == answer.status or answer.document["code"]
