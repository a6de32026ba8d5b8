"""`/admin/v1/keys`: credentials of tenants and of those who administer; a secret is shown once, when it is made."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response
from pydantic import BaseModel

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import PLATFORM
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import KeyKind, KeyRecord, KeyRules, KeyState
from greenserve.errors import InvalidRequest, KeyBlocked, RevisionConflict
from greenserve.serve.admission import Administrator
from greenserve.serve.http.admin import fields
from greenserve.serve.http.admin.answers import IfMatch, Problems, answer, expected
from greenserve.serve.http.admin.office import Office, administrator_of
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut
from greenserve.serve.http.admin.tenants import MERGE_PATCH


class Rules(fields.Body):
    """What a key may do. Null or left out: no narrower than its tenant."""

    label: fields.Text | None = None
    expires: fields.Moment | None = None
    project: fields.Text | None = None
    models: fields.Names | None = None
    paths: fields.Names | None = None
    pin: bool | None = None
    rate_per_s: fields.Rate | None = None
    burst: fields.Count | None = None
    tokens_per_s: fields.TokenRate | None = None
    concurrency: fields.Count | None = None


class NewKey(Rules):
    """A key to be: of a tenant for inference, of none for administration."""

    tenant: fields.Text | None = None
    kind: KeyKind = "inference"


class Rotation(fields.Body):
    """How long the old key works on, and how long the new one (null: as long as the old one was meant to)."""

    overlap: fields.Moment = "24h"
    expires: fields.Moment | None = None


class KeyShown(BaseModel):
    """A key, never its secret."""

    key_id: str
    tenant: str | None
    kind: KeyKind
    state: KeyState
    label: str | None
    project: str | None
    models: list[str] | None
    paths: list[str] | None
    pin: bool
    rate_per_s: float | None
    burst: int | None
    tokens_per_s: float | None
    concurrency: int | None
    created: str
    expires: str | None
    revoked: str | None
    replaced_by: str | None
    revision: int


class KeyMade(KeyShown):
    """A key that was just made; `key` is its text, which is not shown again."""

    key: str


class KeyPaths:
    """Make, list, show, change, rotate and revoke keys."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["keys"])
        shown: dict[int | str, Any] = {200: {"model": KeyShown}}
        made: dict[int | str, Any] = {201: {"model": KeyMade}}
        router.get("/keys", responses={200: {"model": Page[KeyShown]}})(self.page)
        router.post("/keys", status_code=201, responses=made)(self.create)
        router.get("/keys/{key_id}", responses=shown)(self.show)
        router.patch("/keys/{key_id}", responses=shown)(self.change)
        router.post("/keys/{key_id}:rotate", status_code=201, responses=made)(self.rotate)
        router.post("/keys/{key_id}:revoke", responses=shown)(self.revoke)
        return router

    async def page(
        self,
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: str | None = None,
        kind: KeyKind | None = None,
        state: KeyState | None = None,
    ) -> Response:
        """Keys by age."""
        after = after_of(cursor, "keys", [int, str])
        now_us = self._office.clock.unix_us()
        found = await self._office.desk.run(partial(self._office.store.keys, tenant))
        wanted = [one for one in found if kind in (None, one.rules.kind) and state in (None, one.state(now_us))]
        items, next_cursor = cut(wanted, key=_key, after=after, limit=limit, name="keys")
        return answer(Page(items=[key_shown(record, now_us) for record in items], next_cursor=next_cursor))

    async def create(self, body: NewKey, request: Request) -> Response:
        """Make a key; its text is in this answer alone. Gateways know it within a second."""
        if (body.kind == "admin") != (body.tenant is None):
            raise InvalidRequest(
                f"tenant: an inference key belongs to a tenant and an admin key to none; got kind {body.kind} and "
                f"tenant {body.tenant!r:.80}"
            )
        rules = KeyRules(kind=body.kind, **self._rules(body.model_dump(include=set(Rules.model_fields)), drop=True))
        expires_us = self._office.end_us("expires", body.expires)
        store, by = self._office.store_for(request), administrator_of(request)

        def make() -> tuple[str, KeyRecord]:
            _check_not_wider(store, by, rules)
            return store.create_key(body.tenant, label=body.label, expires_us=expires_us, rules=rules)

        return self._made(*await self._office.desk.run(make))

    async def show(self, key_id: str) -> Response:
        """What a key may do, and until when."""
        record = await self._office.desk.run(partial(self._office.store.key, key_id))
        return self._shown(record)

    async def change(
        self, key_id: str, request: Request, body: Rules = Body(media_type=MERGE_PATCH), if_match: IfMatch = None
    ) -> Response:
        """Change a key that works by a merge patch (RFC 7396): null takes a rule back."""
        revision, changes = expected(if_match), self._rules(body.given(), drop=False)
        if "label" in body.model_fields_set:
            changes["label"] = body.label
        if "expires" in body.model_fields_set:
            changes["expires_us"] = self._office.end_us("expires", body.expires)
        store, by = self._office.store_for(request), administrator_of(request)

        def work() -> KeyRecord:
            record = store.key(key_id)
            _check_not_wider(store, by, record.rules)
            if "paths" in changes:
                _check_not_wider(store, by, KeyRules(kind=record.rules.kind, paths=changes["paths"]))
            return store.update_key(key_id, changes, if_revision=revision) if changes else record

        return self._shown(await self._office.desk.run(work))

    async def rotate(
        self, key_id: str, request: Request, body: Rotation | None = None, if_match: IfMatch = None
    ) -> Response:
        """Make a key with the same rules; the old one works until the overlap ends."""
        wanted, revision = body or Rotation(), expected(if_match)
        overlap_us = self._office.length_us("overlap", wanted.overlap)
        expires_us = self._office.end_us("expires", wanted.expires)
        store, by = self._office.store_for(request), administrator_of(request)

        def work() -> tuple[str, KeyRecord]:
            record = store.key(key_id)
            if revision is not None and record.revision != revision:
                raise RevisionConflict(
                    f"key {key_id} is at revision {record.revision}, the change was made for {revision}: read it again"
                )
            _check_not_wider(store, by, record.rules)
            return store.rotate_key(key_id, overlap_us=overlap_us, expires_us=expires_us)

        return self._made(*await self._office.desk.run(work))

    async def revoke(self, key_id: str, request: Request, if_match: IfMatch = None) -> Response:
        """Stop a key for good; gateways notice within a second."""
        work = partial(self._office.store_for(request).revoke_key, key_id, if_revision=expected(if_match))
        return self._shown(await self._office.desk.run(work))

    def _rules(self, given: dict[str, Any], *, drop: bool) -> dict[str, Any]:
        """The members of KeyRules among what was given; with `drop` without nulls."""
        found = {name: value for name, value in given.items() if name not in {"label", "expires"}}
        self._office.check_models("models", found.get("models"))
        for name, kind in (("models", frozenset), ("paths", lambda paths: tuple(sorted(set(paths))))):
            if found.get(name) is not None:
                found[name] = kind(found[name])
        if "pin" in found and found["pin"] is None:
            found["pin"] = True
        return {name: value for name, value in found.items() if value is not None or not drop}

    def _shown(self, record: KeyRecord) -> Response:
        return answer(key_shown(record, self._office.clock.unix_us()), revision=record.revision)

    def _made(self, text: str, record: KeyRecord) -> Response:
        shown = key_shown(record, self._office.clock.unix_us())
        return answer(KeyMade(key=text, **shown.model_dump()), status=201, revision=record.revision)


