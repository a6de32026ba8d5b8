"""Errors and their status."""

from greenserve.errors import BudgetExhausted, GreenServeError, InvalidRequest
from greenserve.serve.status import STATUS, Status, status_of

GRPC = {
    "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE", "UNIMPLEMENTED",
}  # fmt: skip


class OurOwnRequest(InvalidRequest):
    """A class without a code of its own in the table."""

    code = "our-own"


def test_an_error_without_a_row_takes_its_ancestors() -> None:
    """The table is searched along the class hierarchy; the root is a 500."""
    assert Status(http=400, grpc="INVALID_ARGUMENT") == status_of(OurOwnRequest("x"))
    assert Status(http=500, grpc="INTERNAL") == status_of(GreenServeError("x"))


def test_what_heals_by_waiting_is_a_429() -> None:
    """Clients know what to do with it."""
    assert Status(http=429, grpc="RESOURCE_EXHAUSTED") == status_of(BudgetExhausted("x"))


def test_every_row_is_an_error_of_both_protocols() -> None:
    """4xx or 5xx, and a gRPC status that exists and is not OK."""
    assert all(400 <= status.http < 600 and status.grpc in GRPC for status in STATUS.values())
