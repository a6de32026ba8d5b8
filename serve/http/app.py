"""The ASGI application: one table of paths; each handler decodes, calls the gateway, and encodes."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from greenserve.errors import GreenServeError, MethodNotAllowed, NotFound
from greenserve.ids import new_request_id
from greenserve.ports import Clock
from greenserve.sections import Limits
from greenserve.serve import names
from greenserve.serve.gateway import Gateway
from greenserve.serve.health import Health
from greenserve.serve.http.body import ClientGone
from greenserve.serve.http.embeddings import OpenAi
from greenserve.serve.http.encoding import compressed
from greenserve.serve.http.errors import Shape, error_response
from greenserve.serve.http.message import AsgiApp, AtOnce, Handler, Receive, Request, Response, Scope, Send
from greenserve.serve.http.open_inference import OpenInference
from greenserve.serve.http.routes import Routes
from greenserve.serve.statistics import Statistics

log = logging.getLogger("greenserve.http")
REQUEST_ID = names.REQUEST_ID.lower().encode()
RECEIVED_NS = "received_ns"
"""Where a scope's state holds when its head was complete [monotonic ns]; the loop may look at it only later."""
AT_ONCE = "at_once"
"""Where a scope's state holds how a whole answer is sent at once (status, headers, body); it is False if it was not."""
NO_MOUNTS: Mapping[tuple[str, ...], AsgiApp] = MappingProxyType({})


class HttpApp:
    """Open Inference Protocol v2, OpenAI's embeddings and models, health; `extra` are applications under a prefix."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        health: Health,
        clock: Clock,
        statistics: Statistics,
        limits: Limits,
        extra: Mapping[tuple[str, ...], AsgiApp] = NO_MOUNTS,
    ) -> None:
        self._health = health
        self._clock = clock
        self._mounts = tuple(("/" + "/".join(prefix), app) for prefix, app in extra.items())
        protocol = OpenInference(gateway=gateway, health=health, statistics=statistics, limits=limits)
        openai = OpenAi(gateway=gateway, limits=limits)
        self._handlers: Mapping[tuple[str, str], Handler] = {**protocol.handlers(), **openai.handlers()}
        self._routes = Routes(dict.fromkeys(template for _, template in self._handlers))

    @property
    def served(self) -> frozenset[tuple[str, str]]:
        """Method and path template of everything answered here; mounted applications have their own."""
        return frozenset(self._handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; every error leaves with a code and a request id, never as a trace."""
        if scope["type"] != "http":
            return
        state = scope.get("state") or {}
        at_once = state.pop(AT_ONCE, None)  # which holds this scope: rings are left to the garbage collector
        received_ns = state.get(RECEIVED_NS) or self._clock.monotonic_ns()
        path = scope["path"]
        mounted = self._mounted(path) if self._mounts else None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if mounted is not None:
                await _Mount(mounted, send).answer(scope, receive)
                return
            response = await self._response(scope["method"], path, headers, receive, received_ns)
        except ClientGone:
            return
        except GreenServeError as error:
            response = error_response(error, "problem" if mounted is not None else shape_of(path))
            error.__traceback__ = None  # its frames hold what the request waited for, which holds it: a ring
        except _Interrupted:
            raise
        except Exception:
            log.exception("%s %s failed", scope["method"], path)
            fault = GreenServeError("the gateway failed on this request; its log says why")
            response = error_response(fault, "problem" if mounted is not None else shape_of(path))
        await self._send(response, scope["method"], headers.get("accept-encoding"), send, at_once)

    async def _response(
        self, method: str, path: str, headers: Mapping[str, str], receive: Receive, received_ns: int
    ) -> Response:
        found = self._routes.find(path)
        if found is None:
            raise NotFound(
                f"no path {path[:200]}; the Open Inference Protocol starts at /v2, OpenAI's at /v1, all of it is in "
                "/openapi.json"
            )
        template, arguments = found
        handler = self._handlers.get(("GET" if method == "HEAD" else method, template))
        if handler is None:
            allowed = [verb for verb, path_of_it in self._handlers if path_of_it == template]
            allow = ", ".join(allowed + ["HEAD"] * ("GET" in allowed))
            raise MethodNotAllowed(f"{path} takes {allow}, got {method[:40]}", details={"allow": allow})
        return await handler(Request(path, arguments, headers, receive, received_ns))

    async def _send(
        self, response: Response, method: str, accepted: str | None, send: Send, at_once: AtOnce | None
    ) -> None:
        body, encoding = compressed(response.body, accepted) if response.compressible else (response.body, None)
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(body)),
            *response.headers,
        ]
        if encoding is not None:
            headers.append((b"content-encoding", encoding.encode()))
            headers.append((b"vary", b"accept-encoding"))
        if all(name != REQUEST_ID for name, _ in response.headers):
            headers.append((REQUEST_ID, new_request_id().encode()))
        if self._health.draining:
            headers.append((b"connection", b"close"))
        content = b"" if method == "HEAD" else body
        if at_once is None or not at_once(response.status, headers, content):
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    def _mounted(self, path: str) -> AsgiApp | None:
        for prefix, app in self._mounts:
            if path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/"):
                return app
        return None


def shape_of(path: str) -> Shape:
    """The shape of the errors of a path: OpenAI's, the Open Inference Protocol's, or our own."""
    if path.startswith("/v2"):
        return "oip"
    return "openai" if path.startswith("/v1/") and not path.startswith("/v1/receipts") else "problem"


class _Interrupted(Exception):
    """A mounted application failed after its answer had begun: the connection can only be cut."""


class _Mount:
    """Runs a mounted application; its errors are answered by us as long as it sent nothing."""

    def __init__(self, app: AsgiApp, send: Send) -> None:
        self._app = app
        self._outer = send
        self._begun = False

    async def answer(self, scope: Scope, receive: Receive) -> None:
        try:
            await self._app(scope, receive, self._send)
        except Exception as error:
            if self._begun:
                raise _Interrupted(f"{scope['path']} failed after its answer had begun") from error
            raise

    async def _send(self, message: dict[str, Any]) -> None:
        self._begun = True
        await self._outer(message)
