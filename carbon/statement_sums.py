"""A statement from the ledger's hourly sums: the same document as from its single entries, where these are not needed.

Sums hold what adds up. Embodied shares and declared baselines are rounded per request, so a statement with either is
folded from entries; so is one over parts of hours, or over rows of before their lines told what `facts` keeps.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from greenserve.carbon.assembling import Budgets, Parts, assembled
from greenserve.carbon.budgets import iso
from greenserve.carbon.counterfactual import Counterfactual
from greenserve.carbon.entries import US_PER_HOUR
from greenserve.carbon.folded import EVERYBODY, Folded, Scope
from greenserve.carbon.late import LATE_PERIOD
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.market import MarketFold
from greenserve.carbon.pooled import Pooled
from greenserve.carbon.reconciliation import Reconciliation
from greenserve.carbon.removed_keys import is_erased
from greenserve.carbon.restating import more_uj
from greenserve.carbon.shared import Shared
from greenserve.carbon.statement_changes import Changes
from greenserve.carbon.statement_line import Line
from greenserve.carbon.tally import Tally
from greenserve.carbon.terms import Terms

Rows = Iterable[tuple[RollupKey, Tally]]


class NeedsEntries(Exception):
    """The sums do not give this statement; the message says why. Whoever asks folds the entries instead."""


class Stray(NamedTuple):
    """A settled line on the other side of the period's edge: its energy [uJ], whether it ended in the period, and
    whether the interval that holds it closed there (None: no interval closed behind it yet)."""

    tenant: str
    energy_uj: int
    ended_here: bool
    closed_here: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSums:
    """What is read of a ledger for a period of whole hours.

    `rows` are the sums of the statement's own tenants, and with contracts of all; `settled_uj` is the settled energy
    by tenant, of all. `intervals` are the bodies of the period's closed hours of devices, and of the device intervals
    that none of these holds, `shares` those of the tenant's shares and the platform's, `budgets` those of all budgets'
    changes, in order of index; `closes` says whether there is any interval. `strays` correct what
    `settled_uj` says of the intervals' energy. `restated` are all restatements by index, `causes` what they name.
    """

    rows: Rows
    settled_uj: Mapping[str, int]
    closes: bool
    intervals: Iterable[Mapping[str, Any]]
    strays: Iterable[Stray]
    budgets: Iterable[Mapping[str, Any]]
    shares: Iterable[Mapping[str, Any]]
    indexes: tuple[int | None, int | None]
    restated: Iterable[tuple[int, Mapping[str, Any]]] = ()
    causes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def check_terms(scope: Scope) -> Terms:
    """The terms of a scope that sums can give; NeedsEntries for others."""
    terms = Terms.of(scope.terms)
    if scope.start_us % US_PER_HOUR or scope.end_us % US_PER_HOUR:
        raise NeedsEntries("the period is not of whole hours")
    if terms.hardware or terms.baselines:
        raise NeedsEntries("embodied shares and baselines are rounded per request")
    return terms


def settled_in(row: bytes) -> int:
    """The energy [uJ] of a row that intervals of devices hold, from what `Tally.to_json` wrote."""
    members = orjson.loads(row)
    whole: int = sum(members.get(name, 0) for name in ("active_uj", "held_uj", "host_uj"))
    return whole - int(members.get("provisional_uj", 0)) - int(members.get("unreconciled_uj", 0))


def fold_sums(sums: HourSums, scope: Scope) -> Folded:
    """The sums of a statement from the hours' rows; NeedsEntries where they do not give it."""
    terms = check_terms(scope)
    folding = _Fold(scope, terms)
    for key, tally in sums.rows:
        folding.take(key, tally)
    reconciliation = Reconciliation(
        tenant=scope.tenant, start_us=scope.start_us, end_us=scope.end_us, everybody=scope.tenant == EVERYBODY
    )
    shared = Shared(scope)
    for body in sums.intervals:
        hour = body["hour"] if body["kind"] == "device_hour" else body["at_us"] // US_PER_HOUR
        if body["kind"] == "device_hour":
            reconciliation.take_hour(body)
            shared.hour(body)
        else:
            reconciliation.close(body)
            shared.interval(0, body)
        folding.market.close(hour, body["metered_uj"])
        folding.pooled.close(body, hour)
    for body in sums.shares:
        shared.share(body)
    for tenant, energy_uj in sums.settled_uj.items():
        if is_erased(tenant):
            reconciliation.lose(energy_uj)
        else:
            reconciliation.place(tenant, energy_uj, ended_here=True, closed_here=sums.closes)
    for stray in sums.strays:
        if stray.ended_here:
            reconciliation.place(stray.tenant, -stray.energy_uj, ended_here=True, closed_here=sums.closes)
        if stray.closed_here is not None:
            reconciliation.place(
                stray.tenant, stray.energy_uj, ended_here=stray.ended_here, closed_here=stray.closed_here
            )
    budgets, changes = Budgets(scope), Changes(scope)
    for body in sums.budgets:
        budgets.take(body)
    for idx, body in sums.restated:
        if scope.holds(body["hour"] * US_PER_HOUR) and (more := more_uj(body)):
            reconciliation.restate(body["tenant"], more)
            reconciliation.place(body["tenant"], -more, ended_here=True, closed_here=sums.closes)
        changes.restated(idx, body, sums.causes)
    reconciliation.fill()
    return folding.folded(reconciliation, budgets, sums.indexes, (shared, changes))


