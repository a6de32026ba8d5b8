"""`GreenServe-Defer-Until` on a whole running gateway, over both protocols."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.end_to_end.conftest import Asking
from tests.end_to_end.protocols import Ask, Client

REFUSED = {"http": 400, "grpc": "INVALID_ARGUMENT"}


def in_s(seconds: float) -> dict[str, str]:
    """The hint of a time so far from now."""
    return {"greenserve-defer-until": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}


def test_what_may_wait_is_answered_at_once_where_waiting_gains_nothing(client: Client, ask: Asking) -> None:
    """The grid of the tests is the same all year; the time that it was held is told."""
    told = ask(client, Ask(texts=(f"no hurry over {client.name}",), hints=in_s(600.0)))

    assert "ok" == told.code
    assert "defer;dur=" in told.headers["server-timing"]


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({"greenserve-defer-until": "tonight"}, "such as 2027-01-31T08:30:00Z, got 'tonight'"),
        ({"greenserve-defer-until": "2027-01-31T08:30:00"}, "a time with its offset"),
        (in_s(-60.0), "a time within the next 900 s is needed"),
        (in_s(86_400.0), "a time within the next 900 s is needed"),
    ],
)
def test_a_time_that_cannot_be_waited_for_is_the_callers_error(
    client: Client, ask: Asking, hints: dict[str, str], words: str
) -> None:
    """With what is allowed; nothing is run."""
    refused = ask(client, Ask(hints=hints))

    assert ("invalid-request", REFUSED[client.name]) == (refused.code, refused.status)
    assert words in refused.message
