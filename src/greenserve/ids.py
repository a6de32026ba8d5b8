"""Request identifiers: UUIDv7 (RFC 9562), ordered by the time they carry."""

import re
import uuid

import uuid_utils

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_request_id() -> str:
    """A fresh UUIDv7 in its canonical text form."""
    return str(uuid_utils.uuid7())


def is_request_id(text: str) -> bool:
    """Whether a text is a UUIDv7 in its canonical form: lower case, with hyphens."""
    return _ID.fullmatch(text) is not None


def unix_ms_of(request_id: str) -> int:
    """The milliseconds since 1970 UTC that a UUIDv7 carries; ValueError for anything else."""
    parsed = uuid.UUID(request_id)
    if parsed.version != 7:
        raise ValueError(f"{request_id} is a UUID of version {parsed.version}, not 7")
    return parsed.int >> 80
