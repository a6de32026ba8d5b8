"""Request identifiers: UUIDv7 (RFC 9562), ordered by the time they carry."""

import uuid

import uuid_utils


def new_request_id() -> str:
    """A fresh UUIDv7 in its canonical text form."""
    return str(uuid_utils.uuid7())


def unix_ms_of(request_id: str) -> int:
    """The milliseconds since 1970 UTC that a UUIDv7 carries; ValueError for anything else."""
    parsed = uuid.UUID(request_id)
    if parsed.version != 7:
        raise ValueError(f"{request_id} is a UUID of version {parsed.version}, not 7")
    return parsed.int >> 80
