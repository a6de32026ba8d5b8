"""How errors leave over HTTP: three body shapes with one code and one request id, and the headers that clients obey."""

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

import orjson

from greenserve.errors import GreenServeError
from greenserve.ids import new_request_id
from greenserve.serve import names
from greenserve.serve.http.message import JSON, PROBLEM, Pairs, Response
from greenserve.serve.status import status_of

Shape = Literal["oip", "openai", "problem"]
UNPROCESSABLE = 422
LONG_WAIT_S = 60
LONGEST_WINDOW = 1_000
RESERVED = frozenset({"request_id", "param", "allow"})
TITLES = MappingProxyType(
    {
        "invalid-request": "The request is not valid",
        "invalid-key": "A valid key is needed",
        "key-blocked": "The key may not do this",
        "model-not-allowed": "The key may not use this model",
        "budget-closed": "The budget is used up for good",
        "model-unknown": "No such model",
        "not-found": "Not found",
        "method-not-allowed": "The path does not take this method",
        "receive-timeout": "The request did not arrive in time",
        "idempotency-conflict": "The idempotency key came with another body",
        "reload-failed": "The new manifest does not load",
        "already-exists": "It is there already",
        "revision-conflict": "It was changed meanwhile",
        "body-too-large": "The body is too large",
        "unsupported-encoding": "The encoding is not read here",
        "rate-limited": "Too many requests",
        "overloaded": "The gateway is busy",
        "budget-exhausted": "The budget of this window is used up",
        "headers-too-large": "The headers are too large",
        "client-closed": "The client left",
        "internal": "The gateway failed",
        "inference-failed": "The model failed on this input",
        "not-implemented": "Not offered here",
        "no-feasible-route": "Nothing here meets what was asked",
        "region-unavailable": "The region does not answer",
        "region-full": "The region is full",
        "not-ready": "The gateway is starting",
        "draining": "This replica is going away",
        "ledger-unavailable": "The ledger takes no records",
        "meter-unavailable": "A meter cannot be read",
        "grid-unavailable": "A source of grid intensity does not answer",
        "manifest-invalid": "A manifest does not verify",
        "config-invalid": "The configuration is not valid",
        "dependency-missing": "Something needed is missing",
        "deadline-exceeded": "The deadline passed",
    }
)
UNITS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "gCO2e": ("ugco2e", 1_000_000),
        "J": ("uj", 1_000_000),
        "requests": ("requests", 1),
        "tokens": ("tokens", 1),
        "requests/s": ("requests", 1),
        "tokens/s": ("tokens", 1),
        "requests at once": ("concurrent-requests", 1),
    }
)
"""Units of limits as structured fields write them, and how many of those one is: fields hold integers only."""


def error_response(error: GreenServeError, shape: Shape) -> Response:
    """The answer that an error makes on paths of a shape.

    `error.details` go into the body, save for `request_id` (else a new one), `param` (OpenAI's) and `allow` (a header).
    """
    request_id = str(error.details.get("request_id") or new_request_id())
    details = {name: value for name, value in error.details.items() if name not in RESERVED}
    status = status_of(error)
    http = status.http
    own: dict[str, object]
    if shape == "problem":
        http = UNPROCESSABLE if error.code == "invalid-request" else http
        own = {
            "type": f"/problems/{error.code}",
            "title": TITLES.get(error.code, "The request failed"),
            "status": http,
            "detail": str(error),
            "code": error.code,
            "request_id": request_id,
        }
        document = own | details | own
    elif shape == "openai":
        own = {
            "message": str(error),
            "type": status.openai,
            "param": error.details.get("param"),
            "code": error.code,
            "request_id": request_id,
        }
        document = {"error": own | details | own}
    else:
        own = {"error": str(error), "code": error.code, "request_id": request_id}
        document = own | details | own
    content_type = PROBLEM if shape == "problem" else JSON
    return Response(http, orjson.dumps(document, default=str), _headers(error, request_id), content_type)


def rate_limit_fields(details: Mapping[str, object], *, retry_after_s: int | None, now: datetime) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` of a limit that refused; empty where the details name none.

    Quantities are integers, remaining ones rounded down; windows and waits in seconds.
    """
    policy, limit = details.get("policy"), _fraction(details.get("limit"))
    unit, factor = UNITS.get(str(details.get("unit")), ("", 0))
    if not isinstance(policy, str) or limit is None or not unit:
        return {}
    window, quota = details.get("window_s"), limit * factor
    if isinstance(window, int) and quota.denominator > 1:  # half a request per second is one in two
        quota = quota.limit_denominator(LONGEST_WINDOW)
        window, quota = window * quota.denominator, Fraction(quota.numerator)
    name = names.sf_string(policy)
    shown_unit = "" if unit == "requests" else f";qu={names.sf_string(unit)}"
    shown_window = f";w={window}" if isinstance(window, int) else ""
    left = limit - sum((_fraction(details.get(part)) or Fraction(0) for part in ("used", "reserved")), Fraction(0))
    remaining = max(0, int(left * factor)) if "used" in details else 0
    wait_s = _seconds_until(details.get("resets_at"), now) or retry_after_s
    return {
        "ratelimit-policy": f"{name};q={int(quota)}{shown_unit}{shown_window}",
        "ratelimit": f"{name};r={remaining}" + ("" if wait_s is None else f";t={wait_s}"),
    }


def _headers(error: GreenServeError, request_id: str) -> Pairs:
    headers: Pairs = [(names.REQUEST_ID.lower().encode(), request_id.encode())]
    wait_s = error.retry_after_s
    if wait_s is not None:
        headers.append((b"retry-after", str(wait_s).encode()))
        if wait_s > LONG_WAIT_S:
            headers.append((b"x-should-retry", b"false"))
    if error.code == "invalid-key":
        headers.append((b"www-authenticate", b"Bearer"))
    allow = error.details.get("allow")
    if isinstance(allow, str):
        headers.append((b"allow", allow.encode()))
    if "policy" in error.details:
        fields = rate_limit_fields(error.details, retry_after_s=wait_s, now=datetime.now(UTC))
        headers.extend((name.encode(), value.encode()) for name, value in fields.items())
    return headers


def _fraction(value: object) -> Fraction | None:
    try:
        return Fraction(str(value)) if value is not None else None
    except (ValueError, ZeroDivisionError):
        return None


def _seconds_until(moment: object, now: datetime) -> int | None:
    if not isinstance(moment, str):
        return None
    try:
        return max(0, round((datetime.fromisoformat(moment) - now).total_seconds()))
    except (ValueError, TypeError):
        return None
