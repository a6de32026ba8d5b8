"""Sums of requests that are alike: what they have in common is looked at once, their figures are added up. Pure.

The same sums as counting each request in a `Tally` and a `Spend` by itself (a property test holds the two together),
for whoever folds millions of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenserve.carbon.entries import OTHER_CI, UNMETERED
from greenserve.carbon.facts import fact_of
from greenserve.carbon.grades import grade_of, stand_apart
from greenserve.carbon.ledger.spend import Place
from greenserve.carbon.tally import Tally
from greenserve.carbon.windows import US_PER_QUARTER


@dataclass(slots=True, kw_only=True)
class Alike:
    """Charged requests with known energy that differ in their figures alone. State: the sums, which `count` adds to.

    `first` is one of them by its first line, `newest` the same one by its newest line merged over the first. All have
    these in common: whose and which model, variant and region; outcome, cache, reason, code; PUE and grid readings;
    tier, state and flags of the newest line; the quarter of an hour; and which figures are null, or no tokens.
    """

    first: Mapping[str, Any]
    newest: Mapping[str, Any]
    requests: int = 0
    rows: int = 0
    tokens: int = 0
    active_uj: int = 0
    held_uj: int = 0
    host_uj: int = 0
    low_uj: int = 0
    high_uj: int = 0
    facility_uj: int = 0
    loc_lifecycle_ng: int = 0
    loc_direct_ng: int = 0
    market_ng: int = 0
    embodied_ng: int = 0
    histogram: dict[int, int] = field(default_factory=dict)

    @property
    def energy_uj(self) -> int:
        """IT energy [uJ]."""
        return self.active_uj + self.held_uj + self.host_uj

    @property
    def site_uj(self) -> int:
        """Energy at the site's meter [uJ]; IT energy where the site's PUE is unknown."""
        return self.energy_uj if self.newest["facility_uj"] is None else self.facility_uj


def tally_of(alike: Alike) -> Tally:
    """What these requests add to their row of the hourly sums."""
    first, newest, count = alike.first, alike.newest, alike.requests
    tally = Tally()
    tally.requests, tally.rows = count, alike.rows
    tally.outcomes[first["outcome"]] = tally.cache[first["cache"]] = count
    if first["tokens_in"] is None:
        tally.tokens_unknown = count
    else:
        tally.tokens = alike.tokens
    for flag in newest["flags"]:
        tally.flags[flag] += count
    if stand_apart(first):
        tally.apart = count
    if OTHER_CI in first:
        tally.facts[fact_of(first)] = count
    _put_energy(tally, alike)
    _put_grid(tally, alike)
    _put_carbon(tally, alike)
    return tally


def place_of(alike: Alike) -> Place:
    """Whose use these requests are, and in which quarter of an hour."""
    first = alike.first
    return (
        first.get("org"),
        first["tenant"],
        first.get("project"),
        first["key_id"],
        first["model"],
        first["ended_us"] // US_PER_QUARTER,
    )


def spent_by(alike: Alike) -> tuple[int, int, int, int, int]:
    """What these requests add to the sums of their place, in the order of `Spend`."""
    unknown_uj = alike.site_uj if alike.newest["loc_lifecycle_ng"] is None else 0
    return alike.requests, alike.tokens, alike.energy_uj, alike.loc_lifecycle_ng, unknown_uj


def _put_energy(tally: Tally, alike: Alike) -> None:
    newest, count = alike.newest, alike.requests
    tally.active_uj, tally.held_uj, tally.host_uj = alike.active_uj, alike.held_uj, alike.host_uj
    tally.low_uj, tally.high_uj = alike.low_uj, alike.high_uj
    tally.tiers[newest["tier"]] = count
    tally.by_tier[newest["tier"]] = alike.energy_uj
    tally.histogram.update(alike.histogram)
    if newest["state"] == "provisional":
        tally.open = tally.provisional = count
        tally.provisional_uj = alike.energy_uj
    elif UNMETERED in newest["flags"]:
        tally.unreconciled, tally.unreconciled_uj = count, alike.energy_uj


def _put_grid(tally: Tally, alike: Alike) -> None:
    reading = alike.first["ci"]
    if reading is None:
        tally.by_origin["unknown"] = alike.energy_uj
        return
    tally.by_origin[reading["origin"]] = alike.energy_uj
    if alike.newest["facility_uj"] is not None:
        tally.intensities[reading["mg_per_kwh"]] = alike.facility_uj
    for counter, one in ((tally.grades, reading), (tally.other_grades, alike.first.get(OTHER_CI))):
        grade = None if one is None else grade_of(one)
        if grade is not None:
            counter[grade] = alike.energy_uj


def _put_carbon(tally: Tally, alike: Alike) -> None:
    first, newest, count = alike.first, alike.newest, alike.requests
    if newest["facility_uj"] is None:
        tally.facility_unknown_uj = alike.energy_uj
    else:
        tally.facility_uj = alike.facility_uj
    if newest["loc_lifecycle_ng"] is None:
        tally.loc_lifecycle_uncovered_uj, tally.ci_unknown_uj = alike.energy_uj, alike.site_uj
    else:
        tally.loc_lifecycle_ng, tally.loc_lifecycle_covered = alike.loc_lifecycle_ng, count
        if first["tokens_in"] and OTHER_CI in first:
            tally.scored_tokens, tally.scored_tokens_ng = alike.tokens, alike.loc_lifecycle_ng
    if newest["loc_direct_ng"] is None:
        tally.loc_direct_uncovered_uj = alike.energy_uj
    else:
        tally.loc_direct_ng, tally.loc_direct_covered = alike.loc_direct_ng, count
    if newest["market_ng"] is None:
        tally.market_unknown_uj = alike.site_uj
    else:
        tally.market_ng, tally.market_covered = alike.market_ng, count
    if newest["embodied_ng"] is not None:
        tally.embodied_ng, tally.embodied_covered = alike.embodied_ng, count
