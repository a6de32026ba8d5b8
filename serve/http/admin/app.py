"""`/admin/v1` as one ASGI application: who asks is proven first, then a bounded body, then the path."""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from greenserve import __version__
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.statement_files import StatementFiles, statement_folder
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.config import Config
from greenserve.errors import GreenServeError, InvalidRequest, MethodNotAllowed, NotFound, UnsupportedEncoding
from greenserve.ids import new_request_id
from greenserve.ports import Clock
from greenserve.serve.gateway import Gateway
from greenserve.serve.hints import credential_of
from greenserve.serve.http.admin.answers import REQUEST_ID_KEY, Problem, Problems, problem
from greenserve.serve.http.admin.books import BookPaths
from greenserve.serve.http.admin.budgets import BudgetPaths
from greenserve.serve.http.admin.desk import Desk, Folds
from greenserve.serve.http.admin.explaining import RoutePaths
from greenserve.serve.http.admin.grid import GridPaths
from greenserve.serve.http.admin.keys import KeyPaths
from greenserve.serve.http.admin.models import ModelPaths
from greenserve.serve.http.admin.office import ADMINISTRATOR_KEY, Folding, Office, Reload, Reserved
from greenserve.serve.http.admin.statements import StatementPaths
from greenserve.serve.http.admin.tenants import TenantPaths
from greenserve.serve.http.admin.usage import UsagePaths
from greenserve.serve.http.body import read_body
from greenserve.serve.http.message import PROBLEM, Receive, Scope, Send

log = logging.getLogger("greenserve.admin")
PREFIX = "/admin/v1"
MOST_BODY_BYTES = 64 * 1024
PATHS = (
    TenantPaths,
    KeyPaths,
    BudgetPaths,
    UsagePaths,
    StatementPaths,
    GridPaths,
    RoutePaths,
    BookPaths,
    ModelPaths,
)
READING = frozenset({"GET", "HEAD", "OPTIONS"})
JSON_TYPES = frozenset({"application/json", "application/merge-patch+json"})
ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
Replay = Callable[[], Awaitable[MutableMapping[str, Any]]]


class AdminApp:
    """The administration API of a gateway replica. Admin keys alone may use it, whatever `tenancy.auth` says.

    `reserved` tells what the replica has promised of a budget by its id (ledger integer); `reload` loads a model again;
    `folding` works through a whole ledger (None: a process of its own).
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        config: Config,
        ledger: SqlLedger,
        clock: Clock,
        fingerprint: str,
        reserved: Reserved | None = None,
        reload: Reload | None = None,
        folding: Folding | None = None,
    ) -> None:
        self._folds = Folds()
        self._office = Office(
            gateway=gateway,
            config=config,
            ledger=ledger,
            store=TenancyStore(ledger, clock),
            statements=StatementFiles(statement_folder(ledger.path)),
            clock=clock,
            fingerprint=fingerprint,
            desk=Desk("admin"),
            archive=Desk("archive", threads=1, most_waiting=4),
            fold=folding or self._folds,
            reserved=reserved,
            reload=reload,
        )
        self._app = _application(self._office)

    def __repr__(self) -> str:
        return f"<AdminApp: {self._office.desk!r}, {self._office.archive!r}>"

    def close(self) -> None:
        """Let the threads go; what has not begun is dropped."""
        self._office.desk.close()
        self._office.archive.close()
        self._folds.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; every answer carries its id and is never stored by whoever passes it on."""
        request_id = new_request_id()
        own: dict[str, Any] = {**scope, REQUEST_ID_KEY: request_id}
        said: list[int] = []

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said.append(message["status"])
                present = {name for name, _ in message["headers"]}
                more = [*ALWAYS, (b"greenserve-request-id", request_id.encode())]
                message["headers"] = [*message["headers"], *((n, v) for n, v in more if n not in present)]
            await send(dict(message))

        asked = Request(own)
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            credential = credential_of(headers)
            by = self._office.gateway.admission.authenticate_admin(credential, path=scope["path"])
            own[ADMINISTRATOR_KEY] = by
            replay = await _bounded(headers, receive)
        except GreenServeError as error:
            await problem(error, asked)(own, _nothing, sending)
            return
        await self._app(own, replay, sending)
        if scope["method"] not in READING:
            log.info("%s %s %s by key %s: %s", request_id, scope["method"], scope["path"], by.key_id, *said)


def _application(office: Office) -> FastAPI:
    app = FastAPI(
        title="GreenServe administration",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": Problem}, "5XX": {"model": Problem}},
    )
    routers = [paths(office).router() for paths in PATHS]
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    routes = [route for router in routers for route in router.routes if isinstance(route, Problems)]

    async def nowhere(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(_nowhere(routes, request, error), request)

    app.add_exception_handler(HTTPException, nowhere)
    describe: Callable[[], dict[str, Any]] = app.openapi
    app.openapi = lambda: _with_problems(describe())  # type: ignore[method-assign]
    return app


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The description with the media type that errors really have; FastAPI takes all answers for plain JSON."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for status in ("4XX", "5XX"):
                content = operation["responses"][status]["content"]
                operation["responses"][status]["content"] = {PROBLEM.decode(): next(iter(content.values()))}
    return document


def _nowhere(routes: Sequence[Problems], request: Request, error: HTTPException) -> GreenServeError:
    """What a request without a handler is told."""
    path: str = request.scope["path"]
    if error.status_code == 405:
        rest = path.removeprefix(PREFIX)
        found = {name for route in routes if route.path_regex.match(rest) for name in route.methods or ()}
        # What has no route of ours is the API's description.
        allow = ", ".join(sorted(found or {"GET"}))
        return MethodNotAllowed(f"{path[:200]} takes {allow}, got {request.method[:40]}", details={"allow": allow})
    if error.status_code == 404:
        return NotFound(f"no path {path[:200]}; {PREFIX}/openapi.json names them all")
    return InvalidRequest(str(error.detail))


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


async def _bounded(headers: Mapping[str, str], receive: Receive) -> Replay:
    """The body, read whole within its limits, as a `receive` that gives it again."""
    body = await read_body(receive, headers, limit_bytes=MOST_BODY_BYTES)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind not in JSON_TYPES:
        raise UnsupportedEncoding(f"Content-Type {kind[:80]!r}: bodies are {' or '.join(sorted(JSON_TYPES))}")
    message: MutableMapping[str, Any] = {"type": "http.request", "body": body, "more_body": False}

    async def replay() -> MutableMapping[str, Any]:
        return message

    return replay
