"""A listener with an application that tests steer, raw clients, and a certificate."""

import asyncio
import contextlib
import datetime
import ipaddress
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from greenserve.serve.door import Door
from greenserve.serve.http.guard import Guard, HttpLimits
from greenserve.serve.listeners import HttpListener, tls_context
from greenserve.serve.trust import TrustedPeers

HOST = "127.0.0.1"
PATIENCE_S = 10.0
QUICK = HttpLimits(
    header_s=0.2,
    body_s=0.2,
    answer_s=0.3,
    idle_s=0.3,
    linger_s=0.2,
    max_header_bytes=2_048,
    max_url_bytes=512,
    max_body_bytes=10_000,
)
PATIENT = HttpLimits(max_header_bytes=2_048, max_url_bytes=512, max_body_bytes=10_000, linger_s=0.2)
GET = b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n"


class SteeredApp:
    """Reads the body, then does what the path says. State: what it saw, appended by each request.

    /whole answers the body's length, /wait only once `go` is set, /large 8 MiB, /early without reading, /broken
    raises, /silent ends without an answer.
    """

    def __init__(self) -> None:
        self.scopes: list[Mapping[str, Any]] = []
        self._more = asyncio.Condition()
        self.begun = asyncio.Event()
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """One request."""
        self.scopes.append(scope)
        self.begun.set()
        async with self._more:
            self._more.notify_all()
        try:
            await self._handle(scope, receive, send)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _handle(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        size, more = 0, scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
        if scope["path"] == "/wait":
            self.waiting.set()
            await self.go.wait()
        if scope["path"] == "/broken":
            raise RuntimeError("a secret of the application")
        if scope["path"] != "/silent":
            body = b"x" * 2**23 if scope["path"] == "/large" else str(size).encode()
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def seen(self, requests: int) -> None:
        """Wait until so many requests have come."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.scopes) >= requests)

    def header(self, name: bytes) -> bytes | None:
        """What the newest request's application saw of a header."""
        return dict(self.scopes[-1]["headers"]).get(name)


class Wire:
    """A raw connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def asked(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes and read an answer."""
        self.writer.write(request)
        return await self.answer()

    async def rest(self) -> bytes:
        """All that comes until the listener closes; a reset counts as closing."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """A connection for a while."""
    connection = Wire(*await asyncio.open_connection(HOST, port))
    try:
        yield connection
    finally:
        await connection.close()


class Served:
    """A listener that runs, its port and its application."""

    def __init__(self, listener: HttpListener, app: SteeredApp, port: int) -> None:
        self.listener = listener
        self.app = app
        self.port = port


@contextlib.asynccontextmanager
async def served(
    limits: HttpLimits = PATIENT,
    *,
    trusted: tuple[str, ...] = (),
    only_trusted: bool = False,
    certificate: tuple[Path, Path] | None = None,
    port: int = 0,
    door: Door | None = None,
) -> AsyncIterator[Served]:
    """A listener on a port of its own, or on one that it shares."""
    app = SteeredApp()
    guard = Guard(limits=limits, trusted=TrustedPeers(trusted), door=door, only_trusted=only_trusted)
    listener = HttpListener(app, guard=guard, tls=tls_context(certificate))
    bound = await listener.start(host=HOST, port=port)
    try:
        yield Served(listener, app, bound)
    finally:
        app.go.set()
        await listener.drain(grace_s=1.0)


def a_certificate(folder: Path, *, days: int = 2) -> tuple[Path, Path]:
    """A self-signed certificate for loopback and its key; it ends in `days` days."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(HOST)),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files[1].chmod(0o600)
    return files
