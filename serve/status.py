"""One table from error codes to HTTP and gRPC status, found along the class hierarchy; domain code names no status."""

from dataclasses import dataclass
from types import MappingProxyType

from greenserve.errors import GreenServeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How an error leaves: HTTP status and the name of the gRPC status."""

    http: int
    grpc: str


STATUS = MappingProxyType(
    {
        "invalid-request": Status(http=400, grpc="INVALID_ARGUMENT"),
        "invalid-key": Status(http=401, grpc="UNAUTHENTICATED"),
        "model-not-allowed": Status(http=403, grpc="PERMISSION_DENIED"),
        "budget-closed": Status(http=403, grpc="PERMISSION_DENIED"),
        "model-unknown": Status(http=404, grpc="NOT_FOUND"),
        "not-found": Status(http=404, grpc="NOT_FOUND"),
        "method-not-allowed": Status(http=405, grpc="UNIMPLEMENTED"),
        "receive-timeout": Status(http=408, grpc="CANCELLED"),
        "body-too-large": Status(http=413, grpc="INVALID_ARGUMENT"),
        "unsupported-encoding": Status(http=415, grpc="INVALID_ARGUMENT"),
        "rate-limited": Status(http=429, grpc="RESOURCE_EXHAUSTED"),
        "overloaded": Status(http=429, grpc="RESOURCE_EXHAUSTED"),
        "budget-exhausted": Status(http=429, grpc="RESOURCE_EXHAUSTED"),
        "internal": Status(http=500, grpc="INTERNAL"),
        "inference-failed": Status(http=500, grpc="INTERNAL"),
        "not-implemented": Status(http=501, grpc="UNIMPLEMENTED"),
        "no-feasible-route": Status(http=503, grpc="UNAVAILABLE"),
        "not-ready": Status(http=503, grpc="UNAVAILABLE"),
        "draining": Status(http=503, grpc="UNAVAILABLE"),
        "ledger-unavailable": Status(http=503, grpc="UNAVAILABLE"),
        "meter-unavailable": Status(http=503, grpc="UNAVAILABLE"),
        "manifest-invalid": Status(http=503, grpc="UNAVAILABLE"),
        "config-invalid": Status(http=503, grpc="UNAVAILABLE"),
        "dependency-missing": Status(http=503, grpc="UNAVAILABLE"),
        "deadline-exceeded": Status(http=504, grpc="DEADLINE_EXCEEDED"),
    }
)


def status_of(error: GreenServeError) -> Status:
    """The row of the error's class or of its nearest ancestor that has one."""
    codes = (getattr(kind, "code", "") for kind in type(error).__mro__)
    return next(STATUS[code] for code in codes if code in STATUS)
