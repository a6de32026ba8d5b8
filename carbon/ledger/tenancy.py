"""Tenants, keys and budgets: tables that hold what is true now, and an entry for every change."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import select

from greenserve.carbon.budgets import Budget
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger import tenancy_rows as rows
from greenserve.carbon.ledger.budget_store import BudgetStore
from greenserve.carbon.ledger.key_store import KeyStore
from greenserve.carbon.ledger.pepper import read_pepper
from greenserve.carbon.tenancy import BudgetRecord, KeyRecord, KeyRules, Tenancy, TenantRecord, check_tenant, has_owner
from greenserve.carbon.tenancy_entries import tenant_entry
from greenserve.errors import AlreadyExists, InvalidRequest
from greenserve.records import Tenant

__all__ = ["BudgetRecord", "KeyRecord", "KeyRules", "Tenancy", "TenancyStore", "TenantRecord"]


class TenancyStore(KeyStore, BudgetStore):
    """Changes and reads them. State: the ledger's file alone; each change is one transaction with its entry.

    A change that is given `if_revision` is made only to the revision that its caller has read (RevisionConflict).
    """

    def __repr__(self) -> str:
        return f"<TenancyStore in {self._ledger.path}>"

    def by(self, actor: str) -> "TenancyStore":
        """The same store, for changes that `actor` makes."""
        return TenancyStore(self._ledger, self._clock, actor)

    def revision(self) -> int:
        """A number that grows with every change; cheap enough to ask each second."""
        with self._ledger.reading() as connection:
            return int(connection.execute(select(schema.tenancy.c.revision)).scalar_one())

    def snapshot(self) -> Tenancy:
        """All open tenants, their keys and budgets and the platform's, at one moment. Makes the pepper on first use."""
        with self._ledger.reading() as connection:
            revision = int(connection.execute(select(schema.tenancy.c.revision)).scalar_one())
            tenants = connection.execute(select(schema.tenant).where(schema.tenant.c.closed_us.is_(None))).all()
            keys = [rows.key_of(row) for row in connection.execute(select(schema.api_key)).all()]
            budgets = [rows.budget_of(row) for row in connection.execute(rows.BUDGETS_IN_FORCE).all()]
        opened = {row.tenant_id: rows.tenant_of(row) for row in tenants}
        attached: defaultdict[str, tuple[Budget, ...]] = defaultdict(tuple)
        for budget in budgets:
            if budget.tenant is None or budget.tenant in opened:
                attached[budget.subject] += (budget,)
        return Tenancy(
            revision=revision,
            tenants=MappingProxyType(opened),
            keys=MappingProxyType({key.key_id: key for key in keys if has_owner(key, opened)}),
            budgets=MappingProxyType(dict(attached)),
            pepper=read_pepper(self._ledger.path, keys_exist=bool(keys)),
        )

    def tenants(self, org: str | None = None) -> list[TenantRecord]:
        """All tenants by id, or those of an org, closed ones too."""
        with self._ledger.reading() as connection:
            found = connection.execute(select(schema.tenant).order_by(schema.tenant.c.tenant_id)).all()
        records = [rows.tenant_record(row) for row in found]
        return [record for record in records if org is None or record.tenant.org == org]

    def tenant(self, tenant_id: str) -> TenantRecord:
        """One tenant; NotFound names those that there are."""
        with self._ledger.reading() as connection:
            return rows.tenant_record(rows.find_tenant(connection, tenant_id))

    def create_tenant(self, tenant: Tenant) -> TenantRecord:
        """Add a tenant; AlreadyExists for an id that is taken, InvalidRequest for what is malformed or out of range."""
        check_tenant(tenant)
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            known = connection.execute(select(schema.tenant.c.tenant_id)).scalars().all()
            if tenant.tenant_id in known:
                raise AlreadyExists(f"there is a tenant {tenant.tenant_id} already; `tenant update` changes it")
            values = {"tenant_id": tenant.tenant_id, "revision": 0, "created_us": now_us} | rows.tenant_values(tenant)
            connection.execute(schema.tenant.insert().values(**values))
            rows.record_change(connection, tenant_entry(tenant, revision=0, at_us=now_us, closed=False), self._actor)
        return TenantRecord(tenant=tenant, created_us=now_us, closed_us=None)

    def update_tenant(
        self, tenant_id: str, changes: Mapping[str, Any], *, if_revision: int | None = None
    ) -> TenantRecord:
        """Change settings or the name (members of `records.Tenant`) of an open tenant."""
        if "tenant_id" in changes:
            raise InvalidRequest("a tenant's id stays as it is: entries name it for ever")
        return self._change_tenant(tenant_id, changes, if_revision, close=False)

    def close_tenant(self, tenant_id: str, *, if_revision: int | None = None) -> TenantRecord:
        """Close a tenant: its keys stop working at once, its entries stay. There is no way back."""
        return self._change_tenant(tenant_id, {}, if_revision, close=True)

    def _change_tenant(
        self, tenant_id: str, changes: Mapping[str, Any], if_revision: int | None, *, close: bool
    ) -> TenantRecord:
        now_us = self._clock.unix_us()
        closed_us = now_us if close else None
        with self._ledger.writing() as connection:
            row = rows.find_tenant(connection, tenant_id, open_only=True)
            rows.expect(row, if_revision, f"tenant {tenant_id}")
            tenant = replace(rows.tenant_of(row), **changes)
            check_tenant(tenant)
            values = rows.tenant_values(tenant) | {"closed_us": closed_us}
            revision = rows.update_row(connection, schema.tenant, tenant_id, row.revision, values)
            entry = tenant_entry(tenant, revision=revision, at_us=now_us, closed=close)
            rows.record_change(connection, entry, self._actor)
        return TenantRecord(tenant=tenant, created_us=row.created_us, closed_us=closed_us, revision=revision)
