"""What leaves: documents with their revision as ETag, errors as problems, and the revision that a change expects."""

import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any

import orjson
from fastapi import Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from greenserve.errors import GreenServeError, InvalidRequest, RevisionConflict
from greenserve.serve.http import message
from greenserve.serve.http.errors import error_response

log = logging.getLogger("greenserve.admin")
REQUEST_ID_KEY = "greenserve.request_id"
MOST_FAULTS = 20
IfMatch = Annotated[
    str | None, Header(max_length=200, description="The `ETag` that the change is made for; 412 where it has moved on.")
]
_TAG = re.compile(r'"r([0-9]{1,15})"')
_ANY_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]*"')
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class Problems(APIRoute):
    """A route whose errors leave as problems, each with its code and request id."""

    def get_route_handler(self) -> Endpoint:
        """The endpoint, and around it what every error becomes."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await inner(request)
            except GreenServeError as error:
                return problem(error, request)
            except RequestValidationError as error:
                return problem(invalid_of(error.errors()), request)
            except HTTPException as error:
                return problem(InvalidRequest(f"the body cannot be read: {error.detail}"), request)
            except Exception:
                log.exception("%s %s failed", request.method, request.url.path)
                return problem(GreenServeError("the gateway failed on this request; its log says why"), request)

        return handler


def answer(document: BaseModel, *, status: int = 200, revision: int | None = None) -> Response:
    """A document as JSON; what has a revision gets it as its ETag."""
    headers = {} if revision is None else {"etag": tag_of(revision)}
    return Response(orjson.dumps(document.model_dump(mode="json")), status, headers, "application/json")


def problem(error: GreenServeError, request: Request) -> Response:
    """An error as RFC 9457 wants it, under the id of the request."""
    error.details = {**error.details, "request_id": request.scope.get(REQUEST_ID_KEY)}
    made = error_response(error, "problem")
    answered = Response(made.body, made.status, media_type=message.PROBLEM.decode())
    for name, value in made.headers:
        answered.headers[name.decode()] = value.decode("latin-1")
    return answered


def tag_of(revision: int) -> str:
    """The ETag of a revision."""
    return f'"r{revision}"'


def expected(if_match: str | None) -> int | None:
    """The revision that `If-Match` names; None for none and for `*`, which any revision meets.

    InvalidRequest for what is no ETag, RevisionConflict for one that cannot be ours.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    matched = _TAG.fullmatch(if_match.strip())
    if matched is not None:
        return int(matched[1])
    if _ANY_TAG.fullmatch(if_match.strip()):
        raise RevisionConflict(f"If-Match: {if_match.strip()} is no revision of anything here; read it again")
    raise InvalidRequest(f'If-Match: give the ETag of one answer as it was, such as "r3", or *; got {if_match!r:.60}')


def invalid_of(faults: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """The error of a body's faults, as pydantic lists them, each with its field."""
    found = [_fault(fault) for fault in faults[:MOST_FAULTS]]
    more = f" (and {len(faults) - MOST_FAULTS} more)" if len(faults) > MOST_FAULTS else ""
    words = "; ".join(f"{fault['field']}: {fault['message']}" for fault in found)
    return InvalidRequest(f"{words}{more}", details={"errors": found})


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    place = [str(part) for part in fault["loc"] if part not in {"body", "query", "path"}]
    kind, text = fault["type"], str(fault["msg"]).removeprefix("Value error, ")
    if kind == "json_invalid":
        return {"field": "body", "message": f"is no JSON: {fault.get('ctx', {}).get('error', text)} at {place[-1]}"}
    if kind == "extra_forbidden":
        return {"field": ".".join(place), "message": "there is no such member; /admin/v1/openapi.json names them all"}
    given = fault.get("input")
    shown = f", got {given!r:.60}" if isinstance(given, str | int | float | bool) else ""
    return {"field": ".".join(place) or "body", "message": f"{text}{shown}"}
