"""Whole answers in one write: what leaves, and what is left to ASGI's `send`."""

import asyncio
import logging

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from greenserve.serve.http.message import Pairs
from greenserve.serve.http.whole import send_whole

HEADERS: Pairs = [(b"content-type", b"text/plain"), (b"content-length", b"2")]


class Wire(asyncio.Transport):
    """Keeps each write; never full. State: the writes, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True


def a_cycle(wire: Wire, *, keep_alive: bool = True, ended: list[str] | None = None) -> RequestResponseCycle:
    log = logging.getLogger("test")
    return RequestResponseCycle(
        scope={"type": "http", "method": "POST"},  # type: ignore[typeddict-item]
        transport=wire,
        flow=FlowControl(wire),
        logger=log,
        access_logger=log,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None if ended is None else ended.append("ended"),
    )


def test_head_and_body_leave_in_one_write() -> None:
    """The answer is over then: the connection goes on with the next request."""
    wire, ended = Wire(), list[str]()
    cycle = a_cycle(wire, ended=ended)

    assert send_whole(cycle, 200, HEADERS, b"ok")

    assert [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"] == wire.writes
    assert (True, True, ["ended"], False) == (cycle.response_started, cycle.response_complete, ended, wire.closed)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_the_last_answer_says_so_once_and_closes(keep_alive: bool) -> None:
    """Whether the application ends the connection or the client asked for it."""
    wire = Wire()
    given = [*HEADERS, (b"connection", b"close")] if keep_alive else HEADERS

    assert send_whole(a_cycle(wire, keep_alive=keep_alive), 200, given, b"ok")

    assert 1 == wire.writes[0].count(b"connection: close\r\n")
    assert wire.closed


def test_a_client_that_reads_slowly_or_left_gets_it_the_usual_way() -> None:
    """Nothing is written, and nothing is said to be answered."""
    slow, left = Wire(), Wire()
    waiting, gone = a_cycle(slow), a_cycle(left)
    waiting.flow.pause_writing()
    gone.disconnected = True

    assert [False, False] == [send_whole(waiting, 200, HEADERS, b"ok"), send_whole(gone, 200, HEADERS, b"ok")]

    assert ([], []) == (slow.writes, left.writes)
    assert not waiting.response_started


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"\x00", b"\x7f"])
def test_a_header_that_would_end_early_is_no_answer(value: bytes) -> None:
    """Nothing leaves: an answer split in two would be the next client's."""
    wire = Wire()

    with pytest.raises(ValueError, match="control character"):
        send_whole(a_cycle(wire), 200, [*HEADERS, (b"x", value)], b"ok")

    assert [] == wire.writes
