"""What a statement is made of, whoever folded it: from single entries, or from the ledger's hourly sums."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenserve.carbon.budgets import iso
from greenserve.carbon.counterfactual import Counterfactual
from greenserve.carbon.reconciliation import Reconciliation
from greenserve.carbon.statement_line import Line
from greenserve.carbon.terms import Terms

EVERYBODY = "_operator"
"""The tenant of the operator's statement: all tenants, and the energy that no request caused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a statement covers: a tenant (or EVERYBODY), [start_us, end_us) UTC, who issues it, and the ledger's end
    that it is folded to (`size` rows, `chain` hash in hex).

    `terms` are the members of `Terms`, `config_sha256` the digest of the configuration that they come from.
    """

    tenant: str
    start_us: int
    end_us: int
    issuer: str
    software: str
    size: int
    chain: str
    config_sha256: str | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us:
            raise ValueError(f"a period ends after it starts, got {iso(self.start_us)} to {iso(self.end_us)}")

    def holds(self, at_us: int) -> bool:
        """Whether a moment lies in the period."""
        return self.start_us <= at_us < self.end_us

    def covers(self, tenant: str) -> bool:
        """Whether a tenant's requests are the statement's own."""
        return self.tenant in (tenant, EVERYBODY)


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
    marks: Mapping[str, Sequence[str]]
    factors: Mapping[tuple[str, ...], tuple[int, int]]
    sites: Mapping[tuple[str, int | None], int]
    reasons: Counter[str]
    codes: Counter[str]
    budgets: Mapping[str, Mapping[str, Any]]
    budget_changes: Counter[str]
    indexes: tuple[int | None, int | None]
    changes: Mapping[str, Any] = field(default_factory=dict)
