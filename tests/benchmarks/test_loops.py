"""The load generators against real servers: what they send is understood, what they count is right."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import uvicorn

from benchmarks.closed_loop import drive, head_of_whole, http_request
from benchmarks.grpc_loop import METHOD, drive_grpc, shared_out
from benchmarks.latency import model_span_s
from benchmarks.open_loop import send_open

HOST = "127.0.0.1"
TIMING = "route;dur=0.01, model;dur=1.25, record;dur=0.30"


@contextmanager
def grpc_server(
    answer: Callable[[bytes, Any], bytes], options: tuple[tuple[str, int], ...] = ()
) -> Iterator[tuple[str, int]]:
    """A grpc.aio server with one method, in a thread of its own; its address."""
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), [0]
    stopped = asyncio.Event()

    async def handle(request: bytes, context: Any) -> bytes:
        return answer(request, context)

    async def serve() -> None:
        server = grpc.aio.server(options=options)
        service, method = METHOD.strip("/").split("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(handle)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port[0] = server.add_insecure_port(f"{HOST}:0")
        await server.start()
        ready.set()
        await stopped.wait()
        await server.stop(grace=None)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield HOST, port[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def test_the_grpc_loop_sends_its_messages_and_counts_their_answers() -> None:
    """Real gRPC reads the frames: every message of the list arrives with the key, answers and trailers come back."""
    seen, keys = set(), set()

    def answer(request: bytes, context: Any) -> bytes:
        seen.add(request)
        keys.add(dict(context.invocation_metadata())["authorization"])
        context.set_trailing_metadata((("server-timing", TIMING),))
        return request * 2

    messages = [bytes([number]) * 2000 for number in range(50)]
    with grpc_server(answer) as address:
        outcome = drive_grpc(
            messages, address=address, calls=11, key="k", duration_s=0.4, warm_up_s=0.1, keep_heads=True
        )

    assert set(messages) == seen
    assert {"Bearer k"} == keys
    assert outcome.answers == len(outcome.latencies_s) == len(outcome.heads) > 50
    assert (0, 0) == (outcome.failures, outcome.lost_connections)
    assert {0.00125} == {model_span_s(head) for _, head in outcome.heads}


def test_the_grpc_loop_counts_refused_calls_as_failures() -> None:
    """An answer without a message is a failed call."""

    def answer(_: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        raise RuntimeError

    with grpc_server(answer) as address:
        outcome = drive_grpc([b"x"], address=address, calls=2, key=None, duration_s=0.2, warm_up_s=0.05)

    assert 0 == outcome.answers
    assert 0 < outcome.failures
    assert outcome.energy_uj is None


def test_the_grpc_loop_moves_on_when_the_server_sends_a_channel_away() -> None:
    """The end of a connection's age is no failure: calls under way are answered, the next go over a new channel."""
    old_age = (("grpc.max_connection_age_ms", 150), ("grpc.max_connection_age_grace_ms", 30_000))
    peers: set[str] = set()

    def answer(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return request

    with grpc_server(answer, old_age) as address:
        for _ in range(10):  # a machine that stands still for most of a run is asked again
            peers.clear()
            outcome = drive_grpc([b"x"], address=address, calls=2, key=None, duration_s=0.8, warm_up_s=0.0)
            assert (0, 0) == (outcome.failures, outcome.lost_connections)
            if 4 <= len(peers):
                break

    assert 4 <= len(peers)
    assert 50 < outcome.answers


@pytest.mark.parametrize(("calls", "shared"), [(1, (1,)), (8, (1,) * 8), (11, (2, 2, 2, 1, 1, 1, 1, 1))])
def test_calls_are_shared_evenly_over_the_channels(calls: int, shared: tuple[int, ...]) -> None:
    """No channel without a call, none with two more than another."""
    assert shared == shared_out(calls, 8)


@contextmanager
def http_server() -> Iterator[tuple[str, int]]:
    """A server that answers 200 to /whole, to /chunks in chunks, to /last and hangs up, and 429 to all else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        status = 200 if scope["path"] in {"/whole", "/chunks", "/last"} else 429
        length = [] if scope["path"] == "/chunks" else [(b"content-length", b"4")]
        headers = [*length, (b"connection", b"close")] if scope["path"] == "/last" else length
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"do", "more_body": True})
        await send({"type": "http.response.body", "body": b"ne"})

    config = uvicorn.Config(app, host=HOST, port=0, lifespan="off", log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    bound = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield HOST, bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def test_both_http_loops_read_whole_and_chunked_answers_and_keep_refusals_apart() -> None:
    """The closed loop counts 200 as answers and the rest as failures; the open loop keeps every status."""
    with http_server() as address:
        whole, chunks, refused = (http_request(path, {}, host="test") for path in ("/whole", "/chunks", "/other"))
        answered = drive([whole, chunks], address=address, connections=3, duration_s=0.3, warm_up_s=0.05)
        failed = drive([refused], address=address, connections=3, duration_s=0.2, warm_up_s=0.05)
        arrivals = send_open([whole, chunks, refused], [0.002 * number for number in range(30)], address=address)

    assert 10 < answered.answers
    assert (0, 0) == (answered.failures, answered.lost_connections)
    assert 0 == failed.answers
    assert 10 < failed.failures
    assert [200, 200, 429] * 10 == [one.status for one in arrivals]
    assert all(one.latency_s is not None and 0.0 < one.latency_s < 5.0 for one in arrivals)


def test_a_server_that_closes_a_connection_in_good_order_loses_nothing() -> None:
    """`Connection: close` moves a client to another replica: the loops open a new connection and count no failure."""
    with http_server() as address:
        last = http_request("/last", {}, host="test")
        outcome = drive([last], address=address, connections=2, duration_s=0.3, warm_up_s=0.0)
        arrivals = send_open([last], [0.005 * number for number in range(20)], address=address)

    assert 5 < outcome.answers
    assert (0, 0) == (outcome.failures, outcome.lost_connections)
    assert {200} == {one.status for one in arrivals}


def test_the_open_loop_says_which_requests_nobody_answered() -> None:
    """Without a server every request is still there, with neither status nor latency."""
    arrivals = send_open([b""], [0.0, 0.01], address=(HOST, 1))

    assert [(0.0, None, None), (0.01, None, None)] == [(one.due_s, one.latency_s, one.status) for one in arrivals]


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_whole_with_its_last_byte(answer: bytes, whole: bool) -> None:
    """Not before: the next request would be sent into the middle of it."""
    assert whole == (head_of_whole(answer) is not None)
