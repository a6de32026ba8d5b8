"""`/admin/v1/budgets`: limits of carbon, energy, requests or tokens per window, and what is used of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Body as RequestBody
from fastapi.responses import Response
from pydantic import BaseModel, Field

from greenserve.carbon.budgets import (
    Budget,
    Mode,
    Unit,
    decimal_amount,
    default_id,
    format_amount,
    iso,
    parse_amount,
    window,
)
from greenserve.carbon.tenancy import BudgetRecord
from greenserve.carbon.windows import parse_per
from greenserve.errors import InvalidRequest
from greenserve.serve.http.admin import fields
from greenserve.serve.http.admin.answers import IfMatch, Problems, answer, expected
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut
from greenserve.serve.http.admin.tenants import MERGE_PATCH

Percent = Annotated[int, Field(ge=1, le=100)]
Amount = Annotated[str, Field(max_length=40, description="500gCO2e, 2kWh, 5kJ, 1000requests, 1000tokens.")]
AT_PCT = 80
MODE: Mode = "degrade"


class NewBudget(fields.Body):
    """A limit and what it attaches to: a tenant, its project, key or model, an org, or a model of all tenants."""

    budget: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")] = None
    tenant: fields.Text | None = None
    org: fields.Text | None = None
    project: fields.Text | None = None
    key_id: fields.Text | None = None
    model: fields.Text | None = None
    limit: Amount
    per: Annotated[str, Field(max_length=40, description="day, week, month, lifetime or rolling:24h.")] = "month"
    time_zone: Annotated[str, Field(max_length=64)] = "UTC"
    mode: Mode = MODE
    at_pct: Percent = AT_PCT


class BudgetChange(fields.Body):
    """What may change of a budget; null takes mode and threshold back to their defaults."""

    limit: Amount | None = None
    mode: Mode | None = None
    at_pct: Percent | None = None


class RaiseBy(fields.Body):
    """What is added to the limit, and until when (null: until the window ends)."""

    amount: Amount
    until: fields.Moment | None = None


class RaiseShown(BaseModel):
    """A raise in force, in the budget's unit."""

    amount: str
    until: str


class BudgetShown(BaseModel):
    """A budget and its balance: amounts as exact decimals in its unit (g, J, requests, tokens).

    `used` is the ledger's; `reserved` is what this gateway replica has promised and recorded beside it, null where it
    cannot be told.
    """

    budget: str
    org: str | None
    tenant: str | None
    project: str | None
    key_id: str | None
    model: str | None
    unit: Unit
    limit: str
    base_limit: str
    used: str
    used_pct: int
    reserved: str | None
    limit_text: str
    used_text: str
    per: str
    time_zone: str
    mode: Mode
    at_pct: int
    window_start: str | None
    resets_at: str | None
    raises: list[RaiseShown]
    revision: int


