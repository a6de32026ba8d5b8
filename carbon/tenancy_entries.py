"""The ledger's lines of tenants, keys and budgets: what is true of one from a change on."""

from collections.abc import Mapping
from typing import Any, Literal

from greenserve.carbon.entries import VERSION, entry_of
from greenserve.records import Entry, Tenant


def tenant_entry(tenant: Tenant, *, revision: int, at_us: int, closed: bool) -> Entry:
    """A tenant's rules after a change. Its display name stays in the table: bodies hold opaque ids only."""
    return entry_of(
        {
            "kind": "tenant",
            "tenant": tenant.tenant_id,
            "revision": revision,
            "at_us": at_us,
            "closed": closed,
            "org": tenant.org,
            "quality_floor_ppm": millionths(tenant.quality_floor),
            "quality_mean_ppm": millionths(tenant.quality_mean),
            "policy": tenant.policy,
            "regions": None if tenant.regions is None else sorted(tenant.regions),
            "exposure": tenant.exposure,
            "rate_per_s_ppm": millionths(tenant.rate_per_s),
            "burst": tenant.burst,
            "tokens_per_s_ppm": millionths(tenant.tokens_per_s),
            "concurrency": tenant.concurrency,
            "v": VERSION,
        }
    )


def change_entry(kind: Literal["key", "budget"], subject_id: str, tenant: str, change: Mapping[str, Any]) -> Entry:
    """A key or a budget after a change; `change` holds revision, at_us and what is true from then on."""
    return entry_of({"kind": kind, f"{kind}_id": subject_id, "tenant": tenant, "v": VERSION} | dict(change))


def millionths(value: float | None) -> int | None:
    """A setting as an integer in millionths, as bodies hold it."""
    return None if value is None else round(value * 1_000_000)
