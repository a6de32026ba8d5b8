"""Which requests are traced and logged: decided by their ids, so that all processes agree. Pure."""

import re

SAMPLED = 1
TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
SPAN = 2**32
SCRAMBLE = 2_654_435_761
"""An odd number near 2^32 over the golden ratio: it spreads neighbours far apart."""


def flags_of(traceparent: str | None) -> int | None:
    """The flags of a W3C `traceparent`; None where there is none that can be read."""
    found = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None or found[1] == "ff" or not int(found[2], 16) or not int(found[3], 16):
        return None
    return int(found[4], 16)


def is_traced(request_id: str, traceparent: str | None, *, share: float) -> bool:
    """As the caller's trace has it; without one, a `share` (0..1) of the requests."""
    flags = flags_of(traceparent)
    return _random_of(request_id) < share * SPAN if flags is None else bool(flags & SAMPLED)


def is_logged(request_id: str, *, share: float) -> bool:
    """A `share` (0..1) of the requests, other ones than those that are traced."""
    return _random_of(request_id) * SCRAMBLE % SPAN < share * SPAN


def _random_of(request_id: str) -> int:
    """The last 32 bits of an id are random; those before may count up within a millisecond."""
    return int(request_id[-8:], 16)
