"""Asking over HTTP: limits of time and size, 429, and no key in any message or log."""

import logging

import pytest

from greenserve.errors import GridUnavailable
from tests.carbon.grid_server import NOW_US, Answer, a_clock, a_fetcher, a_grid_server


async def test_an_answer_comes_with_its_digest_and_time() -> None:
    """The digest is that of the bytes that came."""
    async with a_grid_server() as server, a_fetcher(a_clock()) as fetcher:
        server.says["/v1"] = Answer("abc")

        fetched = await fetcher.get(f"{server.url}/v1", provider="a test", params={"zone": "DE"})

    assert b"abc" == fetched.body
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == fetched.sha256
    assert NOW_US == fetched.retrieved_us
    assert {"zone": ["DE"]} == server.asked[0].query


@pytest.mark.parametrize(
    ("status", "headers", "pause_s", "word"),
    [
        (429, {"retry-after": "120"}, 120, "wait 120 s"),
        (429, {"retry-after": "Fri, 06 Mar 2026 20:10:00 GMT"}, 600, "wait 600 s"),
        (429, {"retry-after": "Fri, 06 Mar 2026 19:00:00 GMT"}, 0, "wait 0 s"),
        (429, {"retry-after": "soon"}, None, "fewer calls"),
        (429, {}, None, "fewer calls"),
        (503, {"retry-after": "999999999999"}, 86_400, "wait 86400 s"),
        (401, {}, None, "check the key"),
        (500, {"retry-after": "5"}, None, "asked again later"),
        (302, {"location": "http://127.0.0.1:1/"}, None, "answered 302"),
    ],
)
async def test_a_refusal_says_what_to_do_and_how_long_to_wait(
    status: int, headers: dict[str, str], pause_s: int | None, word: str
) -> None:
    """429 and 503 are obeyed, in seconds or as a date; redirects are not followed, they could carry the key away."""
    async with a_grid_server() as server, a_fetcher(a_clock()) as fetcher:
        server.says["/v1"] = Answer("no", status=status, headers=headers)

        with pytest.raises(GridUnavailable, match=word) as refused:
            await fetcher.get(f"{server.url}/v1", provider="a test")

    assert pause_s == refused.value.retry_after_s


async def test_a_slow_provider_is_left_after_the_limit() -> None:
    """5 s by default; the message names provider, path and limit."""
    async with a_grid_server() as server, a_fetcher(a_clock(), timeout_s=0.05) as fetcher:
        server.says["/v1"] = Answer(hang=True)

        with pytest.raises(GridUnavailable, match=r"a test: /v1: no answer within 0\.05 s"):
            await fetcher.get(f"{server.url}/v1", provider="a test")


async def test_a_provider_that_is_not_there_is_told() -> None:
    """Nobody listens on port 1."""
    async with a_fetcher(a_clock()) as fetcher:
        with pytest.raises(GridUnavailable, match="a test: /v1: ConnectError"):
            await fetcher.get("http://127.0.0.1:1/v1", provider="a test")


async def test_a_flood_is_not_read_to_its_end() -> None:
    """32 MiB is more than any document of any provider."""
    async with a_grid_server() as server, a_fetcher(a_clock()) as fetcher:
        server.says["/v1"] = Answer("x" * (32 * 2**20 + 1))

        with pytest.raises(GridUnavailable, match="over 33554432 bytes"):
            await fetcher.get(f"{server.url}/v1", provider="a test")


async def test_a_key_that_cannot_be_sent_is_not_repeated() -> None:
    """The client's own message would show the header whole."""
    async with a_fetcher(a_clock()) as fetcher:
        with pytest.raises(GridUnavailable) as refused:
            await fetcher.get("http://127.0.0.1:1/v1", provider="a test", headers={"auth-token": "s3cret\n"})

    assert "s3cret" not in str(refused.value)


async def test_no_message_and_no_log_holds_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """Some providers take their key in the query: what is logged and told ends before it."""
    caplog.set_level(logging.DEBUG)
    async with a_grid_server() as server, a_fetcher(a_clock()) as fetcher:
        server.says["/v1"] = Answer("no", status=403)

        with pytest.raises(GridUnavailable) as refused:
            await fetcher.get(f"{server.url}/v1", provider="a test", params={"api_key": "s3cret"})

    assert "/v1" in caplog.text
    assert "s3cret" not in str(refused.value) + caplog.text
