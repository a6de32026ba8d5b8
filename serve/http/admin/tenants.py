"""`/admin/v1/tenants` and the groups that they form."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from greenserve.carbon.budgets import iso
from greenserve.carbon.tenancy import TenantRecord
from greenserve.errors import InvalidRequest
from greenserve.records import Policy, Tenant
from greenserve.serve.http.admin import fields
from greenserve.serve.http.admin.answers import IfMatch, Problems, answer, expected
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut

Exposure = Literal["off", "rounded", "exact"]
State = Literal["open", "closed"]
MERGE_PATCH = "application/merge-patch+json"


class Settings(fields.Body):
    """A tenant's rules. Null or left out: the model's objective, the configured default, or no limit."""

    name: fields.Text | None = None
    org: fields.Text | None = None
    quality_floor: fields.Share | None = None
    quality_mean: fields.Share | None = None
    policy: Policy | None = None
    regions: fields.Names | None = None
    exposure: Exposure | None = None
    rate_per_s: fields.Rate | None = None
    burst: fields.Count | None = None
    tokens_per_s: fields.TokenRate | None = None
    concurrency: fields.Count | None = None


class NewTenant(Settings):
    """A tenant to be."""

    tenant: fields.Text


class TenantShown(BaseModel):
    """A tenant. Limits that are null follow the configured defaults or are none."""

    tenant: str
    name: str
    org: str | None
    state: State
    quality_floor: float | None
    quality_mean: float | None
    policy: str | None
    regions: list[str] | None
    exposure: Exposure
    rate_per_s: float | None
    burst: int | None
    tokens_per_s: float | None
    concurrency: int | None
    created: str
    closed: str | None
    revision: int


class OrgShown(BaseModel):
    """A group of tenants, by how many are open and closed."""

    org: str
    open_tenants: int
    closed_tenants: int


class TenantPaths:
    """Create, list, show, change and close tenants."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["tenants"])
        shown: dict[int | str, Any] = {200: {"model": TenantShown}}
        router.get("/tenants", responses={200: {"model": Page[TenantShown]}})(self.page)
        router.post("/tenants", status_code=201, responses={201: {"model": TenantShown}})(self.create)
        router.get("/tenants/{tenant}", responses=shown)(self.show)
        router.patch("/tenants/{tenant}", responses=shown)(self.change)
        router.post("/tenants/{tenant}:close", responses=shown)(self.close)
        router.get("/orgs", responses={200: {"model": Page[OrgShown]}})(self.orgs)
        return router

    async def page(
        self,
        limit: Limit = 50,
        cursor: Cursor = None,
        org: str | None = None,
        state: State | None = Query(default=None),
    ) -> Response:
        """Tenants by id, of an org or of all."""
        after = after_of(cursor, "tenants", [str])
        found = await self._office.desk.run(partial(self._office.store.tenants, org))
        wanted = [record for record in found if state in (None, _state(record))]
        items, next_cursor = cut(wanted, key=_key, after=after, limit=limit, name="tenants")
        return answer(Page(items=[tenant_shown(record) for record in items], next_cursor=next_cursor))

    async def create(self, body: NewTenant, request: Request) -> Response:
        """Add a tenant; gateways know it within a second."""
        settings = body.model_dump(exclude={"tenant", "name"})
        self._office.check_regions("regions", body.regions)
        tenant = Tenant(tenant_id=body.tenant, name=body.name or body.tenant, **self._read(settings))
        record = await self._office.desk.run(partial(self._office.store_for(request).create_tenant, tenant))
        return answer(tenant_shown(record), status=201, revision=record.revision)

    async def show(self, tenant: str) -> Response:
        """One tenant."""
        record = await self._office.desk.run(partial(self._office.store.tenant, tenant))
        return answer(tenant_shown(record), revision=record.revision)

    async def change(
        self, tenant: str, request: Request, body: Settings = Body(media_type=MERGE_PATCH), if_match: IfMatch = None
    ) -> Response:
        """Change rules by a merge patch (RFC 7396): null takes a rule back."""
        revision, changes = expected(if_match), self._read(body.given())
        if "name" in changes and changes["name"] is None:
            raise InvalidRequest("name: a tenant has one; give 1 to 200 characters")
        self._office.check_regions("regions", body.regions)
        store = self._office.store_for(request)
        record = await self._office.desk.run(
            partial(store.update_tenant, tenant, changes, if_revision=revision)
            if changes
            else partial(store.tenant, tenant)
        )
        return answer(tenant_shown(record), revision=record.revision)

    async def close(self, tenant: str, request: Request, if_match: IfMatch = None) -> Response:
        """Close a tenant for good: its keys stop working, its entries and statements stay."""
        work = partial(self._office.store_for(request).close_tenant, tenant, if_revision=expected(if_match))
        record = await self._office.desk.run(work)
        return answer(tenant_shown(record), revision=record.revision)

    async def orgs(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """The groups that tenants belong to."""
        after = after_of(cursor, "orgs", [str])
        found = await self._office.desk.run(self._office.store.tenants)
        counts = Counter((record.tenant.org, _state(record)) for record in found)
        names = sorted({record.tenant.org for record in found if record.tenant.org is not None})
        items, next_cursor = cut(names, key=lambda name: (name,), after=after, limit=limit, name="orgs")
        shown = [
            OrgShown(org=name, open_tenants=counts[name, "open"], closed_tenants=counts[name, "closed"])
            for name in items
        ]
        return answer(Page(items=shown, next_cursor=next_cursor))

    def _read(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The members of `records.Tenant` that were given."""
        found = dict(settings)
        if found.get("regions") is not None:
            found["regions"] = frozenset(found["regions"])
        if "exposure" in found and found["exposure"] is None:
            found["exposure"] = self._office.config.tenancy.defaults.exposure
        return found


def tenant_shown(record: TenantRecord) -> TenantShown:
    """A tenant as the API shows it."""
    rules = record.tenant
    return TenantShown(
        tenant=rules.tenant_id,
        name=rules.name,
        org=rules.org,
        state=_state(record),
        quality_floor=rules.quality_floor,
        quality_mean=rules.quality_mean,
        policy=rules.policy,
        regions=None if rules.regions is None else sorted(rules.regions),
        exposure=rules.exposure,
        rate_per_s=rules.rate_per_s,
        burst=rules.burst,
        tokens_per_s=rules.tokens_per_s,
        concurrency=rules.concurrency,
        created=iso(record.created_us),
        closed=None if record.closed_us is None else iso(record.closed_us),
        revision=record.revision,
    )


def _state(record: TenantRecord) -> State:
    return "open" if record.closed_us is None else "closed"


def _key(record: TenantRecord) -> tuple[str]:
    return (record.tenant.tenant_id,)
