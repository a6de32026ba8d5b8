"""Rows of tenants, keys and budgets: read, written, and the entry of each change."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import orjson
from sqlalchemy import Connection, Table, select

from greenserve.carbon.budgets import Budget, Raise, iso
from greenserve.carbon.entries import PLATFORM, entry_of
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.book import append_with
from greenserve.carbon.ledger.row import prepare
from greenserve.carbon.tenancy import KeyRecord, KeyRules, TenantRecord
from greenserve.carbon.tenancy_entries import change_entry, millionths
from greenserve.errors import InvalidRequest, NotFound, RevisionConflict
from greenserve.records import Entry, Tenant

BUDGETS_IN_FORCE = select(schema.budget).where(schema.budget.c.removed_us.is_(None))
_SETTINGS = tuple(one.name for one in fields(Tenant) if one.name not in ("tenant_id", "name"))
_ATTACHED = ("org", "project", "key_id", "model")
_LIMITING = ("unit", "per", "zone", "mode", "at_pct")


def record_change(connection: Connection, entry: Entry, actor: str | None) -> None:
    """Append the entry of a change and who made it (None: not told), and let gateways know that there was one."""
    told = entry if actor is None else entry_of({**entry.body, "actor": actor})
    append_with(connection, [prepare(told)])
    connection.execute(schema.tenancy.update().values(revision=schema.tenancy.c.revision + 1))


def update_row(connection: Connection, table: Table, subject: str, revision: int, values: Mapping[str, Any]) -> int:
    """Change one row; its new revision, which is also its entry's."""
    identity = next(iter(table.primary_key.columns))
    connection.execute(table.update().where(identity == subject).values(revision=revision + 1, **values))
    return revision + 1


def expect(row: Any, if_revision: int | None, what: str) -> None:
    """RevisionConflict where the row has moved on from the revision that the caller read."""
    if if_revision is not None and row.revision != if_revision:
        raise RevisionConflict(
            f"{what} is at revision {row.revision}, the change was made for revision {if_revision}: read it again"
        )


def find_tenant(connection: Connection, tenant_id: str, *, open_only: bool = False) -> Any:
    """A tenant's row; NotFound names those that there are, InvalidRequest says that it was closed."""
    row = connection.execute(select(schema.tenant).where(schema.tenant.c.tenant_id == tenant_id)).one_or_none()
    if row is None:
        known = connection.execute(select(schema.tenant.c.tenant_id).order_by("tenant_id").limit(20)).scalars().all()
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise NotFound(f"no tenant {tenant_id!r}; {there}; `greenserve tenant create` makes one")
    if open_only and row.closed_us is not None:
        raise InvalidRequest(f"tenant {tenant_id} was closed at {iso(row.closed_us)}; create a new one")
    return row


