"""Applications mounted under a prefix: they get their paths whole, and their failures leave as ours do."""

from collections.abc import Mapping
from typing import Any

import pytest

from greenserve.errors import InvalidRequest
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.message import Receive, Scope, Send
from tests.serve.asking import an_app, ask, said


async def test_mounted_applications_get_their_paths_whole(gateway: Gateway) -> None:
    """What lies under the prefix and the prefix itself, not what only starts like it."""
    seen: list[str] = []

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 418, "headers": [(b"greenserve-request-id", b"0199")]})
        await send({"type": "http.response.body", "body": b""})

    app, _ = an_app(gateway, extra={("v1", "receipts"): mounted})

    for path, status in (("/v1/receipts/5", 418), ("/v1/receipts", 418), ("/v1/receiptsx", 404), ("/v1", 404)):
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any], sent: list[dict[str, Any]] = sent) -> None:
            sent.append(message)

        await app({"type": "http", "method": "GET", "path": path, "headers": []}, nothing, send)
        assert status == sent[0]["status"], path

    assert ["/v1/receipts/5", "/v1/receipts"] == seen


async def nothing() -> Mapping[str, Any]:
    """No body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_an_error_of_a_mounted_application_is_a_problem(gateway: Gateway) -> None:
    """As long as it said nothing itself; ours and unforeseen ones alike."""

    async def invalid(scope: Scope, receive: Receive, send: Send) -> None:
        raise InvalidRequest("limit: a number is needed")

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    app, _ = an_app(gateway, extra={("admin",): invalid, ("metrics",): broken})

    refused, failed = await said(app, "GET", "/admin/v1/x"), await said(app, "GET", "/metrics")

    assert (422, "application/problem+json") == (refused.status, refused.headers["content-type"])
    assert (500, "internal") == (failed.status, failed.code)
    assert b"secret" not in failed.body


async def test_a_mounted_application_that_fails_half_way_cuts_the_connection(gateway: Gateway) -> None:
    """A second start of the answer would be garbage: the error goes up to the server."""

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    with pytest.raises(Exception, match="failed after its answer had begun"):
        await ask(an_app(gateway, extra={("metrics",): half})[0], "GET", "/metrics")
