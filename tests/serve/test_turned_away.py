"""Requests that the door turns away, over real sockets."""

import asyncio
import json

import pytest

from greenserve.serve.door import FEW, MOST_WAITING, Door
from tests.serve.listening import GET, QUICK, served, wire

INFER = "/v2/models/m/infer"


def a_post(path: str, body: bytes = b"{}", headers: str = "") -> bytes:
    """A whole request."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def a_full_door() -> Door:
    """A door before so many waiting requests that nobody gets in."""
    door = Door()
    door.waiting = MOST_WAITING
    return door


@pytest.mark.parametrize(
    ("path", "member"),
    [
        (INFER, "code"),
        ("/v2/models/m/versions/1/infer", "code"),
        ("/v1/embeddings", "error"),
        ("/%76%31/embeddings", "error"),
    ],
)
async def test_it_is_answered_in_the_shape_of_its_protocol_and_the_connection_stays(path: str, member: str) -> None:
    """429 with Retry-After and an id of its own; the application sees nothing; the next request is answered."""
    door = a_full_door()
    async with served(door=door) as serving, wire(serving.port) as client:
        first = await client.asked(a_post(path))
        second = await client.asked(a_post(path, b"x" * 5_000))
        door.waiting = 0
        third = await client.asked(a_post(path, b"four"))
    ids = [headers["greenserve-request-id"] for _, headers, _ in (first, second)]
    documents = [json.loads(body) for _, _, body in (first, second)]
    assert [429, 429, 200] == [status for status, _, _ in (first, second, third)]
    assert ["1", "1"] == [headers["retry-after"] for _, headers, _ in (first, second)]
    assert 2 == len(set(ids))
    assert ids == [(each["error"] if member == "error" else each)["request_id"] for each in documents]
    assert (b"4", 1) == (third[2], len(serving.app.scopes))


async def test_only_inference_is_turned_away() -> None:
    """Health, metrics and administration answer most when they are needed most."""
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        assert 200 == (await client.asked(GET))[0]
        assert 200 == (await client.asked(a_post("/whole", b"abc")))[0]


@pytest.mark.parametrize("path", [INFER, "/v1/embeddings"])
async def test_a_pipeline_is_judged_in_its_order(path: str) -> None:
    """Requests behind one that is being answered are turned away after it, and the connection stays in step."""
    door = a_full_door()
    async with served(door=door) as serving, wire(serving.port) as client:
        client.writer.write(a_post("/wait") + a_post(path, b"abcdef") * 2 + a_post("/whole", b"four"))
        await serving.app.waiting.wait()
        serving.app.go.set()
        found = [await client.answer() for _ in range(4)]
        door.waiting = 0
        again = await client.asked(a_post(path, b"five5"))
    ids = [headers["greenserve-request-id"] for _, headers, _ in found[1:3]]
    assert [200, 429, 429, 200, 200] == [status for status, _, _ in (*found, again)]
    assert (b"2", b"4", b"5") == (found[0][2], found[3][2], again[2])
    assert ["1", "1"] == [headers["retry-after"] for _, headers, _ in found[1:3]]
    assert all(each.encode() in body for each, (_, _, body) in zip(ids, found[1:3], strict=True))
    assert 3 == len(serving.app.scopes)


async def test_every_request_of_a_pipeline_asks_the_door() -> None:
    """Nobody gets in behind somebody else: of twenty the first is let in."""

    class Once(Door):
        asked = 0

        def lets_in(self, credential: object, model: str | None, now_ns: int) -> bool:
            self.asked += 1
            return self.asked == 1

    door = Once()
    async with served(door=door) as serving, wire(serving.port) as client:
        client.writer.write(a_post(INFER) * 20)
        found = [(await client.answer())[0] for _ in range(20)]
    assert ([200] + [429] * 19, 20) == (found, door.asked)


async def test_who_waits_as_the_door_shuts_is_asked_about_again() -> None:
    """Let in by an open door and not decoded yet: nor is it then, in step with what follows."""

    class Shutting(Door):
        asked = 0

        def lets_in(self, credential: object, model: str | None, now_ns: int) -> bool:
            self.asked += 1
            if self.asked == 1:
                for _ in range(FEW + 1):
                    self.refused()
            return self.asked in {1, 3}

    door = Shutting()
    async with served(door=door) as serving, wire(serving.port) as client:
        found = [await client.asked(a_post(INFER, b"three")), await client.asked(a_post("/whole", b"four"))]
        door.shut = True
        found.append(await client.asked(a_post(INFER, b"five5")))
    assert [429, 200, 200] == [status for status, _, _ in found]
    assert 3 == door.asked
    assert 2 == len(serving.app.scopes)


async def test_a_pipelined_body_in_pieces_is_thrown_away_first() -> None:
    """The answer leaves when the whole request is here, as for one that came alone."""
    whole = a_post(INFER, b"x" * 3_000)
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        client.writer.write(a_post("/wait") + whole[:500])
        await serving.app.waiting.wait()
        serving.app.go.set()
        assert 200 == (await client.answer())[0]
        client.writer.write(whole[500:])
        assert 429 == (await client.answer())[0]
        assert 429 == (await client.asked(a_post(INFER)))[0]
    assert 1 == len(serving.app.scopes)


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
async def test_only_what_infers_is_turned_away(method: str) -> None:
    """Other methods have the application's own answer, HEAD one without a body, and the next answer is in step."""
    asked = f"{method} {INFER} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        client.writer.write(asked)
        await serving.app.seen(1)
        head = await client.reader.readuntil(b"\r\n\r\n")
        if method != "HEAD":
            await client.reader.readexactly(1)
        assert 429 == (await client.asked(a_post(INFER)))[0]
    assert b"HTTP/1.1 200" == head[:12]


