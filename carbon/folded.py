"""What a statement is made of, whoever folded it: from single entries, or from the ledger's hourly sums."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenserve.carbon.counterfactual import Counterfactual
from greenserve.carbon.reconciliation import Reconciliation
from greenserve.carbon.scope import EVERYBODY, Scope
from greenserve.carbon.shared import Shared
from greenserve.carbon.statement_line import Line
from greenserve.carbon.terms import Terms

__all__ = ["EVERYBODY", "Folded", "Scope", "Unassigned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unassigned:
    """Energy that no request caused (idle, background, foreign, gap, waste): IT energy [uJ], site energy [uJ]
    by the PUE of the same hour's requests, emissions [ng] at their mean intensity, and the IT energy [uJ] of hours
    without a PUE and without an intensity."""

    energy_uj: int = 0
    facility_uj: int = 0
    facility_unknown_uj: int = 0
    direct_ng: int | None = None
    lifecycle_ng: int | None = None
    uncovered_uj: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The sums that the document's members are written from.

    `lines` by (day, model, variant, region), `tenants` by id (the operator's view), `marks` by watermark and reason,
    `factors` min and max mg/kWh by (zone, provider, origin, basis, kind), `sites` requests by (region, PUE in 1/1000),
    `budgets` the newest body by id, `indexes` the first and last row of the statement's own requests, `changes` the
    members that tell of restatements and late requests, none where there are none.
    """

    scope: Scope
    terms: Terms
    total: Line
    lines: Mapping[tuple[str, ...], Line]
    tenants: Mapping[str, Line]
    reconciliation: Reconciliation
    counterfactual: Counterfactual
    uncharged: int
    unassigned: Unassigned
    shared: Shared
    marks: Mapping[str, Sequence[str]]
    factors: Mapping[tuple[str, ...], tuple[int, int]]
    sites: Mapping[tuple[str, int | None], int]
    reasons: Counter[str]
    codes: Counter[str]
    budgets: Mapping[str, Mapping[str, Any]]
    budget_changes: Counter[str]
    indexes: tuple[int | None, int | None]
    changes: Mapping[str, Any] = field(default_factory=dict)
