"""Errors and their status."""

import pytest

from greenserve.errors import BudgetExhausted, GreenServeError, InvalidRequest
from greenserve.serve.status import STATUS, Status, status_of

GRPC = {
    "ALREADY_EXISTS", "CANCELLED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "INTERNAL", "INVALID_ARGUMENT",
    "NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE", "UNIMPLEMENTED",
}  # fmt: skip
OPENAI = {
    "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "insufficient_quota",
    "server_error",
}  # fmt: skip


class OurOwnRequest(InvalidRequest):
    """A class without a code of its own in the table."""

    code = "our-own"


def test_an_error_without_a_row_takes_its_ancestors() -> None:
    """The table is searched along the class hierarchy; the root is a 500."""
    assert Status(http=400, grpc="INVALID_ARGUMENT", openai="invalid_request_error") == status_of(OurOwnRequest("x"))
    assert Status(http=500, grpc="INTERNAL", openai="server_error") == status_of(GreenServeError("x"))


def test_what_heals_by_waiting_is_a_429() -> None:
    """Clients know what to do with it."""
    assert Status(http=429, grpc="RESOURCE_EXHAUSTED", openai="insufficient_quota") == status_of(BudgetExhausted("x"))


@pytest.mark.parametrize(
    ("code", "http", "grpc", "openai"),
    [
        ("invalid-key", 401, "UNAUTHENTICATED", "authentication_error"),
        ("key-blocked", 403, "PERMISSION_DENIED", "permission_error"),
        ("idempotency-conflict", 409, "ALREADY_EXISTS", "invalid_request_error"),
        ("already-exists", 409, "ALREADY_EXISTS", "invalid_request_error"),
        ("reload-failed", 409, "FAILED_PRECONDITION", "invalid_request_error"),
        ("headers-too-large", 431, "INVALID_ARGUMENT", "invalid_request_error"),
        ("overloaded", 429, "RESOURCE_EXHAUSTED", "rate_limit_error"),
        ("client-closed", 499, "CANCELLED", "server_error"),
        ("region-full", 503, "UNAVAILABLE", "server_error"),
        ("deadline-exceeded", 504, "DEADLINE_EXCEEDED", "server_error"),
    ],
)
def test_a_code_means_the_same_in_every_protocol(code: str, http: int, grpc: str, openai: str) -> None:
    """One row for all three."""
    assert Status(http=http, grpc=grpc, openai=openai) == STATUS[code]


def test_every_row_is_an_error_of_every_protocol() -> None:
    """4xx or 5xx, a gRPC status that exists and is not OK, and a type that OpenAI's clients know."""
    for status in STATUS.values():
        assert 400 <= status.http < 600
        assert status.grpc in GRPC
        assert status.openai in OPENAI
