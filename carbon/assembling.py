"""The end of every fold of a statement: contracts applied, facts read, whoever added the parts up."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenserve.carbon.counterfactual import Counterfactual
from greenserve.carbon.entries import PLATFORM
from greenserve.carbon.facts import facts_of
from greenserve.carbon.folded import Folded, Scope
from greenserve.carbon.market import MarketFold
from greenserve.carbon.pooled import Pooled
from greenserve.carbon.reconciliation import Reconciliation
from greenserve.carbon.shared import Shared
from greenserve.carbon.statement_changes import Changes
from greenserve.carbon.statement_line import Line
from greenserve.carbon.terms import Terms

SIMULATED = "simulated"


class Budgets:
    """Budgets in force in the period. State: the newest body and the changes of the period by id, by `take` alone."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.newest: dict[str, Mapping[str, Any]] = {}
        self.changes: Counter[str] = Counter()

    def take(self, body: Mapping[str, Any]) -> None:
        """A change, in order of index; those after the period's end are another statement's."""
        if body["at_us"] < self._scope.end_us and body["tenant"] in (self._scope.tenant, PLATFORM):
            self.newest[body["budget_id"]] = body
            self.changes[body["budget_id"]] += self._scope.holds(body["at_us"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a fold adds up; members as in `Folded`, `facts` counts requests by (region, `fact_of`)."""

    total: Line
    lines: Mapping[tuple[str, ...], Line]
    tenants: Mapping[str, Line]
    reconciliation: Reconciliation
    market: MarketFold
    pooled: Pooled
    shared: Shared
    counterfactual: Counterfactual
    uncharged: int
    facts: Mapping[tuple[str, str], int]
    budgets: Budgets
    indexes: tuple[int | None, int | None]
    changes: Changes


def assembled(scope: Scope, terms: Terms, parts: Parts) -> Folded:
    """The sums that the document is written from."""
    if terms.market is not None:
        for key, one in parts.market.priced(terms.market).items():
            parts.lines[key].price(one)
            parts.total.price(one)
    facts = facts_of(parts.facts)
    if parts.total.tally.tiers[SIMULATED] or parts.shared.tier == SIMULATED:
        facts.marks["simulated energy"] = {"energy was replayed from a series, not measured"}
    return Folded(
        scope=scope,
        terms=terms,
        total=parts.total,
        lines=parts.lines,
        tenants=parts.tenants,
        reconciliation=parts.reconciliation,
        counterfactual=parts.counterfactual,
        uncharged=parts.uncharged,
        unassigned=parts.pooled.unassigned(),
        shared=parts.shared,
        marks={mark: sorted(reasons) for mark, reasons in facts.marks.items()},
        factors=facts.factors,
        sites=facts.sites,
        reasons=facts.reasons,
        codes=facts.codes,
        budgets=parts.budgets.newest,
        budget_changes=parts.budgets.changes,
        indexes=parts.indexes,
        changes=parts.changes.members(),
    )
