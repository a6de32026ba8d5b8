"""`GET /v1/receipts/{id}`: what one request cost, for the tenant whose it was."""

import re
from collections.abc import Mapping

import orjson

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.lookup import lines_of
from greenserve.carbon.receipt import Line, receipt_document
from greenserve.errors import GreenServeError, InvalidRequest, KeyBlocked, MethodNotAllowed, NotFound
from greenserve.ids import new_request_id, unix_ms_of
from greenserve.ports import Clock
from greenserve.records import Tenant
from greenserve.serve import names
from greenserve.serve.admission import Admission
from greenserve.serve.hints import credential_of
from greenserve.serve.http.admin.desk import Desk
from greenserve.serve.http.errors import error_response
from greenserve.serve.http.message import JSON, Receive, Response, Scope, Send

PREFIX = "/v1/receipts"
YOUNG_MS = 60_000
"""A request that old may still wait in a spool; the writer takes lines in ten times a second."""
AHEAD_MS = 60_000
_US_PER_MS = 1_000
_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


class ReceiptsApp:
    """A raw ASGI application. A receipt that is not there, and one of another tenant, look the same."""

    def __init__(self, *, admission: Admission, ledger: SqlLedger, clock: Clock) -> None:
        self._admission, self._ledger, self._clock = admission, ledger, clock
        self._desk = Desk("receipts", most_waiting=256)

    def __repr__(self) -> str:
        return f"<ReceiptsApp: {self._desk!r}>"

    def close(self) -> None:
        """Let the threads go."""
        self._desk.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = new_request_id()
        try:
            answer = await self._answer(scope["method"], scope["path"], headers)
        except GreenServeError as error:
            error.details = {**error.details, "request_id": request_id}
            answer = error_response(error, "problem")
        own = [(names.REQUEST_ID.lower().encode(), request_id.encode()), (b"cache-control", b"no-store")]
        told = {name for name, _ in answer.headers}
        pairs = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
            *((name, value) for name, value in own if name not in told),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        caller = self._admission.authenticate(credential_of(headers), path=path)
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(f"{path[:200]} takes GET, HEAD, got {method[:40]}", details={"allow": "GET, HEAD"})
        request_id = _id_in(path)
        tenant = caller.tenant
        if tenant.exposure == "off":
            raise KeyBlocked(
                f"energy figures are withheld from {tenant.tenant_id} (exposure off), receipts too; ask whoever "
                "administers this gateway"
            )
        lines = [line for line in await self._desk.run(lambda: self._lines(request_id)) if _belongs(line, tenant)]
        if not lines:
            raise self._missing(request_id)
        document = receipt_document(lines, rounded=tenant.exposure == "rounded")
        return Response(200, orjson.dumps(document), [], JSON)

    def _lines(self, request_id: str) -> list[Line]:
        # A UUIDv7 may carry a time that no calendar has; then nothing can be in the ledger.
        if not self._is_of_our_time(request_id):
            return []
        return lines_of(self._ledger, request_id)

    def _is_of_our_time(self, request_id: str) -> bool:
        return unix_ms_of(request_id) <= self._clock.unix_us() // _US_PER_MS + AHEAD_MS

    def _missing(self, request_id: str) -> NotFound:
        """Only the id's own time tells pending from unknown, so that nothing is said about others' requests."""
        age_ms = self._clock.unix_us() // _US_PER_MS - unix_ms_of(request_id)
        if -AHEAD_MS <= age_ms < YOUNG_MS:
            return NotFound(
                f"no receipt {request_id} yet: the ledger takes requests in within a second or so of their answer; if "
                "the id is one of your own, ask again",
                retry_after_s=1,
                details={"state": "pending"},
            )
        return NotFound(
            f"no receipt {request_id} is yours; ids stand in the header {names.REQUEST_ID} of each answer",
            details={"state": "unknown"},
        )


def _belongs(line: Line, tenant: Tenant) -> bool:
    """Lines that are not charged are the platform's loss, whoever asked."""
    return bool(line.body["tenant"] == tenant.tenant_id and line.body["charged"])


def _id_in(path: str) -> str:
    given = path.removeprefix(PREFIX).strip("/").lower()
    if not given:
        raise InvalidRequest(
            f"id: receipts are asked for one by one; GET {PREFIX}/ID, as an answer's Receipt header is"
        )
    if "/" in given:
        raise NotFound(f"no path {path[:200]}; a receipt is at {PREFIX}/ID")
    if not _ID.match(given):
        raise InvalidRequest(
            f"id: {given!r:.80} is no request's id; it is a UUID of version 7, as in {names.REQUEST_ID}"
        )
    return given
