"""Every error that a user can meet: a stable `code`, and a message that says what was given, allowed, and to do."""

from collections.abc import Mapping


class GreenServeError(Exception):
    """Root of the hierarchy. `retry_after_s` is set where waiting helps; `details` go into the body unchanged."""

    code = "internal"

    def __init__(
        self, message: str, *, retry_after_s: int | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.details: Mapping[str, object] = details or {}


class InvalidRequest(GreenServeError):
    """The request itself is wrong: the message names the field, what was given and what is allowed."""

    code = "invalid-request"


class InvalidKey(GreenServeError):
    """No key, a malformed key, an unknown, expired or revoked key."""

    code = "invalid-key"


class KeyBlocked(GreenServeError):
    """The key is good but is not meant for this: an admin key cannot infer, an inference key cannot administer."""

    code = "key-blocked"


class ModelNotAllowed(GreenServeError):
    """The key is good but may not use this model or variant."""

    code = "model-not-allowed"


class BudgetClosed(GreenServeError):
    """A lifetime budget is used up: waiting does not help."""

    code = "budget-closed"


class ModelUnknown(GreenServeError):
    """No such model or version is served here."""

    code = "model-unknown"


class NotFound(GreenServeError):
    """No such path or record."""

    code = "not-found"


class MethodNotAllowed(GreenServeError):
    """The path exists, the method does not."""

    code = "method-not-allowed"


class ReceiveTimeout(GreenServeError):
    """The client did not finish sending its request in time."""

    code = "receive-timeout"


class ClientClosed(GreenServeError):
    """The client left before its answer: nobody reads this."""

    code = "client-closed"


class BodyTooLarge(GreenServeError):
    """The body is over the configured limit."""

    code = "body-too-large"


class HeadersTooLarge(GreenServeError):
    """The request line or the headers are over their limit."""

    code = "headers-too-large"


class UnsupportedEncoding(GreenServeError):
    """A Content-Encoding or Content-Type that is not read here."""

    code = "unsupported-encoding"


class RateLimited(GreenServeError):
    """The key or tenant sends faster than its rate."""

    code = "rate-limited"


class Overloaded(GreenServeError):
    """The queue is full or the objective can no longer be met."""

    code = "overloaded"


class BudgetExhausted(GreenServeError):
    """The budget of this window is used up."""

    code = "budget-exhausted"


class IdempotencyConflict(GreenServeError):
    """The same Idempotency-Key came with another body."""

    code = "idempotency-conflict"


class ReloadFailed(GreenServeError):
    """The new manifest does not load; the old one serves on."""

    code = "reload-failed"


class DeadlineExceeded(GreenServeError):
    """The deadline passed, or cannot be met."""

    code = "deadline-exceeded"


class InferenceFailed(GreenServeError):
    """The model raised on this input."""

    code = "inference-failed"


class NotImplementedHere(GreenServeError):
    """A known call that this gateway does not offer."""

    code = "not-implemented"


class NoFeasibleRoute(GreenServeError):
    """No variant and region meets the objective, the floor and the hints together."""

    code = "no-feasible-route"


class NotReady(GreenServeError):
    """Still starting."""

    code = "not-ready"


class Draining(GreenServeError):
    """This replica is going away; another one answers."""

    code = "draining"


class RegionUnavailable(GreenServeError):
    """The region that the request needs does not answer."""

    code = "region-unavailable"


class RegionFull(GreenServeError):
    """The region that the request needs has no room."""

    code = "region-full"


class RevisionConflict(InvalidRequest):
    """The record was changed by somebody else since it was read."""

    code = "revision-conflict"


class AlreadyExists(InvalidRequest):
    """What should be created is there already."""

    code = "already-exists"


class LedgerUnavailable(GreenServeError):
    """The ledger cannot take the record, so no answer may leave."""

    code = "ledger-unavailable"


class ConfigInvalid(GreenServeError):
    """The configuration has faults; the message lists all of them, one a line. Exit code 4."""

    code = "config-invalid"


class ManifestInvalid(GreenServeError):
    """A manifest or a file that it names is missing, malformed or changed. Exit code 5."""

    code = "manifest-invalid"


class DependencyMissing(GreenServeError):
    """Something that this command needs is not installed or not reachable. Exit code 6."""

    code = "dependency-missing"


class MeterUnavailable(GreenServeError):
    """A meter could not be read; the time becomes a gap, never a zero."""

    code = "meter-unavailable"


class GridUnavailable(GreenServeError):
    """A provider of grid intensity did not answer as it should; the next level of the fallback chain stands in."""

    code = "grid-unavailable"
