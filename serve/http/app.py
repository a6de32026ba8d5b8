"""The ASGI application: a table of paths; each handler decodes, calls the gateway, and encodes."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from greenserve import __version__
from greenserve.errors import GreenServeError, MethodNotAllowed, NotFound
from greenserve.ids import new_request_id
from greenserve.ports import Clock
from greenserve.serve import names
from greenserve.serve.gateway import Gateway
from greenserve.serve.health import Health
from greenserve.serve.http.body import ClientGone, Receive, read_body
from greenserve.serve.http.oip import body_of, call_of, metadata_of
from greenserve.serve.status import status_of

log = logging.getLogger("greenserve.http")
Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]
JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
SERVER_METADATA = {"name": "greenserve", "version": __version__, "extensions": []}


class HttpApp:
    """Open Inference Protocol v2 with JSON tensors, and health."""

    def __init__(self, *, gateway: Gateway, health: Health, clock: Clock, max_body_bytes: int, max_items: int) -> None:
        self._gateway = gateway
        self._health = health
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._max_items = max_items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; every error leaves as JSON with a code, never as a trace."""
        if scope["type"] != "http":
            return
        received_ns = self._clock.monotonic_ns()
        try:
            status, body, extra = await self._respond(scope, receive, received_ns)
        except ClientGone:
            return
        except GreenServeError as error:
            status, body, extra = _error(error)
        except Exception:
            log.exception("request to %s failed", scope["path"])
            status, body, extra = _error(GreenServeError("the gateway failed on this request; its log says why"))
        headers = [JSON, (b"content-length", b"%d" % len(body)), *extra]
        if self._health.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive, received_ns: int) -> tuple[int, bytes, Pairs]:
        method, parts = scope["method"], tuple(scope["path"].strip("/").split("/"))
        match parts:
            case ("v2", "models", model, "infer"):
                return await self._infer(scope, receive, received_ns, model, "")
            case ("v2", "models", model, "versions", version, "infer"):
                return await self._infer(scope, receive, received_ns, model, version)
        found = self._state(parts)
        if found is None:
            raise NotFound(f"no path {scope['path']}; the Open Inference Protocol starts at /v2")
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(f"{scope['path']} is read with GET, got {method}")
        status, document = found
        return status, orjson.dumps(document), []

    def _state(self, parts: tuple[str, ...]) -> tuple[int, object] | None:
        ready = 200 if self._health.ready else 503
        match parts:
            case ("v2",):
                return 200, SERVER_METADATA
            case ("v2", "health", "live") | ("livez",):
                return 200, {"live": True}
            case ("v2", "health", "ready") | ("readyz",):
                return ready, {"ready": self._health.ready, "waiting_for": self._health.missing}
            case ("v2", "models", model) | ("v2", "models", model, "versions", _):
                return 200, metadata_of(self._gateway.models.find(model, _version(parts)))
            case ("v2", "models", model, "ready") | ("v2", "models", model, "versions", _, "ready"):
                self._gateway.models.find(model, _version(parts))
                return ready, {"name": model, "ready": self._health.ready}
        return None

    async def _infer(
        self, scope: Scope, receive: Receive, received_ns: int, model: str, version: str
    ) -> tuple[int, bytes, Pairs]:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, got {scope['method']}")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = await read_body(receive, headers, limit_bytes=self._max_body_bytes)
        call = call_of(body, headers, model=model, version=version, received_ns=received_ns, max_items=self._max_items)
        answer = await self._gateway.handle(call)
        facts = [(name.lower().encode(), value.encode()) for name, value in names.facts_of(answer)]
        return 200, body_of(answer), facts


def _version(parts: tuple[str, ...]) -> str:
    return parts[4] if "versions" in parts else ""


def _error(error: GreenServeError) -> tuple[int, bytes, Pairs]:
    request_id = new_request_id()
    document: dict[str, object] = {"error": str(error), "code": error.code, "request_id": request_id}
    headers: Pairs = [(names.REQUEST_ID.lower().encode(), request_id.encode())]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.code == "invalid-key":
        headers.append((b"www-authenticate", b"Bearer"))
    return status_of(error).http, orjson.dumps(document | dict(error.details)), headers
