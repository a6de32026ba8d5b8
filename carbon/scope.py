"""Whose statement it is, and of which time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenserve.carbon.budgets import iso

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
