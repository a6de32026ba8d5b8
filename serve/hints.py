"""The hints that callers send in headers or metadata; they narrow what the tenant may do, never lift it."""

import math
from collections.abc import Mapping
from typing import get_args

from greenserve.errors import InvalidKey, InvalidRequest
from greenserve.records import Hints, Policy
from greenserve.serve import names
from greenserve.units import MILLI

NONE = Hints()
HEADERS = frozenset({names.POLICY, names.DEADLINE_MS, names.MIN_QUALITY, names.REGIONS, names.CACHE_HINT})
POLICIES: tuple[str, ...] = get_args(Policy)


def hints_of(headers: Mapping[str, str], *, variant: object = None) -> Hints:
    """The hints in lower-case headers or metadata; raises InvalidRequest for a value that can't be read."""
    if variant is None and not HEADERS & headers.keys():
        return NONE
    if variant is not None and not isinstance(variant, str):
        raise InvalidRequest(f"parameters.greenserve_variant: a variant's name is needed, got {variant!r}")
    policy = headers.get(names.POLICY)
    if policy is not None and policy not in POLICIES:
        raise InvalidRequest(f"GreenServe-Policy: {', '.join(POLICIES)} are allowed, got {policy!r}")
    regions = headers.get(names.REGIONS)
    cache = headers.get(names.CACHE_HINT)
    if cache not in {None, "no-store"}:
        raise InvalidRequest(f"GreenServe-Cache: 'no-store' is allowed, got {cache!r}")
    deadline_ms = _number(headers, names.DEADLINE_MS, 1.0, 3_600_000.0)
    return Hints(
        policy=policy,  # type: ignore[arg-type]
        deadline_s=None if deadline_ms is None else deadline_ms / MILLI,
        min_quality=_number(headers, names.MIN_QUALITY, 0.0, 1.0),
        regions=None if regions is None else frozenset(part.strip() for part in regions.split(",")),
        variant=variant,
        no_store=cache == "no-store",
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


def _number(headers: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise InvalidRequest(f"{name}: a number in {least:g}..{most:g} is needed, got {given!r}")
    return value
