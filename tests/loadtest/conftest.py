"""A small real HTTP server that answers like a gateway."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BODY = b'{"outputs": []}'
COSTS = (
    "GreenServe-Energy: 33120;u=uJ;tier=modelled;state=provisional\r\n"
    "GreenServe-Carbon: 1985;u=ng;zone=GB;origin=recorded\r\n"
    "GreenServe-Route: north/int8-dyn;reason=carbon\r\n"
    "GreenServe-Cache: miss\r\n"
)


class Gateway(ThreadingHTTPServer):
    """State: the bodies that were received, in order; every handler thread appends to it."""

    daemon_threads = True

    def __init__(self, *, key: str | None, model: str, silent_every: int, delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.key, self.model, self.silent_every = key, model, silent_every
        self.frozen = threading.Event()
        self.delay_s = delay_s
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers inference requests with costs; every `silent_every`-th without them."""

    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        server = self.server
        if server.key is not None and self.headers["authorization"] != f"Bearer {server.key}":
            self._answer(401, b'{"error": "unknown key"}', "")
        elif self.path != f"/v2/models/{server.model}/infer":
            self._answer(404, b'{"error": "no such model"}', "")
        else:
            server.bodies.append(body)
            if server.delay_s:
                server.frozen.wait(server.delay_s)
            silent = server.silent_every and len(server.bodies) % server.silent_every == 0
            self._answer(200, BODY, "" if silent else COSTS)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's console."""

    def _answer(self, status: int, body: bytes, headers: str) -> None:
        # One write: two small ones would wait for a delayed acknowledgement between them.
        head = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.wfile.write(head.encode() + body)


Start = Callable[..., Gateway]


@pytest.fixture
def start_gateway() -> Iterator[Start]:
    """Start gateways on free ports; they stop with the test."""
    started: list[tuple[Gateway, threading.Thread]] = []

    def start(
        *, key: str | None = None, model: str = "sentiment", silent_every: int = 0, delay_s: float = 0.0
    ) -> Gateway:
        gateway = Gateway(key=key, model=model, silent_every=silent_every, delay_s=delay_s)
        thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        started.append((gateway, thread))
        return gateway

    yield start
    for gateway, thread in started:
        gateway.frozen.set()
        gateway.shutdown()
        thread.join()
        gateway.server_close()
