"""Builders of what admission reads and is asked: tenants with a key and budgets, and requests of theirs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import PLATFORM
from greenserve.carbon.keys import hmac_of, mint
from greenserve.carbon.tenancy import KeyRecord, KeyRules, Tenancy
from greenserve.clock import ManualClock
from greenserve.records import Admitted, InferenceRequest, Tenant
from greenserve.sections import TenantDefaults
from greenserve.serve.admission import Admission
from greenserve.serve.finished import Recorded
from tests.serve.building import TENANT, a_request, a_usage

PEPPER = b"pepper of a test"
SECRET = bytes(range(32))
KEY, KEY_ID = mint(b"\x11" * 8, SECRET)
ADMIN_KEY, ADMIN_KEY_ID = mint(b"\x33" * 8, SECRET)
NOW_US = ManualClock().unix_us()
HUGE = TenantDefaults.model_validate({"rate": "1000000/s", "burst": 1_000_000})


def a_key(key_id: str = KEY_ID, **changes: Any) -> KeyRecord:
    """A key of acme that works."""
    whole: dict[str, Any] = {
        "key_id": key_id,
        "tenant_id": "acme",
        "label": None,
        "hmac": hmac_of(PEPPER, SECRET),
        "created_us": 0,
        "expires_us": None,
        "revoked_us": None,
    }
    return KeyRecord(**(whole | changes))


def a_tenancy(*budgets: Budget, revision: int = 1, tenant: Tenant = TENANT, **changes: Any) -> Tenancy:
    """One tenant with one key, and an admin key; `changes` are the former's."""
    attached: defaultdict[str, tuple[Budget, ...]] = defaultdict(tuple)
    for budget in budgets:
        attached[budget.subject] += (budget,)
    keys = (
        a_key(**({"tenant_id": tenant.tenant_id} | changes)),
        a_key(ADMIN_KEY_ID, tenant_id=PLATFORM, rules=KeyRules(kind="admin")),
    )
    return Tenancy(
        revision=revision,
        tenants=MappingProxyType({tenant.tenant_id: tenant}),
        keys=MappingProxyType({key.key_id: key for key in keys}),
        budgets=MappingProxyType(dict(attached)),
        pepper=PEPPER,
    )


def with_tenant(tenancy: Tenancy, tenant: Tenant, key: KeyRecord) -> Tenancy:
    """A second tenant with a key of its own."""
    return replace(
        tenancy,
        tenants={**tenancy.tenants, tenant.tenant_id: tenant},
        keys={**tenancy.keys, key.key_id: replace(key, tenant_id=tenant.tenant_id)},
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
    admission = Admission(auth=auth, defaults=defaults, replicas=replicas, timeout_s=10.0, clock=clock or ManualClock())
    if tenancy is not None:
        admission.refresh(tenancy, used)
    return admission


def a_budget(**changes: Any) -> Budget:
    """Two requests a day, enforced."""
    whole: dict[str, Any] = {"budget_id": "acme.r.day", "tenant": "acme", "unit": "requests", "limit": 2, "per": "day"}
    return Budget(**(whole | {"mode": "enforce"} | changes))


def admit(
    admission: Admission,
    *,
    upper: tuple[int, int] = (60, 7),
    least: tuple[int, int] | None = None,
    key: str | None = KEY,
    request: InferenceRequest | None = None,
) -> Admitted:
    """Let one request of the key in that may cost up to `upper` [uJ, ng]."""
    cheapest = upper if least is None else least
    return admission.admit(
        admission.authenticate(key), request or a_request(), upper=lambda: upper, least=lambda: cheapest
    )


def finish(admission: Admission, admitted: Admitted, *, energy_uj: int = 10, emissions_ng: int | None = 3) -> str:
    """The request was answered and recorded; its id."""
    admission.release(admitted)
    usage = a_usage(active_uj=energy_uj, held_uj=0, host_uj=0)
    admission.settle(admitted, Recorded(usage=usage, emissions_ng=emissions_ng))
    return admitted.request.request_id
