"""Errors over HTTP: three shapes, one code, one request id, and headers that clients act on."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    GreenServeError,
    InvalidKey,
    InvalidRequest,
    MethodNotAllowed,
    RateLimited,
)
from greenserve.serve.http.errors import TITLES, Shape, error_response, rate_limit_fields
from greenserve.serve.http.message import Response
from greenserve.serve.status import STATUS

SHAPES: tuple[Shape, ...] = ("oip", "openai", "problem")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
BUDGET = {
    "policy": "acme-monthly", "unit": "gCO2e", "limit": "500", "used": "499.2", "reserved": "0.3000009",
    "window_s": 2_592_000, "resets_at": "2026-12-01T00:00:00Z", "actions": ["wait", "raise-budget"],
}  # fmt: skip


def headers_of(response: Response) -> dict[str, str]:
    """Each header once, as text."""
    found = {name.decode(): value.decode() for name, value in response.headers}
    assert len(found) == len(response.headers)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_carries_the_same_code_words_and_id(shape: Shape) -> None:
    """And the id is the header's."""
    response = error_response(BudgetExhausted("used up", details=BUDGET | {"request_id": "0199"}), shape)

    document: dict[str, Any] = orjson.loads(response.body)
    holder = document["error"] if shape == "openai" else document
    words = {"oip": "error", "openai": "message", "problem": "detail"}[shape]
    assert ("budget-exhausted", "used up", "0199") == (holder["code"], holder[words], holder["request_id"])
    assert ("499.2", "500", ["wait", "raise-budget"]) == (holder["used"], holder["limit"], holder["actions"])
    assert "0199" == headers_of(response)["greenserve-request-id"]
    assert 429 == response.status


def test_our_own_paths_say_problem_details() -> None:
    """RFC 9457: type, title, status, detail; what can't be processed is a 422."""
    response = error_response(InvalidRequest("limit: a number is needed"), "problem")

    document = orjson.loads(response.body)
    assert (422, b"application/problem+json") == (response.status, response.content_type)
    assert ("/problems/invalid-request", 422, "limit: a number is needed") == (
        document["type"], document["status"], document["detail"],
    )  # fmt: skip
    assert [400, 400] == [error_response(InvalidRequest("x"), shape).status for shape in SHAPES[:2]]


def test_openai_gets_its_type_and_param() -> None:
    """The member where one is known, else null; `param` stands nowhere else."""
    named = error_response(InvalidRequest("x", details={"param": "input"}), "openai")
    plain = error_response(DeadlineExceeded("x"), "openai")

    assert {"type": "invalid_request_error", "param": "input"}.items() <= orjson.loads(named.body)["error"].items()
    assert {"type": "server_error", "param": None}.items() <= orjson.loads(plain.body)["error"].items()
    assert "param" not in orjson.loads(error_response(InvalidRequest("x", details={"param": "a"}), "oip").body)


@pytest.mark.parametrize(
    "details", [{"error": "z", "code": "z", "message": "z", "status": 1, "type": "z", "title": "z"}]
)
def test_details_never_replace_what_every_error_has(details: dict[str, object]) -> None:
    """Members of ours win."""
    oip = orjson.loads(error_response(RateLimited("slow", details=details), "oip").body)
    openai = orjson.loads(error_response(RateLimited("slow", details=details), "openai").body)["error"]
    problem = orjson.loads(error_response(RateLimited("slow", details=details), "problem").body)

    assert ("slow", "rate-limited") == (oip["error"], oip["code"])
    assert ("slow", "rate-limited", "rate_limit_error") == (openai["message"], openai["code"], openai["type"])
    assert ("rate-limited", 429, "Too many requests") == (problem["code"], problem["status"], problem["title"])


@pytest.mark.parametrize(
    ("wait_s", "expected"),
    [(None, (None, None)), (0, ("0", None)), (60, ("60", None)), (61, ("61", "false")), (777_600, ("777600", "false"))],
)
def test_a_long_wait_tells_clients_not_to_retry(wait_s: int | None, expected: tuple[str | None, str | None]) -> None:
    """Over 60 s a client's own retries are of no use."""
    headers = headers_of(error_response(BudgetExhausted("x", retry_after_s=wait_s), "openai"))

    assert expected == (headers.get("retry-after"), headers.get("x-should-retry"))


def test_errors_bring_the_headers_that_http_asks_for() -> None:
    """The scheme with 401, the methods with 405."""
    unknown = headers_of(error_response(InvalidKey("x"), "oip"))
    method = headers_of(error_response(MethodNotAllowed("x", details={"allow": "GET, HEAD"}), "oip"))

    assert "Bearer" == unknown["www-authenticate"]
    assert "GET, HEAD" == method["allow"]
    assert "www-authenticate" not in method


def test_a_budget_shows_as_rate_limit_fields_in_integers() -> None:
    """Micrograms, the remaining ones rounded down; seconds until the window ends."""
    assert {
        "ratelimit-policy": '"acme-monthly";q=500000000;qu="ugco2e";w=2592000',
        "ratelimit": '"acme-monthly";r=499999;t=777600',
    } == rate_limit_fields(BUDGET, retry_after_s=5, now=NOW)


@pytest.mark.parametrize(
    ("limit", "unit", "window_s", "policy"),
    [
        ("200", "requests/s", 1, '"a";q=200;w=1'),
        ("0.5", "requests/s", 1, '"a";q=1;w=2'),
        ("1000", "tokens/s", 1, '"a";q=1000;qu="tokens";w=1'),
        ("8", "requests at once", None, '"a";q=8;qu="concurrent-requests"'),
    ],
)
def test_a_rate_shows_as_a_quota_per_window(limit: str, unit: str, window_s: int | None, policy: str) -> None:
    """Half a request per second is one in two; nothing is left, and when to come again is Retry-After's."""
    details = {"policy": "a", "unit": unit, "limit": limit, "window_s": window_s}

    assert {"ratelimit-policy": policy, "ratelimit": '"a";r=0;t=3'} == rate_limit_fields(
        details, retry_after_s=3, now=NOW
    )


@pytest.mark.parametrize(
    "details",
    [{}, {"policy": "a"}, {"policy": "a", "limit": "x", "unit": "J"}, {"policy": "a", "limit": "5", "unit": "apples"}],
)
def test_an_unknown_limit_shows_no_fields(details: dict[str, object]) -> None:
    """Rather none than wrong ones."""
    assert {} == rate_limit_fields(details, retry_after_s=None, now=NOW)


@given(
    st.sampled_from(sorted(TITLES)),
    st.text(max_size=30),
    st.dictionaries(st.text(max_size=12), st.none() | st.integers(-9, 9) | st.text(max_size=9), max_size=5),
    st.sampled_from(SHAPES),
)
def test_any_error_leaves_as_json_with_headers_of_one_line(
    code: str, message: str, details: dict[str, Any], shape: Shape
) -> None:
    """Whatever stands in its details, also under the names of limits."""
    kind = type("Any", (GreenServeError,), {"code": code})

    response = error_response(kind(message, details=BUDGET | details, retry_after_s=1), shape)

    assert isinstance(orjson.loads(response.body), dict)
    assert all(value.decode("ascii").isprintable() for _, value in response.headers)


def test_every_code_has_a_title() -> None:
    """Problem details need one."""
    assert set(STATUS) == set(TITLES)
