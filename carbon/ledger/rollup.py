"""Hourly sums per tenant, key, model, variant, region and role: a fold of usage entries, one `Tally` per row."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from greenserve.carbon.tally import Tally

ASSUMED_MG_PER_KWH = 820_000
"""What budgets, and only budgets, assume where the intensity is unknown [mg/kWh]: coal, so no budget overruns."""
OWN = "own"


class RollupKey(NamedTuple):
    """Where a request's sums go; the empty string stands for a key, variant or region that there was none of.

    `hour` counts from 1970 UTC; `role` is `own`, or what a peer region and this one did for each other.
    """

    tenant: str
    key_id: str
    hour: int
    model: str
    variant: str
    region: str
    role: str


class Sums(NamedTuple):
    """The columns of a row that queries add up: charged requests, IT energy [uJ], lifecycle emissions [ng], site
    energy [uJ] that these do not cover, requests without metered energy, lines that are still provisional."""

    requests: int = 0
    energy_uj: int = 0
    emissions_ng: int = 0
    unknown_uj: int = 0
    unmetered: int = 0
    provisional: int = 0


_as_key = RollupKey._make
Rollups = dict[RollupKey, Tally]


def rollup_key(first: Mapping[str, Any], hour: int) -> RollupKey:
    """The row that a request belongs to, by its first line."""
    return _as_key(
        (
            first["tenant"],
            first["key_id"] or "",
            hour,
            first["model"],
            first["variant"] or "",
            first["region"] or "",
            first.get("role") or OWN,
        )
    )


def sums_of(tally: Tally) -> Sums:
    """The columns beside a row's tally."""
    return Sums(
        tally.requests, tally.energy_uj, tally.loc_lifecycle_ng, tally.ci_unknown_uj, tally.unmetered, tally.open
    )


def add_line(
    rollups: Rollups, key: RollupKey, body: Mapping[str, Any], replaced: Mapping[str, Any] | None
) -> RollupKey:
    """Count a line in its row, instead of `replaced` where it settles that one; the row's key again."""
    tally = rollups.get(key)
    if tally is None:
        tally = rollups[key] = Tally()
    if replaced is None:
        tally.add(body)
        tally.describe(body)
    else:
        tally.replace(replaced, body)
    return key


def fold_line(
    rollups: Rollups, hour: int, body: Mapping[str, Any], replaced: Mapping[str, Any] | None = None
) -> RollupKey:
    """As `add_line`, in the row that the request's first line names."""
    return add_line(rollups, rollup_key(body if replaced is None else replaced, hour), body, replaced)


def digest_of(rows: Iterable[tuple[RollupKey, Tally]]) -> str:
    """SHA-256 in hex over rows in order of key: what a closed month's sums are frozen by."""
    digest = hashlib.sha256()
    for key, tally in rows:
        digest.update("\x1f".join(map(str, key)).encode() + b"\n" + tally.to_json() + b"\n")
    return digest.hexdigest()