def key_shown(record: KeyRecord, now_us: int) -> KeyShown:
    """A key as the API shows it."""
    rules = record.rules
    return KeyShown(
        key_id=record.key_id,
        tenant=None if record.tenant_id == PLATFORM else record.tenant_id,
        kind=rules.kind,
        state=record.state(now_us),
        label=record.label,
        project=rules.project,
        models=None if rules.models is None else sorted(rules.models),
        paths=None if rules.paths is None else list(rules.paths),
        pin=rules.pin,
        rate_per_s=rules.rate_per_s,
        burst=rules.burst,
        tokens_per_s=rules.tokens_per_s,
        concurrency=rules.concurrency,
        created=iso(record.created_us),
        expires=None if record.expires_us is None else iso(record.expires_us),
        revoked=None if record.revoked_us is None else iso(record.revoked_us),
        replaced_by=record.replaced_by,
        revision=record.revision,
    )


def _check_not_wider(store: TenancyStore, by: Administrator, rules: KeyRules) -> None:
    """KeyBlocked where an admin key of a narrow scope would hand out, or change, one that may do more than itself."""
    own = store.key(by.key_id).rules
    if rules.kind != "admin" or own.paths is None:
        return
    if rules.paths is None or not all(map(own.allows_path, rules.paths)):
        raise KeyBlocked(
            f"key {by.key_id} is limited to {', '.join(own.paths)} and cannot make, change or rotate an admin key that "
            f"may do more ({', '.join(rules.paths or ('everything',))}); use an admin key without paths"
        )


def _key(record: KeyRecord) -> tuple[int, str]:
    return record.created_us, record.key_id