def find_key(connection: Connection, key_id: str, *, live_at_us: int | None = None) -> Any:
    """A key's row; NotFound, or InvalidRequest for one that no longer works at `live_at_us` [us UTC]."""
    row = connection.execute(select(schema.api_key).where(schema.api_key.c.key_id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"no key has the id {key_id!r}; `greenserve key ls` lists the ids")
    if live_at_us is None:
        return row
    if row.revoked_us is not None:
        raise InvalidRequest(f"the key {key_id} was revoked at {iso(row.revoked_us)} already")
    if row.expires_us is not None and row.expires_us <= live_at_us:
        raise InvalidRequest(f"the key {key_id} has expired at {iso(row.expires_us)} already; create a new one")
    return row


def find_budget(connection: Connection, budget_id: str) -> Any:
    """The row of a budget in force; NotFound."""
    row = connection.execute(BUDGETS_IN_FORCE.where(schema.budget.c.budget_id == budget_id)).one_or_none()
    if row is None:
        raise NotFound(f"no budget has the id {budget_id!r}; `greenserve budget ls` lists the ids")
    return row


def check_attachment(connection: Connection, budget: Budget) -> None:
    """NotFound where a budget's tenant, key, project or org is none. Models are known to the configuration alone."""
    if budget.tenant is not None:
        find_tenant(connection, budget.tenant, open_only=True)
    keys = connection.execute(select(schema.api_key).where(schema.api_key.c.tenant_id == budget.tenant)).all()
    if budget.key_id is not None and budget.key_id not in {row.key_id for row in keys}:
        raise NotFound(f"tenant {budget.tenant} has no key {budget.key_id!r}; `greenserve key ls` lists the ids")
    if budget.project is not None:
        _check_named("project", budget.project, {str(key_of(row).rules.project or "") for row in keys})
    if budget.org is not None:
        tenants = connection.execute(select(schema.tenant).where(schema.tenant.c.closed_us.is_(None))).all()
        _check_named("org", budget.org, {str(tenant_of(row).org or "") for row in tenants})


def tenant_values(tenant: Tenant) -> dict[str, Any]:
    """The columns that a tenant's rules are stored in."""
    settings = {name: getattr(tenant, name) for name in _SETTINGS}
    settings["regions"] = None if tenant.regions is None else sorted(tenant.regions)
    return {"name": tenant.name, "settings": orjson.dumps(settings, option=orjson.OPT_SORT_KEYS).decode()}


def tenant_of(row: Any) -> Tenant:
    """The rules of a tenant's row."""
    settings = orjson.loads(row.settings)
    settings["regions"] = None if settings["regions"] is None else frozenset(settings["regions"])
    return Tenant(tenant_id=row.tenant_id, name=row.name, **settings)


def tenant_record(row: Any) -> TenantRecord:
    """A tenant's row as a record."""
    return TenantRecord(
        tenant=tenant_of(row), created_us=row.created_us, closed_us=row.closed_us, revision=row.revision
    )


def rules_text(rules: KeyRules) -> str:
    """A key's rules as they are stored."""
    values = {one.name: getattr(rules, one.name) for one in fields(KeyRules)}
    values["models"] = None if rules.models is None else sorted(rules.models)
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()


def key_of(row: Any) -> KeyRecord:
    """A key's row as a record; a key from before there were rules has the widest."""
    rules = orjson.loads(row.rules)
    for name, kind in (("models", frozenset), ("paths", tuple)):
        if rules.get(name) is not None:
            rules[name] = kind(rules[name])
    columns = {one.name: getattr(row, one.name) for one in fields(KeyRecord) if one.name != "rules"}
    return KeyRecord(**columns, rules=KeyRules(**rules))


def key_entry(record: KeyRecord, at_us: int) -> Entry:
    """The entry of a key after a change. Its label stays in the table: bodies hold opaque ids only."""
    rules = record.rules
    change = {
        "revision": record.revision,
        "at_us": at_us,
        "expires_us": record.expires_us,
        "revoked_us": record.revoked_us,
        "replaced_by": record.replaced_by,
        "key_kind": rules.kind,
        "project": rules.project,
        "models": None if rules.models is None else sorted(rules.models),
        "paths": rules.paths,
        "pin": rules.pin,
        "rate_per_s_ppm": millionths(rules.rate_per_s),
        "burst": rules.burst,
        "tokens_per_s_ppm": millionths(rules.tokens_per_s),
        "concurrency": rules.concurrency,
    }
    return change_entry("key", record.key_id, record.tenant_id, change)


def budget_values(budget: Budget) -> dict[str, Any]:
    """The columns that a budget is stored in, without its id."""
    values: dict[str, Any] = {name: getattr(budget, name) for name in (*_ATTACHED, *_LIMITING)}
    raises = [[one.amount, one.until_us] for one in budget.raises]
    return values | {"tenant_id": budget.tenant, "amount": budget.limit, "raises": orjson.dumps(raises).decode()}


def budget_of(row: Any) -> Budget:
    """A budget's row as a record."""
    return Budget(
        budget_id=row.budget_id,
        tenant=row.tenant_id,
        limit=row.amount,
        raises=tuple(Raise(amount=amount, until_us=until_us) for amount, until_us in orjson.loads(row.raises)),
        **{name: getattr(row, name) for name in (*_ATTACHED, *_LIMITING)},
    )


def budget_entry(budget: Budget, revision: int, at_us: int, *, removed: bool) -> Entry:
    """The entry of a budget after a change."""
    change: dict[str, Any] = {name: getattr(budget, name) for name in ("limit", *_LIMITING)}
    change |= {name: getattr(budget, name) for name in _ATTACHED if getattr(budget, name) is not None}
    change |= {"revision": revision, "at_us": at_us, "removed": removed}
    if budget.raises:
        change["raises"] = [{"amount": one.amount, "until_us": one.until_us} for one in budget.raises]
    return change_entry("budget", budget.budget_id, budget.tenant or PLATFORM, change)


def _check_named(kind: str, name: str, known: set[str]) -> None:
    if name not in known:
        there = ", ".join(sorted(filter(None, known))) or "none"
        raise NotFound(f"no {kind} {name!r}; there are: {there}")
