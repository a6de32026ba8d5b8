"""One HTTP connection and its bounds, over real sockets."""

import asyncio
import json
import logging
import socket

import pytest

from greenserve.serve.http.guard import HttpLimits
from tests.serve.listening import GET, HOST, PATIENCE_S, QUICK, Wire, served, wire


def a_post(body: bytes, *, path: str = "/whole", headers: str = "") -> bytes:
    """A request with a declared length."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def code_of(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str, str]:
    """Status, error code, and what the answer says of the connection."""
    status, headers, body = answer
    document = json.loads(body)
    assert document["request_id"] == headers["greenserve-request-id"]
    return status, document["code"], headers.get("connection", "keep")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\n\r\n", 431, "headers-too-large"),
        (b"GET /" + b"a" * 5_000, 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 3_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 3_000, 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 500, 431, "headers-too-large"),
        (a_post(b"x" * 10_001), 413, "body-too-large"),
        (b"POST / HTTP/1.1\r\nContent-Length: 2147483648\r\n\r\n", 413, "body-too-large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2800\r\n" + b"x" * 10_240, 413, "body-too-large"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 415, "unsupported-encoding"),
        (b"POST / HTTP/1.1\r\nExpect: a miracle\r\n\r\n", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400, "invalid-request"),
        (b"GET /\xc3\x28 HTTP/1.1\r\n\r\n", 400, "invalid-request"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "invalid-request"),
        (b"GET / HTTP/1.1\r\na: b\r\n folded\r\n\r\n", 400, "invalid-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid-request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_100, 400, "invalid-request"),
        (
            b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "invalid-request",
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid-request"),
    ],
)
async def test_what_is_too_large_or_malformed_is_refused_at_once(request_bytes: bytes, status: int, code: str) -> None:
    """As JSON with a code, and then the connection ends; the application sees none of it whole."""
    async with served() as one, wire(one.port) as client:
        answer = await client.asked(request_bytes)

        assert (status, code, "close") == code_of(answer)
        assert b"" == await client.rest()
        assert {code: 1} == one.listener.guard.refused


async def test_errors_take_the_shape_of_their_path() -> None:
    """Each client library finds the message where it looks for it."""
    async with served() as one:
        found = []
        for path in ("/v2/models/m/infer", "/v1/embeddings", "/admin/v1/keys"):
            async with wire(one.port) as client:
                status, headers, body = await client.asked(a_post(b"x" * 10_001, path=path))
                document = json.loads(body)
                found.append((status, headers["content-type"], type(document.get("error")), "detail" in document))

    assert [
        (413, "application/json", str, False),
        (413, "application/json", dict, False),
        (413, "application/problem+json", type(None), True),
    ] == found


async def test_what_is_just_small_enough_is_served() -> None:
    """Each limit itself is allowed."""
    path = b"/whole?" + b"a" * (512 - 7)
    head = b"GET " + path + b" HTTP/1.1\r\nx: "
    padding = 2_048 - len(path) - len(b"x: \r\n")
    async with served() as one, wire(one.port) as client:
        answers = [
            await client.asked(a_post(b"x" * 10_000)),
            await client.asked(head + b"a" * padding + b"\r\n\r\n"),
            await client.asked(
                b"POST /whole HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
            ),
        ]

    assert [(200, b"10000"), (200, b"0"), (200, b"3")] == [(status, body) for status, _, body in answers]


async def test_messages_in_one_segment_are_measured_one_by_one() -> None:
    """A pipeline is answered in order, however much of it comes at once; then a fault ends it."""
    async with served() as one, wire(one.port) as client:
        client.writer.write(b"".join(a_post(b"x" * 3_000) for _ in range(3)))

        assert [b"3000"] * 3 == [(await client.answer())[2] for _ in range(3)]

        client.writer.write(GET + b"NONSENSE\r\n\r\n")

        assert "close" == (await client.answer())[1]["connection"]
        assert b"" == await client.rest()


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        (b"", None),
        (b"GET /who", (408, "receive-timeout", "close")),
        (a_post(b"whole")[:-2], (408, "receive-timeout", "close")),
        (GET, None),
    ],
    ids=["nothing", "half a head", "half a body", "idle after an answer"],
)
async def test_who_does_not_go_on_is_cut_off(beginning: bytes, expected: tuple[int, str, str] | None) -> None:
    """A client that began a request is told so, one that owes nothing is just closed."""
    async with served(QUICK) as one, wire(one.port) as client:
        client.writer.write(beginning)
        if beginning == GET:
            assert 200 == (await client.answer())[0]
        if expected:
            assert expected == code_of(await client.answer())

        assert b"" == await client.rest()


async def test_a_request_is_answered_once() -> None:
    """An application that answers before the body is whole has answered; what does not come ends the connection."""
    async with served(QUICK) as one, wire(one.port) as client:
        assert 200 == (await client.asked(a_post(b"whole", path="/early")[:-2]))[0]
        assert b"" == await client.rest()


async def test_nonsense_after_an_answer_is_told_so() -> None:
    """Also on a connection that was used well before."""
    async with served() as one, wire(one.port) as client:
        assert 200 == (await client.asked(GET))[0]
        assert (400, "invalid-request", "close") == code_of(await client.asked(b"NONSENSE\r\n\r\n"))


async def test_a_byte_now_and_then_buys_no_time() -> None:
    """The head has its time from its first byte on."""
    async with served(QUICK) as one, wire(one.port) as client:

        async def drip() -> None:
            for byte in GET * 100:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        answer = await client.answer()
        dripping.cancel()

    assert (408, "receive-timeout", "close") == code_of(answer)


async def test_who_does_not_read_its_answer_loses_the_connection() -> None:
    """Eight MiB do not fit into the sockets' buffers."""
    async with served(QUICK) as one:
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.connect((HOST, one.port))
            reader.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await one.app.begun.wait()
                while one.listener.connections:
                    one.listener.guard.left.clear()
                    await one.listener.guard.left.wait()


