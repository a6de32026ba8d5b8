"""Keys in the ledger: made, changed, rotated, revoked; each change is one transaction with its entry."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import Connection, select

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import PLATFORM
from greenserve.carbon.keys import ID_BYTES, SECRET_BYTES, hmac_of, mint
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger import tenancy_rows as rows
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.pepper import read_pepper
from greenserve.carbon.tenancy import INFERENCE, KeyRecord, KeyRules, check_key
from greenserve.errors import InvalidRequest
from greenserve.ports import Clock

_RULES = frozenset(one.name for one in fields(KeyRules))


class KeyStore:
    """Changes and reads keys. State: the ledger's file alone."""

    def __init__(self, ledger: SqlLedger, clock: Clock, actor: str | None = None) -> None:
        """`actor` is who changes something, as entries say it (`key:ID`, `cli:USER`); None: they do not."""
        self._ledger, self._clock, self._actor = ledger, clock, actor

    def keys(self, tenant_id: str | None = None) -> list[KeyRecord]:
        """Keys by age, of one tenant (or `_platform`: admin keys) or of all, revoked ones too."""
        query = select(schema.api_key).order_by(schema.api_key.c.created_us, schema.api_key.c.key_id)
        with self._ledger.reading() as connection:
            if tenant_id is not None:
                if tenant_id != PLATFORM:
                    rows.find_tenant(connection, tenant_id)
                query = query.where(schema.api_key.c.tenant_id == tenant_id)
            return [rows.key_of(row) for row in connection.execute(query).all()]

    def key(self, key_id: str) -> KeyRecord:
        """One key by its public id; NotFound."""
        with self._ledger.reading() as connection:
            return rows.key_of(rows.find_key(connection, key_id))

    def create_key(
        self,
        tenant_id: str | None,
        *,
        label: str | None = None,
        expires_us: int | None = None,
        rules: KeyRules = INFERENCE,
    ) -> tuple[str, KeyRecord]:
        """A new key: its text, which is shown this once and kept nowhere, and its record.

        An inference key is an open tenant's; an admin key is the platform's, and `tenant_id` is None for it.
        """
        if (rules.kind == "admin") != (tenant_id is None):
            raise InvalidRequest(
                f"an {rules.kind} key for tenant {tenant_id}: inference keys belong to a tenant, admin keys to none"
            )
        with self._ledger.writing() as connection:
            if tenant_id is not None:
                rows.find_tenant(connection, tenant_id, open_only=True)
            return self._add_key(connection, tenant_id or PLATFORM, label, expires_us, rules)

    def update_key(self, key_id: str, changes: Mapping[str, Any], *, if_revision: int | None = None) -> KeyRecord:
        """Change the label, the end (`expires_us`) or rules other than the kind of a key that works."""
        unknown = sorted(changes.keys() - (_RULES - {"kind"}) - {"label", "expires_us"})
        if unknown:
            raise InvalidRequest(f"{', '.join(unknown)} of a key cannot be changed")
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = rows.find_key(connection, key_id, live_at_us=now_us)
            rows.expect(row, if_revision, f"key {key_id}")
            record = rows.key_of(row)
            own = {name: value for name, value in changes.items() if name not in _RULES}
            rules = replace(record.rules, **{name: value for name, value in changes.items() if name in _RULES})
            _check_key(rules, own.get("label", record.label), own.get("expires_us"), now_us)
            return self._change_key(connection, replace(record, rules=rules, **own), now_us)

    def rotate_key(self, key_id: str, *, overlap_us: int, expires_us: int | None = None) -> tuple[str, KeyRecord]:
        """A new key with the rules of an old one, which works for `overlap_us` [us] more: (the text, the new record).

        The new one ends at `expires_us` [us UTC], or lives as long as the old one was meant to.
        """
        if overlap_us < 0:
            raise InvalidRequest(f"an overlap is 0 or longer, got {overlap_us} us")
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            old = rows.key_of(rows.find_key(connection, key_id, live_at_us=now_us))
            if old.replaced_by is not None:
                raise InvalidRequest(f"the key {key_id} was rotated to {old.replaced_by} already; rotate that one")
            if old.tenant_id != PLATFORM:
                rows.find_tenant(connection, old.tenant_id, open_only=True)
            if expires_us is None and old.expires_us is not None:
                expires_us = now_us + old.expires_us - old.created_us
            text, new = self._add_key(connection, old.tenant_id, old.label, expires_us, old.rules)
            ends_us = now_us + overlap_us if old.expires_us is None else min(old.expires_us, now_us + overlap_us)
            self._change_key(connection, replace(old, expires_us=ends_us, replaced_by=new.key_id), now_us)
        return text, new

    def revoke_key(self, key_id: str, *, if_revision: int | None = None) -> KeyRecord:
        """Stop a key for good; gateways notice within a second."""
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = rows.find_key(connection, key_id)
            rows.expect(row, if_revision, f"key {key_id}")
            if row.revoked_us is not None:
                raise InvalidRequest(f"the key {key_id} was revoked at {iso(row.revoked_us)} already")
            return self._change_key(connection, replace(rows.key_of(row), revoked_us=now_us), now_us)

    def _add_key(
        self, connection: Connection, owner: str, label: str | None, expires_us: int | None, rules: KeyRules
    ) -> tuple[str, KeyRecord]:
        now_us = self._clock.unix_us()
        _check_key(rules, label, expires_us, now_us)
        secret = secrets.token_bytes(SECRET_BYTES)
        text, key_id = mint(secrets.token_bytes(ID_BYTES), secret)
        any_key = connection.execute(select(schema.api_key.c.key_id).limit(1)).scalar() is not None
        record = KeyRecord(
            key_id=key_id,
            tenant_id=owner,
            label=label,
            hmac=hmac_of(read_pepper(self._ledger.path, keys_exist=any_key), secret),
            created_us=now_us,
            expires_us=expires_us,
            revoked_us=None,
            rules=rules,
        )
        connection.execute(schema.api_key.insert().values(**asdict(record) | {"rules": rows.rules_text(rules)}))
        rows.record_change(connection, rows.key_entry(record, now_us), self._actor)
        return text, record

    def _change_key(self, connection: Connection, record: KeyRecord, now_us: int) -> KeyRecord:
        values = {name: getattr(record, name) for name in ("label", "expires_us", "revoked_us", "replaced_by")}
        values["rules"] = rows.rules_text(record.rules)
        revision = rows.update_row(connection, schema.api_key, record.key_id, record.revision, values)
        changed = replace(record, revision=revision)
        rows.record_change(connection, rows.key_entry(changed, now_us), self._actor)
        return changed


def _check_key(rules: KeyRules, label: str | None, expires_us: int | None, now_us: int) -> None:
    check_key(rules, label)
    if expires_us is not None and expires_us <= now_us:
        raise InvalidRequest(f"the key would have expired at {iso(expires_us)}, before now ({iso(now_us)})")
