"""Tenants, keys and budgets as they are stored, and the ranges that their settings lie in."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import PLATFORM
from greenserve.errors import InvalidRequest
from greenserve.records import Tenant

KeyKind = Literal["inference", "admin"]
KeyState = Literal["active", "expired", "revoked"]
KEY_KINDS: tuple[KeyKind, ...] = ("inference", "admin")
TENANT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MOST_PER_S, MOST_TOKENS_PER_S, MOST_AT_ONCE = 1_000_000, 1_000_000_000, 1_000_000
MOST_SCOPES = 64
SURFACES: Mapping[KeyKind, tuple[str, ...]] = MappingProxyType(
    {
        "inference": (
            "/v2",
            "/v1/embeddings",
            "/v1/models",
            "/v1/receipts",
            "/inference.GRPCInferenceService",
            "/greenserve.v1.Carbon",
        ),
        "admin": ("/admin/v1", "/metrics"),
    }
)
"""What the paths of a key's scope lie under, by the key's kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A tenant as stored, with when it was made and closed [us UTC]; `revision` counts its changes."""

    tenant: Tenant
    created_us: int
    closed_us: int | None
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRules:
    """What a key may do. None = no narrower than its tenant.

    `project` labels its use; `models` and `paths` (a path covers what lies under it) are what it may ask for; `pin`:
    whether it may name a variant. Its own limits are requests/s with a burst, tokens/s, and requests at once.
    """

    kind: KeyKind = "inference"
    project: str | None = None
    models: frozenset[str] | None = None
    pin: bool = True
    paths: tuple[str, ...] | None = None
    rate_per_s: float | None = None
    burst: int | None = None
    tokens_per_s: float | None = None
    concurrency: int | None = None

    def allows_path(self, path: str) -> bool:
        """Whether a path is in the key's scope."""
        return self.paths is None or any(_covers(scope, path) for scope in self.paths)


INFERENCE = KeyRules()
"""The rules of a key that is no narrower than its tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as stored: its owner, the HMAC of its secret, and when it was made, expires and was revoked [us UTC].

    `replaced_by` names the key that it was rotated to. Admin keys belong to the platform.
    """

    key_id: str
    tenant_id: str
    label: str | None
    hmac: bytes
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    rules: KeyRules = INFERENCE
    replaced_by: str | None = None
    revision: int = 0

    def state(self, now_us: int) -> KeyState:
        """Whether it works at `now_us` [us UTC], or why not."""
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.expires_us is not None and self.expires_us <= now_us else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRecord:
    """A budget in force; `revision` counts its changes."""

    budget: Budget
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """Everything that admission asks, at one revision: open tenants, keys by id, and budgets by `Budget.subject`."""

    revision: int
    tenants: Mapping[str, Tenant]
    keys: Mapping[str, KeyRecord]
    budgets: Mapping[str, tuple[Budget, ...]]
    pepper: bytes


def check_tenant(tenant: Tenant) -> None:
    """InvalidRequest with all settings that lie outside their range."""
    faults = []
    if not TENANT_ID.fullmatch(tenant.tenant_id):
        faults.append(f"id {tenant.tenant_id!r}: 1 to 63 of a-z, 0-9 and -, starting with a letter or digit")
    if not tenant.name or len(tenant.name) > 200:
        faults.append(f"name: 1 to 200 characters, got {len(tenant.name)}")
    if tenant.org is not None and not TENANT_ID.fullmatch(tenant.org):
        faults.append(f"org {tenant.org!r}: 1 to 63 of a-z, 0-9 and -, starting with a letter or digit")
    for name, value in (("quality floor", tenant.quality_floor), ("quality mean", tenant.quality_mean)):
        if value is not None and not 0 <= value <= 1:
            faults.append(f"{name}: 0 to 1, got {value}")
    faults += limit_faults(tenant.rate_per_s, tenant.burst, tenant.tokens_per_s, tenant.concurrency)
    if tenant.regions is not None and not tenant.regions:
        faults.append("regions: at least one, or none given for all")
    _raise(faults)


def check_key(rules: KeyRules, label: str | None) -> None:
    """InvalidRequest with all rules of a key that are malformed, out of range, or not of its kind."""
    faults = limit_faults(rules.rate_per_s, rules.burst, rules.tokens_per_s, rules.concurrency)
    if label is not None and not 0 < len(label) <= 200:
        faults.append(f"label: 1 to 200 characters, got {len(label)}")
    if rules.project is not None and not LABEL.fullmatch(rules.project):
        faults.append(f"project {rules.project!r}: 1 to 63 letters, digits, dots, _ and -")
    for name, values in (("models", rules.models), ("paths", rules.paths)):
        if values is not None and not 0 < len(values) <= MOST_SCOPES:
            faults.append(f"{name}: 1 to {MOST_SCOPES} of them, or none given for all")
    surfaces = SURFACES[rules.kind]
    for path in rules.paths or ():
        if path != path.rstrip("/") or not any(_covers(surface, path) for surface in surfaces):
            faults.append(f"path {path!r}: a path of an {rules.kind} key is or lies under one of {', '.join(surfaces)}")
    if rules.kind == "admin" and rules != KeyRules(kind="admin", paths=rules.paths):
        faults.append("an admin key cannot infer: it has no project, models, pinning or limits, only paths")
    _raise(faults)


def limit_faults(
    rate_per_s: float | None, burst: int | None, tokens_per_s: float | None, concurrency: int | None
) -> list[str]:
    """What is wrong with limits of requests [1/s], a burst, tokens [1/s], requests at once; None = no limit."""
    faults = []
    for name, value, most, unit in (
        ("rate", rate_per_s, MOST_PER_S, "requests/s"),
        ("tokens", tokens_per_s, MOST_TOKENS_PER_S, "tokens/s"),
    ):
        if value is not None and not 0 < value <= most:
            faults.append(f"{name}: over 0 and up to {most:,} {unit}, got {value:g}")
    for name, count, unit in (("burst", burst, "requests"), ("concurrency", concurrency, "requests at once")):
        if count is not None and not 0 < count <= MOST_AT_ONCE:
            faults.append(f"{name}: 1 to {MOST_AT_ONCE:,} {unit}, got {count}")
    return faults


def has_owner(record: KeyRecord, opened: Iterable[str]) -> bool:
    """Whether the key's owner is there: an open tenant, or the platform."""
    return record.tenant_id == PLATFORM or record.tenant_id in opened


def _covers(scope: str, path: str) -> bool:
    return path == scope or path.startswith(f"{scope}/")


def _raise(faults: list[str]) -> None:
    if faults:
        raise InvalidRequest("; ".join(faults))
