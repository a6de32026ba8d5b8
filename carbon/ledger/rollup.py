"""Hourly sums per tenant, model, variant and region. A fold of usage entries."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from greenserve.carbon.entries import it_uj
from greenserve.records import Entry

ASSUMED_MG_PER_KWH = 820_000
"""What budgets, and only budgets, assume where the intensity is unknown [mg/kWh]: coal, so no budget overruns."""


class RollupKey(NamedTuple):
    """Where an entry's sums go; the empty string stands for a variant or region that was never chosen."""

    tenant: str
    hour: int
    model: str
    variant: str
    region: str


class Sums(NamedTuple):
    """Charged requests, IT energy [uJ], lifecycle emissions [ng], site energy [uJ] that these do not cover, requests
    without metered energy, requests still provisional."""

    requests: int = 0
    energy_uj: int = 0
    emissions_ng: int = 0
    unknown_uj: int = 0
    unmetered: int = 0
    provisional: int = 0

    def plus(self, other: "Sums", sign: int = 1) -> "Sums":
        """Member by member, `other` times `sign`."""
        return Sums(*(left + sign * right for left, right in zip(self, other, strict=True)))


Deltas = dict[RollupKey, Sums]


def contribution(body: Mapping[str, Any], hour: int) -> tuple[RollupKey, Sums]:
    """What one usage body adds; a line that is not charged counts only as provisional, until it is settled."""
    key = RollupKey(body["tenant"], hour, body["model"], body["variant"] or "", body["region"] or "")
    provisional = int(body["state"] == "provisional")
    if not body["charged"]:
        return key, Sums(provisional=provisional)
    energy, known_ng = it_uj(body), body["loc_lifecycle_ng"]
    uncovered = 0
    if energy is not None and known_ng is None:
        uncovered = energy if body["facility_uj"] is None else body["facility_uj"]
    return key, Sums(
        requests=1,
        energy_uj=energy or 0,
        emissions_ng=known_ng or 0,
        unknown_uj=uncovered,
        unmetered=int(energy is None),
        provisional=provisional,
    )


def fold(deltas: Deltas, entry: Entry, replaced: Mapping[str, Any] | None) -> None:
    """Add a usage entry to the sums, and take away the body that it replaces."""
    key, sums = contribution(entry.body, entry.hour)
    deltas[key] = deltas[key].plus(sums)
    if replaced is not None:
        old_key, old = contribution(replaced, entry.hour)
        deltas[old_key] = deltas[old_key].plus(old, -1)


def empty_deltas() -> Deltas:
    """No sums yet; every key starts at zero."""
    return defaultdict(Sums)
