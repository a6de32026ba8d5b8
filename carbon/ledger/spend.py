"""What budgets are read from: sums per subject and quarter of an hour, day, and all time. A fold of usage entries.

A line counts for its tenant, its org, project and key if it has them, and its model: the subjects of
`budgets.subjects_of`, as they were when the request was answered.
"""

from collections.abc import Mapping
from operator import add
from typing import Any, NamedTuple

from greenserve.carbon.budgets import Unit, subjects_of
from greenserve.carbon.emissions import emissions_ng
from greenserve.carbon.entries import counted_us
from greenserve.carbon.ledger.rollup import ASSUMED_MG_PER_KWH
from greenserve.carbon.windows import US_PER_QUARTER, Span
from greenserve.records import Entry

QUARTER, DAY, EVER = 0, 1, 2
"""How much time a row covers."""
QUARTERS_PER_DAY = 96


class SpendKey(NamedTuple):
    """Where a line's sums go: `at` counts quarters of an hour or days since 1970 UTC, and is 0 for all time."""

    subject: str
    grain: int
    at: int


class Spend(NamedTuple):
    """Charged requests, tokens that were counted, IT energy [uJ], lifecycle emissions [ng], and the site energy [uJ]
    that these do not cover."""

    requests: int = 0
    tokens: int = 0
    energy_uj: int = 0
    emissions_ng: int = 0
    unknown_uj: int = 0

    def plus(self, other: "Spend", sign: int = 1) -> "Spend":
        """Member by member, `other` times `sign`."""
        return Spend(
            self.requests + sign * other.requests,
            self.tokens + sign * other.tokens,
            self.energy_uj + sign * other.energy_uj,
            self.emissions_ng + sign * other.emissions_ng,
            self.unknown_uj + sign * other.unknown_uj,
        )


Place = tuple[str | None, str, str | None, str | None, str, int]
"""Org, tenant, project, key, model, and the quarter of an hour since 1970 UTC: whose use a line is, and when."""
Places = dict[Place, list[int]]
"""Sums in the order of `Spend`."""
Spends = dict[SpendKey, Spend]


class Stretch(NamedTuple):
    """Rows of one grain from `first` up to but without `end`."""

    grain: int
    first: int
    end: int


def fold_spend(places: Places, entry: Entry, replaced: Mapping[str, Any] | None) -> None:
    """Add a usage entry to the sums, and take away the body that it replaces.

    Whose it is stands in the first line of a request; the settled one brings the meter's figures.
    """
    spend_line(places, entry.body, replaced)


def spend_line(places: Places, body: Mapping[str, Any], replaced: Mapping[str, Any] | None) -> None:
    """As `fold_spend`, for bodies."""
    first = body if replaced is None else replaced
    # Lines of version 1 of the ledger say nothing of org and project.
    place = (
        first.get("org"),
        first["tenant"],
        first.get("project"),
        first["key_id"],
        first["model"],
        counted_us(first) // US_PER_QUARTER,
    )
    sums = places.get(place)
    if sums is None:
        sums = places[place] = [0, 0, 0, 0, 0]
    _spend(sums, first, body, 1)
    if replaced is not None:
        _spend(sums, first, replaced, -1)


def spends_of(places: Places) -> Spends:
    """The sums of every subject and grain, from those of places; rows that change nothing are left out."""
    sums: dict[tuple[str, int, int], list[int]] = {}
    for (org, tenant, project, key_id, model, quarter), spent in places.items():
        for subject in subjects_of(org, tenant, project, key_id, model):
            for grain, at in ((QUARTER, quarter), (DAY, quarter // QUARTERS_PER_DAY), (EVER, 0)):
                before = sums.get((subject, grain, at))
                sums[subject, grain, at] = list(spent) if before is None else list(map(add, before, spent))
    return {SpendKey(*key): Spend(*spent) for key, spent in sums.items() if any(spent)}


def stretches(span: Span) -> tuple[Stretch, ...]:
    """The rows that a window's balance adds up: whole days, and quarters of an hour before and behind them."""
    if span.start_us <= 0 and span.end_us is None:
        return (Stretch(EVER, 0, 1),)
    first = span.start_us // US_PER_QUARTER
    first_day = -(-first // QUARTERS_PER_DAY)
    if span.end_us is None:
        return (
            Stretch(QUARTER, first, first_day * QUARTERS_PER_DAY),
            Stretch(DAY, first_day, 2**53),
        )
    end = span.end_us // US_PER_QUARTER
    end_day = end // QUARTERS_PER_DAY
    if end_day <= first_day:
        return (Stretch(QUARTER, first, end),)
    return (
        Stretch(QUARTER, first, first_day * QUARTERS_PER_DAY),
        Stretch(DAY, first_day, end_day),
        Stretch(QUARTER, end_day * QUARTERS_PER_DAY, end),
    )


def balance(unit: Unit, spend: Spend) -> int:
    """What a budget of `unit` has used, in its ledger integer: ng with the assumption for unknowns, uJ, or a count."""
    if unit == "requests":
        return spend.requests
    if unit == "tokens":
        return spend.tokens
    if unit == "J":
        return spend.energy_uj
    return spend.emissions_ng + emissions_ng(spend.unknown_uj, ASSUMED_MG_PER_KWH)


def _spend(sums: list[int], first: Mapping[str, Any], body: Mapping[str, Any], sign: int) -> None:
    if not body["charged"]:
        return
    sums[0] += sign
    sums[1] += sign * (first["tokens_in"] or 0)
    active_uj = body["active_uj"]
    if active_uj is None:
        return
    energy_uj = active_uj + body["held_uj"] + body["host_uj"]
    sums[2] += sign * energy_uj
    known_ng = body["loc_lifecycle_ng"]
    if known_ng is not None:
        sums[3] += sign * known_ng
    else:
        site_uj = body["facility_uj"]
        sums[4] += sign * (energy_uj if site_uj is None else site_uj)
