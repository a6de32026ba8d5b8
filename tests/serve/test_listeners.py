"""Listeners that share a port, hand their clients over, and speak TLS."""

import asyncio
import json
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.serve.door import Door
from greenserve.serve.listeners import certificate_of, guard_of, http_limits, tls_context
from greenserve.serve.ports import is_free
from tests.serve.building import a_config
from tests.serve.listening import GET, HOST, PATIENCE_S, Wire, a_certificate, served, wire


async def test_a_drained_listener_loses_nobody() -> None:
    """Two share a port, one ends under load: every client that obeys `Connection: close` gets every answer."""
    async with served() as stays, served(port=stays.port) as goes:
        stop = asyncio.Event()
        answered = [0]

        async def ask() -> None:
            while not stop.is_set():
                async with wire(stays.port) as client:
                    closes = False
                    while not closes and not stop.is_set():
                        status, headers, _ = await client.asked(GET)
                        assert 200 == status
                        answered[0] += 1
                        closes = "connection" in headers

        clients = [asyncio.create_task(ask()) for _ in range(16)]
        async with asyncio.timeout(PATIENCE_S):
            await goes.app.begun.wait()
            goes.listener.notice()
            for asked in range(1, 5):
                await stays.app.seen(asked * 50)
            await goes.listener.drain()
            last = len(goes.app.scopes)
            await stays.app.seen(len(stays.app.scopes) + 50)
        stop.set()
        await asyncio.gather(*clients)

        assert last == len(goes.app.scopes)
    assert answered[0] == len(goes.app.scopes) + len(stays.app.scopes)
    assert "<HttpListener closed, 0 connections>" == repr(goes.listener)


async def test_who_waits_in_the_accept_queue_is_served() -> None:
    """Connections that the kernel has taken and nobody has accepted are not reset."""
    async with served() as one:
        sockets = []
        for _ in range(20):  # the loop does not run in between: all of them wait in the queue
            connection = socket.create_connection((HOST, one.port))
            connection.setblocking(False)
            sockets.append(connection)

        draining = asyncio.create_task(one.listener.drain())
        answers = []
        for connection in sockets:
            client = Wire(*await asyncio.open_connection(sock=connection))
            answers.append(await client.asked(GET))
            await client.close()
        await draining

    assert [(200, "close")] * 20 == [(status, headers["connection"]) for status, headers, _ in answers]
    assert is_free(HOST, one.port)


async def test_what_is_under_way_ends_before_the_listener_does() -> None:
    """A slow answer is waited for; idle connections are not."""
    async with served() as one, wire(one.port) as busy, wire(one.port) as idle:
        await idle.asked(GET)
        busy.writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
        await one.app.waiting.wait()

        draining = asyncio.create_task(one.listener.drain())
        ended = await idle.rest()
        one.app.go.set()
        status, headers, _ = await busy.answer()
        await draining

    assert (b"", 200, "close") == (ended, status, headers["connection"])


async def test_what_takes_too_long_is_told_to_go_elsewhere() -> None:
    """`draining`, and its handling is cancelled."""
    async with served() as one, wire(one.port) as client:
        client.writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
        await one.app.waiting.wait()

        await one.listener.drain(grace_s=0.1)
        status, _, body = await client.answer()

        assert (503, "draining") == (status, json.loads(body)["code"])
        assert one.app.cancelled.is_set()


async def test_a_surplus_of_connections_is_asked_to_leave() -> None:
    """As many answers as are to be closed, and no more."""
    async with served() as one, wire(one.port) as first, wire(one.port) as second:
        one.listener.guard.closing = 1

        answers = [await first.asked(GET), await second.asked(GET), await second.asked(GET)]

        assert ["close", "keep", "keep"] == [headers.get("connection", "keep") for _, headers, _ in answers]
        assert (0, 1) == (one.listener.guard.closing, one.listener.lively())


async def test_http_over_tls_needs_the_certificate(tmp_path: Path) -> None:
    """Clients that know it are served; plain HTTP and old TLS are not."""
    certificate = a_certificate(tmp_path)
    async with served(certificate=certificate) as one:
        known = ssl.create_default_context(cafile=str(certificate[0]))
        async with httpx.AsyncClient(verify=known, trust_env=False) as client:
            answer = await client.post(f"https://{HOST}:{one.port}/whole", content=b"abc")
        assert (200, "3", "https") == (answer.status_code, answer.text, one.app.scopes[0]["scheme"])

        async with httpx.AsyncClient(trust_env=False) as stranger:
            with pytest.raises(httpx.ConnectError, match="self-signed"):
                await stranger.get(f"https://{HOST}:{one.port}/whole")
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"http://{HOST}:{one.port}/whole")
        assert 1 == len(one.app.scopes)


def test_files_that_do_not_serve_are_named(tmp_path: Path) -> None:
    """Both, since only together they make a listener."""
    certificate, _ = a_certificate(tmp_path / "one")
    _, key = a_certificate(tmp_path / "another")

    with pytest.raises(ConfigInvalid, match=r"server\.tls: .*one/server.crt and .*another/server.key cannot be used"):
        tls_context((certificate, key))


def test_the_configuration_sets_the_bounds(config: Config, tiny_manifest: Path, tmp_path: Path) -> None:
    """Times, sizes, whose word counts, and whether strangers may connect."""
    server = {
        "limits": {"header_timeout": "3s", "body_timeout": "4s", "idle_timeout": "5s", "max_headers": "2KiB"},
        "tls": {"external": True},
        "trusted": ["10.0.0.0/8"],
    }
    bounded = a_config(tiny_manifest, tmp_path, server=server)

    limits, guard = http_limits(bounded), guard_of(bounded, Door())

    assert (3, 4, 5, 2_048) == (limits.header_s, limits.body_s, limits.idle_s, limits.max_header_bytes)
    assert (True, "<TrustedPeers 10.0.0.0/8>") == (guard.only_trusted, repr(guard.trusted))
    assert (False, None, None) == (
        guard_of(config, Door()).only_trusted,
        certificate_of(config),
        certificate_of(bounded),
    )
