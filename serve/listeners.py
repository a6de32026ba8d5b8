"""The listeners of a gateway replica: HTTP and gRPC on ports that all replicas of the node share, and their drain.

uvicorn brings the protocol, not the server: its server closes the listening socket before the accept queue is empty,
waits a minute for a TLS handshake, and wakes ten times a second.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from uvicorn.config import Config as UvicornConfig
from uvicorn.server import ServerState

from greenserve.config import Config
from greenserve.errors import ConfigInvalid, Draining
from greenserve.serve.balance import Board
from greenserve.serve.door import Door
from greenserve.serve.grpc.server import GrpcServer
from greenserve.serve.http.entering import EnteringHttp
from greenserve.serve.http.guard import Guard, HttpLimits
from greenserve.serve.http.guarded import GuardedHttp
from greenserve.serve.ports import reuse_port_socket
from greenserve.serve.trust import TrustedPeers

log = logging.getLogger("greenserve.listeners")
AsgiApp = Callable[..., Awaitable[None]]
NOTICE_S = 1.0
GRACE_S = 20.0
FIRST_REQUEST_S = 1.0
SWEEP_S = 0.25
BALANCE_S = 1.0
LIVELY_S = 10.0
HANDSHAKE_S = 10.0
POLL_S = 0.02
ALL = 2**62


class HttpListener:
    """HTTP on one socket. State: the socket, and uvicorn's set of connections; changed on the event loop alone."""

    def __init__(self, app: AsgiApp, *, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        self.guard = guard
        self._tls = tls
        self._config = UvicornConfig(
            app,
            interface="asgi3",
            http=EnteringHttp,
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_config=None,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        listening = self._server is not None and self._server.is_serving()
        return f"<HttpListener {'listening' if listening else 'closed'}, {len(self._state.connections)} connections>"

    @property
    def connections(self) -> tuple[GuardedHttp, ...]:
        """The open connections."""
        return tuple(each for each in self._state.connections if isinstance(each, GuardedHttp))

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    def lively(self) -> int:
        """Connections in use: a request under way or answered within ten seconds, or just opened."""
        since_s = asyncio.get_running_loop().time() - LIVELY_S
        return sum(each.busy or each.fresh or each.answered_s > since_s for each in self.connections)

    def in_flight(self) -> int:
        """Requests that are being answered."""
        return sum(each.busy for each in self.connections)

    async def start(self, *, host: str, port: int) -> int:
        """Listen; the port that was bound. Raises OSError where it is taken."""
        loop = asyncio.get_running_loop()
        self._socket = reuse_port_socket(host, port)
        bound = int(self._socket.getsockname()[1])
        self._server = await loop.create_server(
            self._connection,
            sock=self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
            ssl_shutdown_timeout=self.guard.limits.linger_s if self._tls else None,
        )
        self._sweep()
        return bound

    def notice(self) -> None:
        """From now on every answer closes its connection, so that clients connect to another replica."""
        self.guard.closing = ALL
        for connection in self.connections:
            connection.close_after_answer()

    async def drain(self, *, grace_s: float = GRACE_S) -> None:
        """Stop listening and serve what has connected; what is under way after `grace_s` [s] is answered `draining`."""
        loop = asyncio.get_running_loop()
        self.notice()
        await self._close_listener()
        end_s, first_s = loop.time() + grace_s, loop.time() + FIRST_REQUEST_S
        while self.connections and loop.time() < end_s:
            for connection in self.connections:
                if connection.idle or (connection.fresh and loop.time() > first_s):
                    connection.leave()
            await self._left(min(end_s, loop.time() + POLL_S))
        for connection in self.connections:
            connection.give_up(Draining(f"this gateway replica ends; {grace_s:g} s were not enough for the request"))
        await self._left(loop.time() + self.guard.limits.linger_s)
        for connection in self.connections:
            connection.transport.abort()
        await self.guard.settled()
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def _close_listener(self) -> None:
        """Close the socket with an empty accept queue: whoever waits in it would be reset."""
        if self._server is None or not self._server.is_serving():
            return
        waiting = []
        while True:
            try:
                waiting.append(self._socket.accept()[0])
            except BlockingIOError:
                break
        self._server.close()
        loop = asyncio.get_running_loop()
        for accepted in waiting:
            accepted.setblocking(False)
        opened = (
            loop.connect_accepted_socket(
                self._connection, accepted, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S if self._tls else None
            )
            for accepted in waiting
        )
        for failure in await asyncio.gather(*opened, return_exceptions=True):
            if isinstance(failure, Exception):
                log.info("a connection ended before its first request: %s", failure)

    async def _left(self, end_s: float) -> None:
        """Wait until every connection is gone, at most until `end_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end_s):
                while self.connections:
                    self.guard.left.clear()
                    await self.guard.left.wait()

    def _connection(self) -> GuardedHttp:
        return EnteringHttp(self.guard, config=self._config, server_state=self._state, loop=asyncio.get_running_loop())

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in self.connections:
            if connection.due <= now_s:
                connection.expire()
        self._sweeping = loop.call_later(SWEEP_S, self._sweep)


class Listeners:
    """Both listeners of a replica, and its place among the replicas of the node."""

    def __init__(self, http: HttpListener, grpc: GrpcServer, *, board: Board | None) -> None:
        self._http = http
        self._grpc = grpc
        self._board = board
        self._balancing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Listeners {self._http!r}>"

    @property
    def http_connections(self) -> int:
        """Open HTTP connections; may be asked from any thread."""
        return self._http.open

    async def start(self, config: Config) -> tuple[int, int]:
        """Listen on both ports; the HTTP and the gRPC port that were bound."""
        server = config.server
        grpc_port = await self._grpc.start(host=server.grpc.host, port=server.grpc.port)
        http_port = await self._http.start(host=server.http.host, port=server.http.port)
        if self._board is not None:
            self._balancing = asyncio.create_task(self._balance(self._board), name="balancing")
        return http_port, grpc_port

    async def drain(self, *, notice_s: float = NOTICE_S, grace_s: float = GRACE_S) -> None:
        """Tell clients to go elsewhere for `notice_s` [s], then close; what runs has `grace_s` [s] to end."""
        if self._balancing is not None:
            self._balancing.cancel()
        self._http.notice()
        await self._grpc.drain()
        await asyncio.sleep(notice_s)
        await asyncio.gather(self._http.drain(grace_s=grace_s), self._grpc.stop(grace_s=grace_s))
        if self._board is not None:
            self._board.close()

    async def _balance(self, board: Board) -> None:
        while True:
            lively = self._http.lively()
            board.report(connections=lively, in_flight=self._http.in_flight())
            self._http.guard.closing = board.surplus(lively)
            await asyncio.sleep(BALANCE_S)


def http_limits(config: Config) -> HttpLimits:
    """The bounds of an HTTP connection."""
    limits = config.server.limits
    return HttpLimits(
        header_s=limits.header_timeout_s,
        body_s=limits.body_timeout_s,
        idle_s=limits.idle_timeout_s,
        max_header_bytes=limits.max_headers_bytes,
        max_body_bytes=limits.max_body_bytes,
    )


def guard_of(config: Config, door: Door) -> Guard:
    """What the connections of a replica share."""
    tls = config.server.tls
    return Guard(
        limits=http_limits(config),
        trusted=TrustedPeers(config.server.trusted),
        door=door,
        only_trusted=tls is not None and tls.external,
    )


def certificate_of(config: Config) -> tuple[Path, Path] | None:
    """The certificate and key files of both listeners; None without TLS or where a proxy before them ends it."""
    tls = config.server.tls
    return (tls.cert_file, tls.key_file) if tls and tls.cert_file and tls.key_file else None


def tls_context(certificate: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    """TLS 1.2 or newer for HTTP/1.1; raises ConfigInvalid where the files do not serve."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError) as error:
        raise ConfigInvalid(f"server.tls: {certificate[0]} and {certificate[1]} cannot be used: {error}") from None
    return context
