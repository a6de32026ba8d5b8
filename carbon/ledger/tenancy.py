"""Tenants, keys and budgets: tables that hold what is true now, and an entry for every change."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, cast

import orjson
from sqlalchemy import Connection, Table, select

from greenserve.carbon.budgets import Budget, iso
from greenserve.carbon.entries import change_entry, tenant_entry
from greenserve.carbon.keys import ID_BYTES, SECRET_BYTES, hmac_of, mint
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.pepper import read_pepper
from greenserve.carbon.ledger.rows import append_rows
from greenserve.carbon.ledger.sqlite import SqliteLedger, driver_of
from greenserve.errors import InvalidRequest, NotFound
from greenserve.ports import Clock
from greenserve.records import Entry, Tenant

TENANT_ID = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")
ALL_BUDGETS = select(schema.budget).where(schema.budget.c.removed_us.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A tenant as stored, with when it was made and closed [us UTC]."""

    tenant: Tenant
    created_us: int
    closed_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as stored: its owner, the HMAC of its secret, and when it was made, expires and was revoked [us UTC]."""

    key_id: str
    tenant_id: str
    label: str | None
    hmac: bytes
    created_us: int
    expires_us: int | None
    revoked_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """Everything that admission asks, at one revision: open tenants, their keys by id, and their budgets."""

    revision: int
    tenants: Mapping[str, Tenant]
    keys: Mapping[str, KeyRecord]
    budgets: Mapping[str, tuple[Budget, ...]]
    pepper: bytes


class TenancyStore:
    """Changes and reads them. State: the ledger's file alone; each change is one transaction with its entry."""

    def __init__(self, ledger: SqliteLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock

    def __repr__(self) -> str:
        return f"<TenancyStore in {self._ledger.path}>"

    def revision(self) -> int:
        """A number that grows with every change; cheap enough to ask each second."""
        with self._ledger.reading() as connection:
            return int(connection.execute(select(schema.tenancy.c.revision)).scalar_one())

    def snapshot(self) -> Tenancy:
        """All open tenants, their keys and budgets, at one moment. Makes the pepper on first use."""
        with self._ledger.reading() as connection:
            revision = int(connection.execute(select(schema.tenancy.c.revision)).scalar_one())
            tenants = connection.execute(select(schema.tenant).where(schema.tenant.c.closed_us.is_(None))).all()
            keys = connection.execute(select(schema.api_key)).all()
            budgets = connection.execute(ALL_BUDGETS).all()
        opened = {row.tenant_id: _tenant(row) for row in tenants}
        return Tenancy(
            revision=revision,
            tenants=MappingProxyType(opened),
            keys=MappingProxyType({row.key_id: _key(row) for row in keys if row.tenant_id in opened}),
            budgets=MappingProxyType(
                {name: tuple(_budget(row) for row in budgets if row.tenant_id == name) for name in opened}
            ),
            pepper=read_pepper(self._ledger.path, keys_exist=bool(keys)),
        )

    def tenants(self) -> list[TenantRecord]:
        """All tenants by id, closed ones too."""
        with self._ledger.reading() as connection:
            rows = connection.execute(select(schema.tenant).order_by(schema.tenant.c.tenant_id)).all()
        return [_tenant_record(row) for row in rows]

    def tenant(self, tenant_id: str) -> TenantRecord:
        """One tenant; NotFound names those that there are."""
        with self._ledger.reading() as connection:
            return _tenant_record(_find_tenant(connection, tenant_id))

    def create_tenant(self, tenant: Tenant) -> TenantRecord:
        """Add a tenant; InvalidRequest for an id that is taken, malformed, or settings outside their range."""
        _check_tenant(tenant)
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            known = connection.execute(select(schema.tenant.c.tenant_id)).scalars().all()
            if tenant.tenant_id in known:
                raise InvalidRequest(f"there is a tenant {tenant.tenant_id} already; `tenant update` changes it")
            values = {"tenant_id": tenant.tenant_id, "name": tenant.name, "settings": _settings(tenant)}
            connection.execute(schema.tenant.insert().values(**values, revision=0, created_us=now_us))
            _record(connection, tenant_entry(tenant, revision=0, at_us=now_us, closed=False))
        return TenantRecord(tenant=tenant, created_us=now_us, closed_us=None)

    def update_tenant(self, tenant_id: str, changes: Mapping[str, Any]) -> TenantRecord:
        """Change settings or the name (members of `records.Tenant`) of an open tenant."""
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = _find_tenant(connection, tenant_id, open_only=True)
            tenant = replace(_tenant(row), **changes)
            _check_tenant(tenant)
            values = {"name": tenant.name, "settings": _settings(tenant)}
            revision = _update(connection, schema.tenant, tenant_id, row.revision, values)
            _record(connection, tenant_entry(tenant, revision=revision, at_us=now_us, closed=False))
        return TenantRecord(tenant=tenant, created_us=row.created_us, closed_us=None)

    def close_tenant(self, tenant_id: str) -> TenantRecord:
        """Close a tenant: its keys stop working at once, its entries stay. There is no way back."""
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = _find_tenant(connection, tenant_id, open_only=True)
            revision = _update(connection, schema.tenant, tenant_id, row.revision, {"closed_us": now_us})
            _record(connection, tenant_entry(_tenant(row), revision=revision, at_us=now_us, closed=True))
        return TenantRecord(tenant=_tenant(row), created_us=row.created_us, closed_us=now_us)

    def keys(self, tenant_id: str | None = None) -> list[KeyRecord]:
        """Keys by age, of one tenant or of all, revoked ones too."""
        query = select(schema.api_key).order_by(schema.api_key.c.created_us, schema.api_key.c.key_id)
        with self._ledger.reading() as connection:
            if tenant_id is not None:
                _find_tenant(connection, tenant_id)
                query = query.where(schema.api_key.c.tenant_id == tenant_id)
            return [_key(row) for row in connection.execute(query).all()]

    def create_key(
        self, tenant_id: str, *, label: str | None = None, expires_us: int | None = None
    ) -> tuple[str, KeyRecord]:
        """A new key of an open tenant: its text, which is shown this once and kept nowhere, and its record."""
        now_us = self._clock.unix_us()
        if expires_us is not None and expires_us <= now_us:
            raise InvalidRequest(f"the key would have expired at {iso(expires_us)}, before now ({iso(now_us)})")
        secret = secrets.token_bytes(SECRET_BYTES)
        text, key_id = mint(secrets.token_bytes(ID_BYTES), secret)
        with self._ledger.writing() as connection:
            _find_tenant(connection, tenant_id, open_only=True)
            any_key = connection.execute(select(schema.api_key.c.key_id).limit(1)).scalar() is not None
            record = KeyRecord(
                key_id=key_id,
                tenant_id=tenant_id,
                label=label,
                hmac=hmac_of(read_pepper(self._ledger.path, keys_exist=any_key), secret),
                created_us=now_us,
                expires_us=expires_us,
                revoked_us=None,
            )
            connection.execute(schema.api_key.insert().values(**asdict(record), revision=0))
            _record(connection, _key_entry(record, 0, now_us))
        return text, record

    def revoke_key(self, key_id: str) -> KeyRecord:
        """Stop a key for good; gateways notice within a second."""
        now_us = self._clock.unix_us()
        table = schema.api_key
        with self._ledger.writing() as connection:
            row = connection.execute(select(table).where(table.c.key_id == key_id)).one_or_none()
            if row is None:
                raise NotFound(f"no key has the id {key_id!r}; `greenserve key ls` lists the ids")
            if row.revoked_us is not None:
                raise InvalidRequest(f"the key {key_id} was revoked at {iso(row.revoked_us)} already")
            revision = _update(connection, table, key_id, row.revision, {"revoked_us": now_us})
            record = replace(_key(row), revoked_us=now_us)
            _record(connection, _key_entry(record, revision, now_us))
        return record

    def budgets(self, tenant_id: str | None = None) -> list[Budget]:
        """Budgets in force, of one tenant or of all."""
        query = ALL_BUDGETS.order_by(schema.budget.c.budget_id)
        with self._ledger.reading() as connection:
            if tenant_id is not None:
                _find_tenant(connection, tenant_id)
                query = query.where(schema.budget.c.tenant_id == tenant_id)
            return [_budget(row) for row in connection.execute(query).all()]

    def set_budget(self, budget: Budget) -> Budget:
        """Add a budget, or replace the one with its id."""
        now_us = self._clock.unix_us()
        table = schema.budget
        with self._ledger.writing() as connection:
            _find_tenant(connection, budget.tenant, open_only=True)
            row = connection.execute(select(table).where(table.c.budget_id == budget.budget_id)).one_or_none()
            values: dict[str, Any] = {name: getattr(budget, name) for name in ("unit", "per", "mode", "at_pct")}
            values |= {"tenant_id": budget.tenant, "amount": budget.limit, "removed_us": None}
            revision = 0
            if row is None:
                connection.execute(table.insert().values(budget_id=budget.budget_id, revision=0, **values))
            else:
                revision = _update(connection, table, budget.budget_id, row.revision, values)
            _record(connection, _budget_entry(budget, revision, now_us, removed=False))
        return budget

    def remove_budget(self, budget_id: str) -> Budget:
        """Take a budget out of force; its history stays."""
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = connection.execute(ALL_BUDGETS.where(schema.budget.c.budget_id == budget_id)).one_or_none()
            if row is None:
                raise NotFound(f"no budget has the id {budget_id!r}; `greenserve budget ls` lists the ids")
            revision = _update(connection, schema.budget, budget_id, row.revision, {"removed_us": now_us})
            _record(connection, _budget_entry(_budget(row), revision, now_us, removed=True))
        return _budget(row)


def _record(connection: Connection, entry: Entry) -> None:
    append_rows(driver_of(connection), [entry])
    connection.execute(schema.tenancy.update().values(revision=schema.tenancy.c.revision + 1))


def _update(connection: Connection, table: Table, subject: str, revision: int, values: Mapping[str, Any]) -> int:
    """Change one row; its new revision, which is also its entry's."""
    identity = next(iter(table.primary_key.columns))
    connection.execute(table.update().where(identity == subject).values(revision=revision + 1, **values))
    return revision + 1


def _find_tenant(connection: Connection, tenant_id: str, *, open_only: bool = False) -> Any:
    row = connection.execute(select(schema.tenant).where(schema.tenant.c.tenant_id == tenant_id)).one_or_none()
    if row is None:
        known = connection.execute(select(schema.tenant.c.tenant_id).order_by("tenant_id").limit(20)).scalars().all()
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise NotFound(f"no tenant {tenant_id!r}; {there}; `greenserve tenant create` makes one")
    if open_only and row.closed_us is not None:
        raise InvalidRequest(f"tenant {tenant_id} was closed at {iso(row.closed_us)}; create a new one")
    return row


def _check_tenant(tenant: Tenant) -> None:
    faults = []
    if not TENANT_ID.match(tenant.tenant_id):
        faults.append(f"id {tenant.tenant_id!r}: 1 to 63 of a-z, 0-9 and -, starting with a letter or digit")
    if not tenant.name or len(tenant.name) > 200:
        faults.append(f"name: 1 to 200 characters, got {len(tenant.name)}")
    for name, value in (("quality floor", tenant.quality_floor), ("quality mean", tenant.quality_mean)):
        if value is not None and not 0 <= value <= 1:
            faults.append(f"{name}: 0 to 1, got {value}")
    if tenant.rate_per_s is not None and not 0 < tenant.rate_per_s <= 1_000_000:
        faults.append(f"rate: over 0 and up to 1,000,000 requests/s, got {tenant.rate_per_s}")
    if tenant.burst is not None and not 0 < tenant.burst <= 1_000_000:
        faults.append(f"burst: 1 to 1,000,000 requests, got {tenant.burst}")
    if tenant.regions is not None and not tenant.regions:
        faults.append("regions: at least one, or none given for all")
    if faults:
        raise InvalidRequest("; ".join(faults))


def _settings(tenant: Tenant) -> str:
    values = {name: getattr(tenant, name) for name in _SETTINGS}
    values["regions"] = None if tenant.regions is None else sorted(tenant.regions)
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()


_SETTINGS = ("quality_floor", "quality_mean", "policy", "regions", "exposure", "rate_per_s", "burst")


def _tenant(row: Any) -> Tenant:
    settings = orjson.loads(row.settings)
    settings["regions"] = None if settings["regions"] is None else frozenset(settings["regions"])
    return Tenant(tenant_id=row.tenant_id, name=row.name, **settings)


def _tenant_record(row: Any) -> TenantRecord:
    return TenantRecord(tenant=_tenant(row), created_us=row.created_us, closed_us=row.closed_us)


def _key(row: Any) -> KeyRecord:
    return KeyRecord(**{name: getattr(row, name) for name in KeyRecord.__slots__})


def _budget(row: Any) -> Budget:
    return Budget(
        budget_id=row.budget_id,
        tenant=row.tenant_id,
        unit=row.unit,
        limit=row.amount,
        per=row.per,
        mode=row.mode,
        at_pct=row.at_pct,
    )


def _key_entry(record: KeyRecord, revision: int, at_us: int) -> Entry:
    change = {"revision": revision, "at_us": at_us, "expires_us": record.expires_us, "revoked_us": record.revoked_us}
    return change_entry("key", record.key_id, record.tenant_id, change)


def _budget_entry(budget: Budget, revision: int, at_us: int, *, removed: bool) -> Entry:
    change = {name: getattr(budget, name) for name in ("unit", "limit", "per", "mode", "at_pct")}
    change |= {"revision": revision, "at_us": at_us, "removed": removed}
    return change_entry("budget", budget.budget_id, budget.tenant, cast(Mapping[str, Any], change))
