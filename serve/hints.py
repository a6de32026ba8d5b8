"""The hints and keys that callers send in headers or metadata; they narrow what the tenant may do, never lift it."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import get_args

from greenserve.errors import InvalidKey, InvalidRequest
from greenserve.records import Hints, Policy
from greenserve.serve import names
from greenserve.units import MILLI

NONE = Hints()
HEADERS = frozenset(
    {names.POLICY, names.DEADLINE_MS, names.MIN_QUALITY, names.REGIONS, names.CACHE_HINT, names.DEFER_UNTIL}
)
POLICIES: tuple[str, ...] = get_args(Policy)
LOWEST_PRIORITY = 3
LONGEST_KEY = 255
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def hints_of(
    headers: Mapping[str, str], *, variant: object = None, priority: object = None, defer_until: object = None
) -> Hints:
    """The hints in lower-case headers or metadata; raises InvalidRequest for a value that can't be read.

    `variant`, `priority` and `defer_until` come as parameters of a request. What may wait is last in the queue and
    waits for company, unless the caller says otherwise.
    """
    if variant is None and priority is None and defer_until is None and HEADERS.isdisjoint(headers):
        return NONE
    if variant is not None and (not isinstance(variant, str) or not variant):
        raise InvalidRequest(f"parameters.greenserve_variant: a variant's name is needed, got {variant!r:.80}")
    policy = headers.get(names.POLICY)
    if policy is not None and policy not in POLICIES:
        raise InvalidRequest(f"GreenServe-Policy: {', '.join(POLICIES)} are allowed, got {policy!r:.80}")
    cache = headers.get(names.CACHE_HINT)
    if cache not in {None, "no-store"}:
        raise InvalidRequest(f"GreenServe-Cache: 'no-store' is allowed, got {cache!r:.80}")
    defer_until_us = _defer_until_us(headers.get(names.DEFER_UNTIL), defer_until)
    if defer_until_us is not None:
        policy = policy or "min-carbon"
        priority = LOWEST_PRIORITY if priority is None else priority
    deadline_ms = _number(headers, names.DEADLINE_MS, 1.0, 3_600_000.0)
    return Hints(
        policy=policy,  # type: ignore[arg-type]
        deadline_s=None if deadline_ms is None else deadline_ms / MILLI,
        min_quality=_number(headers, names.MIN_QUALITY, 0.0, 1.0),
        regions=_regions(headers.get(names.REGIONS)),
        variant=variant,
        no_store=cache == "no-store",
        priority=_priority(priority),
        defer_until_us=defer_until_us,
    )


def credential_of(headers: Mapping[str, str]) -> str | None:
    """The key in `authorization: Bearer KEY`, None where there is none; raises InvalidKey for another scheme."""
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, key = given.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise InvalidKey("authorization: `Bearer gs_...` is needed, got another scheme or no key")
    return key.strip()


def idempotency_key_of(headers: Mapping[str, str]) -> str | None:
    """The key in lower-case headers or metadata, bare or as a quoted string; raises InvalidRequest."""
    given = headers.get(names.IDEMPOTENCY_KEY)
    if given is None:
        return None
    key = given[1:-1] if len(given) >= 2 and given[0] == given[-1] == '"' else given
    if not 1 <= len(key) <= LONGEST_KEY or not all("!" <= each <= "~" for each in key):
        raise InvalidRequest(
            f"Idempotency-Key: 1..{LONGEST_KEY} visible ASCII characters are needed, such as a UUID, got {given!r:.80}"
        )
    return key


def _defer_until_us(header: str | None, parameter: object) -> int | None:
    """The time in the header or the parameter, which may not contradict each other."""
    given = header if parameter is None else parameter
    if given is None:
        return None
    place = "GreenServe-Defer-Until" if parameter is None else "parameters.greenserve_defer_until"
    if header is not None and parameter is not None and header != parameter:
        raise InvalidRequest(f"{place}: it says {parameter!r:.80}, the header {header!r:.80}; send one of them")
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidRequest(
            f"{place}: a time with its offset as RFC 3339 has it is needed, such as 2027-01-31T08:30:00Z, got "
            f"{given!r:.80}"
        )
    return (moment - EPOCH) // timedelta(microseconds=1)


def _priority(given: object) -> int:
    if given is None:
        return NONE.priority
    if type(given) is not int or not 0 <= given <= LOWEST_PRIORITY:
        raise InvalidRequest(
            f"parameters.priority: 1 (highest) to {LOWEST_PRIORITY}, or 0 for the default, {NONE.priority}, is needed, "
            f"got {given!r:.80}"
        )
    return given or NONE.priority


def _regions(given: str | None) -> frozenset[str] | None:
    if given is None:
        return None
    regions = frozenset(part.strip() for part in given.split(","))
    if "" in regions:
        raise InvalidRequest(f"GreenServe-Regions: names with commas between them are needed, got {given!r:.80}")
    return regions


def _number(headers: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise InvalidRequest(f"{name}: a number in {least:g}..{most:g} is needed, got {given!r:.80}")
    return value