class BudgetPaths:
    """Set, list, show, change, raise and remove budgets."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["budgets"])
        shown: dict[int | str, Any] = {200: {"model": BudgetShown}}
        router.get("/budgets", responses={200: {"model": Page[BudgetShown]}})(self.page)
        router.post("/budgets", status_code=201, responses=shown | {201: {"model": BudgetShown}})(self.put)
        router.get("/budgets/{budget}", responses=shown)(self.show)
        router.patch("/budgets/{budget}", responses=shown)(self.change)
        router.delete("/budgets/{budget}", status_code=204)(self.remove)
        router.post("/budgets/{budget}:raise", responses=shown)(self.add)
        return router

    async def page(self, limit: Limit = 50, cursor: Cursor = None, tenant: str | None = None) -> Response:
        """Budgets by id with what their windows have used, of one tenant or of all."""
        after = after_of(cursor, "budgets", [str])

        def work() -> Page[BudgetShown]:
            found = self._office.store.budgets(tenant)
            items, next_cursor = cut(found, key=_key, after=after, limit=limit, name="budgets")
            return Page(items=self._shown(items), next_cursor=next_cursor)

        return answer(await self._office.desk.run(work))

    async def put(self, body: NewBudget, request: Request, if_match: IfMatch = None) -> Response:
        """Set a budget: 201 for a new one, 200 where there was one of its id. Raises in force stay."""
        revision, budget = expected(if_match), self._budget(body)
        record, shown = await self._changed(
            partial(self._office.store_for(request).set_budget, budget, if_revision=revision)
        )
        return answer(shown, status=200 if record.revision else 201, revision=record.revision)

    async def show(self, budget: str) -> Response:
        """One budget."""
        record, shown = await self._changed(partial(self._office.store.budget, budget))
        return answer(shown, revision=record.revision)

    async def change(
        self,
        budget: str,
        request: Request,
        body: BudgetChange = RequestBody(media_type=MERGE_PATCH),
        if_match: IfMatch = None,
    ) -> Response:
        """Change limit, mode or threshold by a merge patch (RFC 7396)."""
        revision, given = expected(if_match), body.given()
        if "limit" in given and given["limit"] is None:
            raise InvalidRequest(
                f"limit: a budget has one; DELETE /admin/v1/budgets/{budget:.80} takes it out of force"
            )
        limit = None if body.limit is None else _amount("limit", body.limit)
        store = self._office.store_for(request)

        def work() -> BudgetRecord:
            found = store.budget(budget)
            if not given:
                return found
            changed = replace(
                found.budget,
                mode=(body.mode or MODE) if "mode" in given else found.budget.mode,
                at_pct=(body.at_pct or AT_PCT) if "at_pct" in given else found.budget.at_pct,
                limit=found.budget.limit if limit is None else _in_unit("limit", limit, found.budget),
            )
            # Without an ETag from the client, the one that was just read: a change in between is never lost.
            return store.set_budget(changed, if_revision=found.revision if revision is None else revision)

        record, shown = await self._changed(work)
        return answer(shown, revision=record.revision)

    async def remove(self, budget: str, request: Request, if_match: IfMatch = None) -> Response:
        """Take a budget out of force; its history stays."""
        work = partial(self._office.store_for(request).remove_budget, budget, if_revision=expected(if_match))
        await self._office.desk.run(work)
        return Response(status_code=204)

    async def add(self, budget: str, body: RaiseBy, request: Request, if_match: IfMatch = None) -> Response:
        """Add to a budget's limit for a time; the raise ends by itself."""
        revision, amount = expected(if_match), _amount("amount", body.amount)
        until_us = self._office.end_us("until", body.until)
        store = self._office.store_for(request)

        def work() -> BudgetRecord:
            value = _in_unit("amount", amount, store.budget(budget).budget)
            return store.raise_budget(budget, value, until_us=until_us, if_revision=revision)

        record, shown = await self._changed(work)
        return answer(shown, revision=record.revision)

    async def _changed(self, work: Callable[[], BudgetRecord]) -> tuple[BudgetRecord, BudgetShown]:
        def whole() -> tuple[BudgetRecord, BudgetShown]:
            record = work()
            return record, self._shown([record])[0]

        return await self._office.desk.run(whole)

    def _budget(self, body: NewBudget) -> Budget:
        unit, limit = _amount("limit", body.limit)
        self._office.check_models("model", None if body.model is None else [body.model])
        try:
            per = parse_per(body.per, body.time_zone)
        except InvalidRequest as error:
            raise InvalidRequest(f"per, time_zone: {error}") from None
        attached = {name: getattr(body, name) for name in ("tenant", "org", "project", "key_id", "model")}
        try:
            draft = Budget(
                budget_id=body.budget or "",
                unit=unit,
                limit=limit,
                per=per,
                zone=body.time_zone,
                mode=body.mode,
                at_pct=body.at_pct,
                **attached,
            )
        except ValueError:
            given = ", ".join(name for name, value in attached.items() if value is not None) or "none of them"
            raise InvalidRequest(
                "tenant, org, project, key_id, model: a budget attaches to a tenant, a tenant's project, key_id or "
                f"model, an org, or a model; got {given}"
            ) from None
        return draft if body.budget is not None else replace(draft, budget_id=default_id(draft))

    def _shown(self, records: list[BudgetRecord]) -> list[BudgetShown]:
        now_us, reserved = self._office.clock.unix_us(), self._office.reserved
        balances = self._office.ledger.balances([record.budget for record in records], now_us)
        return [
            budget_shown(
                record,
                used=balances[record.budget.budget_id],
                reserved=None if reserved is None else reserved(record.budget.budget_id),
                now_us=now_us,
            )
            for record in records
        ]


def budget_shown(record: BudgetRecord, *, used: int, reserved: int | None, now_us: int) -> BudgetShown:
    """A budget as the API shows it; `used` and `reserved` are ledger integers of its unit."""
    one = record.budget
    unit, limit, (start_us, end_us) = one.unit, one.limit_at(now_us), window(one, now_us)
    return BudgetShown(
        budget=one.budget_id,
        org=one.org,
        tenant=one.tenant,
        project=one.project,
        key_id=one.key_id,
        model=one.model,
        unit=unit,
        limit=decimal_amount(unit, limit),
        base_limit=decimal_amount(unit, one.limit),
        used=decimal_amount(unit, used),
        used_pct=used * 100 // limit,
        reserved=None if reserved is None else decimal_amount(unit, reserved),
        limit_text=format_amount(unit, limit),
        used_text=format_amount(unit, used),
        per=one.per,
        time_zone=one.zone,
        mode=one.mode,
        at_pct=one.at_pct,
        window_start=None if one.per == "lifetime" else iso(start_us),
        resets_at=None if end_us is None else iso(end_us),
        raises=[
            RaiseShown(amount=decimal_amount(unit, part.amount), until=iso(part.until_us))
            for part in one.raises
            if now_us < part.until_us
        ],
        revision=record.revision,
    )


def _amount(field: str, text: str) -> tuple[Unit, int]:
    try:
        return parse_amount(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{field}: {error}") from None


def _in_unit(field: str, amount: tuple[Unit, int], budget: Budget) -> int:
    unit, value = amount
    if unit != budget.unit:
        raise InvalidRequest(f"{field}: {budget.budget_id} counts {budget.unit}, got {unit}")
    return value


def _key(record: BudgetRecord) -> tuple[str]:
    return (record.budget.budget_id,)