async def test_a_body_that_never_comes_is_answered() -> None:
    """408, as where the door is open, and not nothing."""
    begun = a_post(INFER, b"x" * 10).removesuffix(b"x" * 7)
    async with served(QUICK, door=a_full_door()) as serving, wire(serving.port) as client:
        status, headers, body = await client.asked(begun)
    assert (408, "close", "receive-timeout") == (status, headers["connection"], json.loads(body)["code"])


async def test_a_body_that_grows_over_the_limit_is_answered() -> None:
    """413, though the request would have been turned away."""
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"1000\r\n" + b"x" * 4_096 + b"\r\n"
    async with served(QUICK, door=a_full_door()) as serving, wire(serving.port) as client:
        status, _, body = await client.asked(head + chunk * 3)
    assert (413, "body-too-large") == (status, json.loads(body)["code"])


async def test_a_body_in_pieces_is_thrown_away_first() -> None:
    """The answer leaves when the whole request is here, so that the connection stays in step."""
    door = a_full_door()
    whole = a_post(INFER, b"x" * 3_000)
    async with served(door=door) as serving, wire(serving.port) as client:
        for start in range(0, len(whole), 700):
            client.writer.write(whole[start : start + 700])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert 429 == (await client.answer())[0]
        assert 429 == (await client.asked(a_post(INFER)))[0]
    assert [] == serving.app.scopes


async def test_who_wants_the_connection_closed_gets_that() -> None:
    """`Connection: close` holds for a request that is turned away too."""
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        assert 429 == (await client.asked(a_post(INFER, headers="Connection: close\r\n")))[0]
        assert b"" == await client.rest()


async def test_nothing_waits_once_all_were_looked_at_or_left() -> None:
    """The count of waiting requests comes back to zero, also for clients that leave at once."""
    door = Door()
    async with served(door=door) as serving:
        for _ in range(20):
            async with wire(serving.port) as client:
                client.writer.write(a_post(INFER))
        async with wire(serving.port) as client:
            assert 200 == (await client.asked(a_post(INFER)))[0]
    assert 0 == door.waiting


@pytest.mark.parametrize(
    "path",
    [
        f"{INFER}?x",
        "/v2/models/m/inf%65r",
        "/v2/models/m/versions/1/infer/?a=/b",
        "http://x/v2/models/m/infer?x",
        "/%76%31/embeddings",
        f"{INFER}#x",
    ],
)
async def test_no_spelling_of_a_path_goes_around_it(path: str) -> None:
    """The door judges the path that the application will see: unquoted, without its query."""
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        assert 429 == (await client.asked(a_post(path)))[0]
    assert [] == serving.app.scopes


async def test_a_query_that_looks_like_inference_is_none() -> None:
    """Only the path says what a request is for."""
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        assert 200 == (await client.asked(a_post("/whole?/v2/models/m/infer", b"abc")))[0]
        assert 200 == (await client.asked(a_post("/v1/embeddings-of/whole", b"abc")))[0]


@pytest.mark.parametrize("header", ["Expect: 100-continue", "Connection: Upgrade\r\nUpgrade: h2c"])
async def test_who_waits_for_permission_or_offers_another_protocol_is_answered_at_once(header: str) -> None:
    """429 instead of 100, before the body; the connection ends, since nobody knows whether the body will come."""
    head = a_post(INFER, b"x" * 10, headers=f"{header}\r\n").removesuffix(b"x" * 10)
    async with served(door=a_full_door()) as serving, wire(serving.port) as client:
        status, headers, body = await client.asked(head)
        assert b"" == await client.rest()
    assert (429, "1", "close") == (status, headers["retry-after"], headers["connection"])
    assert "overloaded" == json.loads(body)["code"]
    assert [] == serving.app.scopes


async def test_who_waits_for_permission_gets_it_where_there_is_room() -> None:
    """100, then the answer."""
    head = a_post(INFER, b"four", headers="Expect: 100-continue\r\n").removesuffix(b"four")
    async with served(door=Door()) as serving, wire(serving.port) as client:
        client.writer.write(head)
        assert b"HTTP/1.1 100" == (await client.reader.readuntil(b"\r\n\r\n"))[:12]
        assert (200, b"4") == (lambda answer: (answer[0], answer[2]))(await client.asked(b"four"))
