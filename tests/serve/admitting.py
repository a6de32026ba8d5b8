"""Builders of what admission reads and is asked: tenants with a key and budgets, and requests of theirs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from greenserve.carbon.budgets import Budget
from greenserve.carbon.keys import hmac_of, mint
from greenserve.carbon.ledger.tenancy import KeyRecord, Tenancy
from greenserve.clock import ManualClock
from greenserve.config import TenantDefaults
from greenserve.records import Admitted, Tenant
from greenserve.serve.admission import Admission, Caller
from greenserve.serve.recorder import Recorded
from tests.serve.building import TENANT, a_request, a_usage

PEPPER = b"pepper of a test"
SECRET = bytes(range(32))
KEY, KEY_ID = mint(b"\x11" * 8, SECRET)
NOW_US = ManualClock().unix_us()
HUGE = TenantDefaults.model_validate({"rate": "1000000/s", "burst": 1_000_000})


def a_tenancy(*budgets: Budget, revision: int = 1, tenant: Tenant = TENANT, **changes: Any) -> Tenancy:
    """One tenant with one key; `changes` are the key's."""
    key: dict[str, Any] = {
        "key_id": KEY_ID,
        "tenant_id": tenant.tenant_id,
        "label": None,
        "hmac": hmac_of(PEPPER, SECRET),
        "created_us": 0,
        "expires_us": None,
        "revoked_us": None,
    }
    return Tenancy(
        revision=revision,
        tenants=MappingProxyType({tenant.tenant_id: tenant}),
        keys=MappingProxyType({KEY_ID: KeyRecord(**(key | changes))}),
        budgets=MappingProxyType({tenant.tenant_id: budgets}),
        pepper=PEPPER,
    )


def an_admission(
    tenancy: Tenancy | None = None,
    *,
    used: Mapping[str, int] = MappingProxyType({}),
    auth: str = "required",
    defaults: TenantDefaults = HUGE,
    replicas: int = 1,
    clock: ManualClock | None = None,
) -> Admission:
    """An admission that has read `tenancy` once."""
    admission = Admission(auth=auth, defaults=defaults, replicas=replicas, clock=clock or ManualClock())
    if tenancy is not None:
        admission.refresh(tenancy, used)
    return admission


def a_budget(**changes: Any) -> Budget:
    """Two requests a day, enforced."""
    whole: dict[str, Any] = {"budget_id": "acme.r.day", "tenant": "acme", "unit": "requests", "limit": 2, "per": "day"}
    return Budget(**(whole | {"mode": "enforce"} | changes))


def admit(admission: Admission, *, upper: tuple[int, int] = (60, 7), tenant: Tenant = TENANT) -> Admitted:
    """Let one request of the tenant in that may cost up to `upper` [uJ, ng]."""
    return admission.admit(Caller(tenant=tenant, key_id=KEY_ID), a_request(), upper=lambda: upper)


def finish(admission: Admission, admitted: Admitted, *, energy_uj: int = 10, emissions_ng: int | None = 3) -> None:
    """The request was answered and recorded."""
    admission.release(admitted)
    usage = a_usage(active_uj=energy_uj, held_uj=0, host_uj=0)
    admission.settle(admitted, Recorded(usage=usage, emissions_ng=emissions_ng))