async def test_who_reads_gets_a_large_answer_whole() -> None:
    """Also where it does not fit into the buffers."""
    async with served() as one, wire(one.port) as client:
        assert 2**23 == len((await client.asked(b"GET /large HTTP/1.1\r\n\r\n"))[2])
        assert 200 == (await client.asked(GET))[0]


async def test_work_ends_when_its_client_leaves() -> None:
    """The handling is cancelled, and nothing of it is left."""
    async with served() as one:
        async with wire(one.port) as client:
            client.writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
            await one.app.waiting.wait()
        async with asyncio.timeout(PATIENCE_S):
            await one.app.cancelled.wait()
            await one.listener.guard.settled()

        assert (0, "<Guard 0 to close, 0 refused, 0 ending>") == (
            one.listener.in_flight(),
            repr(one.listener.guard),
        )


async def test_a_request_that_is_never_whole_ends_with_its_client() -> None:
    """The application that waits for the rest of the body is cancelled as well."""
    async with served() as one:
        async with wire(one.port) as client:
            client.writer.write(a_post(b"whole")[:-2])
            await one.app.begun.wait()
        async with asyncio.timeout(PATIENCE_S):
            await one.app.cancelled.wait()


@pytest.mark.parametrize("path", ["/broken", "/silent"])
async def test_an_application_that_fails_shows_nothing_of_itself(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """500 with a code; why stands in the log."""
    async with served() as one, wire(one.port) as client:
        with caplog.at_level(logging.ERROR, "greenserve.http"):
            answer = await client.asked(f"GET {path} HTTP/1.1\r\n\r\n".encode())

        assert (500, "internal", "close") == code_of(answer)
        assert b"secret" not in answer[2]
        assert 1 == len(caplog.records)


async def test_a_client_that_waits_for_permission_gets_it() -> None:
    """`Expect: 100-continue` is answered before the body is read."""
    async with served() as one, wire(one.port) as client:
        whole = a_post(b"abc", headers="Expect: 100-continue\r\n")
        client.writer.write(whole[:-3])
        interim = await client.reader.readuntil(b"\r\n\r\n")

        assert b"HTTP/1.1 100 Continue\r\n\r\n" == interim
        assert (200, b"3") == (await client.asked(b"abc"))[::2]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_offers_of_other_protocols_are_ignored(protocol: str) -> None:
    """The request is answered as what it is, and the connection ends with it."""
    async with served() as one, wire(one.port) as client:
        whole = a_post(b"abc", headers=f"Connection: upgrade\r\nUpgrade: {protocol}\r\n")
        client.writer.write(whole[:-1])
        await one.app.begun.wait()
        status, headers, body = await client.asked(whole[-1:] + b"more")

        assert (200, "close", b"3") == (status, headers["connection"], body)


async def test_headers_that_other_servers_obey_reach_nobody() -> None:
    """Nor do those that only a trusted peer may send, nor any that come after the body."""
    powers = "X-Request-Timeout-Seconds: 9\r\nSERVE_MULTIPLEXED_MODEL_ID: x\r\nX-HTTP-Method-Override: DELETE\r\n"
    claims = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nGreenServe-Hop: 1\r\nForwarded: for=1.2.3.4\r\n"
    trailer = b"Authorization: Bearer another\r\n"
    async with served() as one, wire(one.port) as client:
        head = f"POST /whole HTTP/1.1\r\nHost: x\r\n{powers}{claims}Transfer-Encoding: chunked\r\n\r\n".encode()
        await client.asked(head + b"1\r\na\r\n0\r\n" + trailer + b"\r\n")

        assert [b"host", b"transfer-encoding"] == [name for name, _ in one.app.scopes[0]["headers"]]
        assert (HOST, "http") == (one.app.scopes[0]["client"][0], one.app.scopes[0]["scheme"])


async def test_a_trusted_peer_speaks_for_its_clients() -> None:
    """Address, scheme and hop count; what the client itself claimed does not."""
    head = "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-Proto: https\r\nGreenServe-Hop: 1\r\nX-Original-URL: /\r\n"
    async with served(trusted=("127.0.0.0/8",)) as one, wire(one.port) as client:
        await client.asked(a_post(b"", headers=head))

        assert ("1.2.3.4", "https") == (one.app.scopes[0]["client"][0], one.app.scopes[0]["scheme"])
        assert (b"1", None) == (one.app.header(b"greenserve-hop"), one.app.header(b"x-original-url"))

        await client.asked(a_post(b""))

        assert (HOST, "http") == (one.app.scopes[1]["client"][0], one.app.scopes[1]["scheme"])


async def test_where_a_proxy_ends_tls_nobody_else_may_connect(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is closed, and the log says why, once."""
    async with served(trusted=("10.0.0.0/8",), only_trusted=True) as one:
        for _ in range(3):
            async with wire(one.port) as client:
                assert b"" == await client.rest()

        assert [] == one.app.scopes
        assert 1 == sum("outside server.trusted" in record.message for record in caplog.records)


async def test_slow_clients_do_not_slow_the_others() -> None:
    """A hundred that send half a request each, and one that is served meanwhile."""
    async with served(HttpLimits(header_s=0.3, body_s=0.3, linger_s=0.1)) as one, wire(one.port) as client:
        slow = [Wire(*await asyncio.open_connection(HOST, one.port)) for _ in range(100)]
        for number, each in enumerate(slow):
            each.writer.write(a_post(b"whole")[: -2 if number % 2 else 20])

        assert 200 == (await client.asked(GET))[0]
        codes = {code_of(await each.answer()) for each in slow}
        for each in slow:
            await each.close()

    assert {(408, "receive-timeout", "close")} == codes
