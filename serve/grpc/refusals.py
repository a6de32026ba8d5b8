"""Errors as gRPC status with the facts in trailing metadata; no trace ever leaves."""

import logging
from typing import Any, NoReturn
from urllib.parse import quote

import grpc

from greenserve.errors import GreenServeError
from greenserve.ids import new_request_id
from greenserve.serve import names
from greenserve.serve.status import status_of

log = logging.getLogger("greenserve.grpc")
CODE = "greenserve-code"
LONGEST_MESSAGE = 1_000
"""Characters: a status message travels in the trailing metadata, which clients bound to a few KiB."""

Trailing = tuple[tuple[str, str], ...]


def known(error: Exception) -> GreenServeError:
    """The error as one of ours; an unforeseen one goes to the log and leaves without its words."""
    if isinstance(error, GreenServeError):
        return error
    log.error("a call failed", exc_info=error)
    return GreenServeError("the gateway failed on this request; its log says why")


async def abort(context: Any, error: GreenServeError) -> NoReturn:
    """End the call with the error's status, message, code and, where waiting helps, how long [s]."""
    trailing = [(CODE, error.code), (names.REQUEST_ID.lower(), new_request_id())]
    if error.retry_after_s is not None:
        trailing.append(("retry-after", str(error.retry_after_s)))
    await context.abort(grpc.StatusCode[status_of(error).grpc], str(error)[:LONGEST_MESSAGE], tuple(trailing))
    raise AssertionError("abort raises")


def metadata_of(facts: names.Facts) -> Trailing:
    """Facts as metadata: lower-case names, printable ASCII values (others are percent-encoded)."""
    return tuple((name.lower(), value if value.isascii() else quote(value, safe=" ;=,/")) for name, value in facts)