class _Fold:
    """State: sums by tenant and line of the breakdown, and what prices them; changed by `take`."""

    def __init__(self, scope: Scope, terms: Terms) -> None:
        self._scope, self._terms = scope, terms
        self._sums: dict[tuple[str, tuple[str, ...]], Tally] = {}
        self._days: dict[int, str] = {}
        self._uncharged = 0
        self.market, self.pooled = MarketFold(), Pooled()

    def take(self, key: RollupKey, tally: Tally) -> None:
        """A row of an hour: in the statement where its tenant is, else only beside it."""
        own = self._scope.covers(key.tenant)
        self._uncharged += tally.not_charged if own else 0
        if not tally.requests:
            return
        if key.hour not in self._days:
            self._days[key.hour] = iso(key.hour * US_PER_HOUR)[:10]
        line = (self._days[key.hour], key.model, key.variant, key.region)
        if self._has_site(tally):
            self.market.add_sum(
                (key.hour, key.region),
                line if own else None,
                facility_uj=tally.facility_uj,
                energy_uj=tally.energy_uj - tally.facility_unknown_uj,
            )
        self.pooled.add_sums(tally, key.hour)
        if own:
            if tally.flags[LATE_PERIOD]:
                raise NeedsEntries("requests of a closed month are told by the month in which they ended")
            if (key.tenant, line) not in self._sums:
                self._sums[key.tenant, line] = Tally()
            self._sums[key.tenant, line].merge(tally)

    def _has_site(self, tally: Tally) -> bool:
        """Whether any request of a row has site energy, be it none."""
        if tally.facility_uj or self._terms.market is None or tally.requests == tally.unmetered:
            return bool(tally.facility_uj)
        if any(orjson.loads(fact)[2] is not None for fact in tally.facts):
            raise NeedsEntries("requests without energy at a known PUE cannot be told from others in sums")
        return False

    def folded(
        self,
        reconciliation: Reconciliation,
        budgets: Budgets,
        indexes: tuple[int | None, int | None],
        beside: tuple[Shared, Changes],
    ) -> Folded:
        """All of it, contracts applied; the total is the sum of the breakdown."""
        total = Line(embodied=False)
        lines: dict[tuple[str, ...], Line] = {}
        tenants: dict[str, Line] = {}
        facts: Counter[tuple[str, str]] = Counter()
        for (tenant, key), tally in self._sums.items():
            total.take(tally)
            lines.setdefault(key, Line(embodied=False)).take(tally)
            if self._scope.tenant == EVERYBODY:
                tenants.setdefault(tenant, Line(embodied=False)).take(tally)
            for fact, requests in tally.facts.items():
                facts[key[-1], fact] += requests
        if facts.total() != total.tally.requests:
            raise NeedsEntries("lines of an older version do not tell in sums what a statement says of them")
        for line in (total, *lines.values(), *tenants.values()):
            line.close()
        parts = Parts(
            total=total,
            lines=lines,
            tenants=tenants,
            reconciliation=reconciliation,
            market=self.market,
            pooled=self.pooled,
            shared=beside[0],
            counterfactual=Counterfactual(()),
            uncharged=self._uncharged,
            facts=facts,
            budgets=budgets,
            indexes=indexes,
            changes=beside[1],
        )
        return assembled(self._scope, self._terms, parts)
