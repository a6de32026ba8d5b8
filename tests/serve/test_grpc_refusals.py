"""Errors and facts as gRPC metadata."""

from typing import Any

import grpc
import pytest

from greenserve import errors
from greenserve.errors import GreenServeError
from greenserve.serve.grpc.refusals import LONGEST_MESSAGE, abort, known, metadata_of
from greenserve.serve.status import STATUS


class Aborted(Exception):
    """As grpc.aio ends a call."""


class Context:
    """Remembers how a call was ended."""

    def __init__(self) -> None:
        self.code: Any = None
        self.details = ""
        self.trailing: dict[str, str] = {}

    async def abort(self, code: Any, details: str, trailing: tuple[tuple[str, str], ...]) -> None:
        """End the call."""
        self.code, self.details, self.trailing = code, details, dict(trailing)
        raise Aborted


async def aborted(error: GreenServeError) -> Context:
    """How a call ends by an error."""
    context = Context()
    with pytest.raises(Aborted):
        await abort(context, error)
    return context


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GreenServeError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
async def test_every_error_has_a_status_of_grpc_and_carries_its_code(kind: type[GreenServeError]) -> None:
    """By the one table; with a request id to find it by."""
    context = await aborted(kind("why"))

    assert grpc.StatusCode[STATUS[kind.code].grpc] is context.code
    assert ("why", kind.code) == (context.details, context.trailing["greenserve-code"])
    assert 36 == len(context.trailing["greenserve-request-id"])
    assert "retry-after" not in context.trailing


async def test_where_waiting_helps_it_says_how_long() -> None:
    """Seconds, as HTTP's header."""
    assert "7" == (await aborted(errors.RateLimited("slower", retry_after_s=7))).trailing["retry-after"]


async def test_a_long_message_is_cut_to_what_clients_take() -> None:
    """They bound the trailing metadata, and would show a fault of their own instead."""
    assert LONGEST_MESSAGE == len((await aborted(errors.InvalidRequest("x" * 100_000))).details)


def test_an_unforeseen_fault_leaves_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    """The log has it whole."""
    found = known(ZeroDivisionError("secret"))

    assert ("internal", False) == (found.code, "secret" in str(found))
    assert "secret" in caplog.text


def test_facts_travel_in_ascii_and_lower_case() -> None:
    """gRPC refuses to send anything else."""
    assert (("greenserve-route", "malm%C3%B6/fp32;reason=carbon"), ("x", "plain, text")) == metadata_of(
        [("GreenServe-Route", "malmö/fp32;reason=carbon"), ("X", "plain, text")]
    )
