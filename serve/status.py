"""One table from error codes to HTTP, gRPC and OpenAI, found along the class hierarchy; domain code names no status."""

from dataclasses import dataclass
from types import MappingProxyType

from greenserve.errors import GreenServeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How an error leaves: HTTP status, name of the gRPC status, `type` of OpenAI's error body."""

    http: int
    grpc: str
    openai: str


BAD, AUTHENTICATION, PERMISSION = "invalid_request_error", "authentication_error", "permission_error"
RATE, QUOTA, SERVER = "rate_limit_error", "insufficient_quota", "server_error"

STATUS = MappingProxyType(
    {
        "invalid-request": Status(http=400, grpc="INVALID_ARGUMENT", openai=BAD),
        "invalid-key": Status(http=401, grpc="UNAUTHENTICATED", openai=AUTHENTICATION),
        "key-blocked": Status(http=403, grpc="PERMISSION_DENIED", openai=PERMISSION),
        "model-not-allowed": Status(http=403, grpc="PERMISSION_DENIED", openai=PERMISSION),
        "budget-closed": Status(http=403, grpc="PERMISSION_DENIED", openai=PERMISSION),
        "model-unknown": Status(http=404, grpc="NOT_FOUND", openai=BAD),
        "not-found": Status(http=404, grpc="NOT_FOUND", openai=BAD),
        "method-not-allowed": Status(http=405, grpc="UNIMPLEMENTED", openai=BAD),
        "receive-timeout": Status(http=408, grpc="CANCELLED", openai=BAD),
        "idempotency-conflict": Status(http=409, grpc="ALREADY_EXISTS", openai=BAD),
        "reload-failed": Status(http=409, grpc="FAILED_PRECONDITION", openai=BAD),
        "already-exists": Status(http=409, grpc="ALREADY_EXISTS", openai=BAD),
        "revision-conflict": Status(http=412, grpc="FAILED_PRECONDITION", openai=BAD),
        "body-too-large": Status(http=413, grpc="INVALID_ARGUMENT", openai=BAD),
        "unsupported-encoding": Status(http=415, grpc="INVALID_ARGUMENT", openai=BAD),
        "rate-limited": Status(http=429, grpc="RESOURCE_EXHAUSTED", openai=RATE),
        "overloaded": Status(http=429, grpc="RESOURCE_EXHAUSTED", openai=RATE),
        "budget-exhausted": Status(http=429, grpc="RESOURCE_EXHAUSTED", openai=QUOTA),
        "headers-too-large": Status(http=431, grpc="INVALID_ARGUMENT", openai=BAD),
        "client-closed": Status(http=499, grpc="CANCELLED", openai=SERVER),
        "internal": Status(http=500, grpc="INTERNAL", openai=SERVER),
        "inference-failed": Status(http=500, grpc="INTERNAL", openai=SERVER),
        "not-implemented": Status(http=501, grpc="UNIMPLEMENTED", openai=SERVER),
        "no-feasible-route": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "region-unavailable": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "region-full": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "not-ready": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "draining": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "ledger-unavailable": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "meter-unavailable": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "grid-unavailable": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "manifest-invalid": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "config-invalid": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "dependency-missing": Status(http=503, grpc="UNAVAILABLE", openai=SERVER),
        "deadline-exceeded": Status(http=504, grpc="DEADLINE_EXCEEDED", openai=SERVER),
    }
)


def status_of(error: GreenServeError) -> Status:
    """The row of the error's class or of its nearest ancestor that has one."""
    codes = (getattr(kind, "code", "") for kind in type(error).__mro__)
    return next(STATUS[code] for code in codes if code in STATUS)
