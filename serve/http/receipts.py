"""`GET /v1/receipts/{id}`: what one request cost, for the tenant whose it was."""

from collections.abc import Mapping

import orjson

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.errors import GreenServeError, InvalidRequest, MethodNotAllowed, NotFound
from greenserve.ids import new_request_id
from greenserve.ports import Clock
from greenserve.serve import names
from greenserve.serve.admission import Admission
from greenserve.serve.hints import credential_of
from greenserve.serve.http.errors import error_response
from greenserve.serve.http.message import JSON, Receive, Response, Scope, Send
from greenserve.serve.receipts import Receipts

PREFIX = "/v1/receipts"


class ReceiptsApp:
    """A raw ASGI application. A receipt that is not there, and one of another tenant, look the same."""

    def __init__(self, *, admission: Admission, ledger: SqlLedger, clock: Clock) -> None:
        self._admission = admission
        self.receipts = Receipts(ledger=ledger, clock=clock)

    def __repr__(self) -> str:
        return f"<ReceiptsApp: {self.receipts!r}>"

    def close(self) -> None:
        """Let the threads go."""
        self.receipts.close()

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
        self._admission.pace(caller)
        return Response(200, orjson.dumps(await self.receipts.document(caller.tenant, _id_in(path))), [], JSON)


def _id_in(path: str) -> str:
    given = path.removeprefix(PREFIX).strip("/")
    if not given:
        raise InvalidRequest(
            f"id: receipts are asked for one by one; GET {PREFIX}/ID, as an answer's Receipt header is"
        )
    if "/" in given:
        raise NotFound(f"no path {path[:200]}; a receipt is at {PREFIX}/ID")
    return given
